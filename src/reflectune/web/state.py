"""What the pages look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException, Request

from reflectune.web.index import Keepers
from reflectune.web.jobs import Jobs
from reflectune.web.models import Models
from reflectune.web.overview import Overviews

__all__ = ["WebState", "state_of"]

_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class WebState:
    """What the pages look at.

    Attributes:
        runs: The folder of the runs. Nothing outside it is ever read for a page.
        first: The run that is opened first, by its name in that folder; `None` for the list of all.
        models: Whom one may talk to in the playground.
        indexes: The indexes of the runs.
        jobs: The commands that were started from the pages.
        overviews: What the runs have come to.
    """

    runs: Path
    first: str | None = None
    models: Models = field(default_factory=lambda: Models(()))
    indexes: Keepers = field(default_factory=Keepers)
    jobs: Jobs = field(default_factory=Jobs)
    overviews: Overviews = field(default_factory=Overviews)

    def run(self, name: str) -> Path:
        """The folder of a run, by its name.

        Raises:
            HTTPException: 404: there is no such folder, or the name leads elsewhere.
        """
        if name and len(name) <= _LONGEST_NAME and name not in {".", ".."} and not set(name) & set("/\\\0"):
            try:
                folder = (self.runs / name).resolve()
                if folder.parent == self.runs.resolve() and folder.is_dir():
                    return self.runs / name
            except (OSError, ValueError):  # a name that the file system cannot hold
                pass
        raise HTTPException(404, "There is no such run.")

    def file(self, run: str, path: str) -> Path:
        """A file in the folder of a run, or below it.

        Raises:
            HTTPException: 404: there is no such file, or the path leads elsewhere.
        """
        folder = self.run(run)
        try:
            found = (folder / path).resolve()
            if found.is_file() and found.is_relative_to(folder.resolve()):
                return found
        except (OSError, ValueError):
            pass
        raise HTTPException(404, "There is no such file.")


def state_of(request: Request) -> WebState:
    """The state of the app that a request came to."""
    state: WebState = request.app.state.web
    return state
