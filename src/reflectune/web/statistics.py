"""Statistics of a run before and after: computed once in a process of its own, and kept until the run changes."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from reflectune.evaluate.plots import PICTURE_TEXTS
from reflectune.report.before_after import AFTER, BEFORE
from reflectune.web.drawings import drawing
from reflectune.web.pages import language_of, show, text
from reflectune.web.state import state_of

__all__ = ["router"]

router = APIRouter()

_KEPT = 8
"""So many runs' statistics are kept; the one that was not looked at for the longest time goes first."""
_DATABASE = "state.sqlite"
_PICTURE = "statistics.picture_"

Mark = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Computing:
    """The statistics of a run, on their way or there.

    Attributes:
        mark: What tells the state of the run that they are of.
        progress: What is being done, how far it is, and of how many.
        found: What `reflectune.report.worker` found; `None` while it works.
        problem: What went wrong.
        missing: The command that installs what is missing.
    """

    mark: Mark
    progress: tuple[str, int, int] = ("", 0, 0)
    found: dict[str, Any] | None = None
    problem: str = ""
    missing: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.found is not None or bool(self.problem or self.missing)


@dataclass(slots=True)
class Computed:
    """The statistics that this app has computed, by the run's folder."""

    runs: OrderedDict[Path, Computing] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def of(self, run: Path, *, anew: bool = False) -> Computing:
        """The statistics of a run; they are begun where there are none, and anew where that is wanted."""
        with self.lock:
            known = self.runs.get(run)
            if known is None or (anew and known.ended):
                known = self.runs[run] = Computing(mark_of(run))
                Thread(target=_compute, args=(run, known), daemon=True).start()
            self.runs.move_to_end(run)
            while len(self.runs) > _KEPT:
                self.runs.popitem(last=False)
            return known


class Nothing(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")


@router.get("/runs/{name}/statistics")
def page(request: Request, name: str) -> HTMLResponse:
    """The page: the statistics where they are there, else how far they are."""
    run = state_of(request).run(name)
    known = _computed(request).of(run)
    language = language_of(request)
    found = known.found or {}
    return show(
        request,
        "statistics.html",
        name=name,
        known=known,
        found=found,
        pictures={name: drawing(svg) for name, svg in found.get("pictures", {}).get(language, {}).items()},
        stale=known.ended and known.mark != mark_of(run),
    )


@router.get("/api/runs/{name}/statistics")
def progress(request: Request, name: str) -> dict[str, Any]:
    """How far the statistics are."""
    known = _computed(request).of(state_of(request).run(name))
    what, done, of = known.progress
    return {"ended": known.ended, "what": what, "done": done, "of": of}


@router.post("/api/runs/{name}/statistics")
def anew(request: Request, name: str, _: Nothing) -> dict[str, Any]:
    """Compute them anew."""
    known = _computed(request).of(state_of(request).run(name), anew=True)
    return {"ended": known.ended}


def mark_of(run: Path) -> Mark:
    """What tells the state of a run from the next one: the sizes and times of its database."""
    return tuple(_seen(run / f"{_DATABASE}{end}") for end in ("", "-wal"))


def _seen(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns if status.st_size else 0


def _computed(request: Request) -> Computed:
    state = request.app.state
    if not hasattr(state, "statistics"):
        state.statistics = Computed()
    found: Computed = state.statistics
    return found


def _compute(run: Path, known: Computing) -> None:
    """Let a process of its own compute the statistics of a run, and note what it says."""
    command = [sys.executable, "-m", "reflectune.report.worker", str(run)]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(orjson.dumps({language: _texts(language) for language in ("en", "zh")}))
            process.stdin.close()
            for line in process.stdout:
                _note(known, orjson.loads(line))
    except (OSError, ValueError) as error:
        known.problem = str(error)
    if not known.ended:
        known.problem = "The computation broke off."


def _note(known: Computing, said: dict[str, Any]) -> None:
    if "progress" in said:
        what, done, of = said["progress"]
        known.progress = (what, done, of)
    known.found = said.get("found")
    known.missing = said.get("missing", "")
    known.problem = said.get("error", "")


def _texts(language: Any) -> dict[str, str]:
    """What stands in the pictures, in a language."""
    sides = {side: text(language, f"statistics.{side}") for side in (BEFORE, AFTER)}
    return sides | {said: text(language, f"{_PICTURE}{place}") for place, said in enumerate(PICTURE_TEXTS)}
