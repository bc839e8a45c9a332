"""Statistics of a run before and after: computed once in a process of its own, and kept until the run changes."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from reflectune.evaluate.plots import PICTURE_TEXTS
from reflectune.report.before_after import AFTER, BEFORE
from reflectune.web.drawings import drawing
from reflectune.web.pages import language_of, show, text
from reflectune.web.state import state_of

__all__ = ["close", "router"]

router = APIRouter()

_KEPT = 8
"""So many runs' statistics are kept; of those that have ended the one that was not looked at for longest goes first."""
_LOOK = 0.2
"""Seconds after which to look whether a process has ended."""
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


class Computed:
    """The statistics that this app has computed, by the run's folder; one run after the other."""

    def __init__(self) -> None:
        self.runs: OrderedDict[Path, Computing] = OrderedDict()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1)
        self._closed = Event()

    def of(self, run: Path) -> Computing | None:
        """The statistics of a run; `None` where nobody has begun them."""
        with self._lock:
            if run in self.runs:
                self.runs.move_to_end(run)
            return self.runs.get(run)

    def begin(self, run: Path, *, anew: bool = False) -> Computing:
        """Begin the statistics of a run where there are none, and anew where that is wanted and they have ended."""
        with self._lock:
            known = self.runs.get(run)
            if known is None or (anew and known.ended):
                known = self.runs[run] = Computing(mark_of(run))
                self._pool.submit(self._work, run, known)
            self.runs.move_to_end(run)
            ended = [other for other, one in self.runs.items() if one.ended and one is not known]
            for other in ended[: max(0, len(self.runs) - _KEPT)]:
                del self.runs[other]
            return known

    def close(self) -> None:
        """End what is at work, and begin nothing more."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def _work(self, run: Path, known: Computing) -> None:
        known.mark = mark_of(run)
        try:
            _compute(run, known, self._closed)
        finally:
            if not known.ended:
                known.problem = "The computation broke off."


class Wish(BaseModel):
    """Whether to compute them anew where they are there."""

    model_config = ConfigDict(extra="forbid")

    anew: bool = False


@router.get("/runs/{name}/statistics")
def page(request: Request, name: str) -> HTMLResponse:
    """The page: the statistics where they are there, else how far they are; its script begins them."""
    run = _run(request, name)
    known = _computed(request).of(run) or Computing(mark_of(run))
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
    known = _computed(request).of(_run(request, name))
    if known is None:
        raise HTTPException(404, "Nobody has begun these statistics.")
    what, done, of = known.progress
    return {"ended": known.ended, "what": what, "done": done, "of": of}


@router.post("/api/runs/{name}/statistics")
def begin(request: Request, name: str, wish: Wish) -> dict[str, Any]:
    """Compute them."""
    known = _computed(request).begin(_run(request, name), anew=wish.anew)
    return {"ended": known.ended}


def close(app: FastAPI) -> None:
    """End what an app computes."""
    found: Computed | None = getattr(app.state, "statistics", None)
    if found is not None:
        found.close()


def _run(request: Request, name: str) -> Path:
    """The folder of a run.

    Raises:
        HTTPException: 404: there is no such folder, or it holds no run.
    """
    run = state_of(request).run(name)
    if not (run / _DATABASE).is_file():
        raise HTTPException(404, "There is no such run.")
    return run


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


def _compute(run: Path, known: Computing, closed: Event) -> None:
    """Let a process of its own compute the statistics of a run, and note what it says; it ends when the app does."""
    command = [sys.executable, "-m", "reflectune.report.worker", str(run)]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:  # noqa: S603
            assert process.stdin is not None
            assert process.stdout is not None
            Thread(target=_end, args=(process, closed), daemon=True).start()
            with suppress(BrokenPipeError):  # it has ended before: that it says nothing tells so
                process.stdin.write(orjson.dumps({language: _texts(language) for language in ("en", "zh")}))
                process.stdin.close()
            for line in process.stdout:
                _note(known, orjson.loads(line))
    except (OSError, ValueError) as error:
        known.problem = str(error)


def _end(process: subprocess.Popen[bytes], closed: Event) -> None:
    """End a process when the app closes, unless it ends by itself before."""
    while process.poll() is None:
        if closed.wait(_LOOK):
            process.kill()
            return


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
