"""Commands that a page starts: each a process of its own, which goes on when the app ends."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

from reflectune.errors import RunError
from reflectune.runs.lock import holder

__all__ = ["LOG", "Job", "Jobs"]

LOG = "retry.log"
_SHOWN = 4_000
Command = Literal["retry", "write"]


@dataclass(frozen=True, slots=True)
class Job:
    """A command that was started.

    Attributes:
        command: Which of `reflectune runs`.
        process: The process.
    """

    command: Command
    process: subprocess.Popen[bytes]


class Jobs:
    """The commands that were started from a page, the last one for each run."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._jobs: dict[Path, Job] = {}

    def start(self, run: Path, command: Command, *flags: str) -> None:
        """Start `reflectune runs COMMAND RUN FLAGS`; what it says goes to a file in the run's folder.

        It takes the keys that it needs from this process's environment.

        Raises:
            RunError: A process works on the run already, or nothing can be started or written there.
        """
        with self._lock:
            job = self._jobs.get(run)
            if (job and job.process.poll() is None) or holder(run) is not None:
                raise RunError("A process works on this run already.", mend="Wait for it.")
            words = [sys.executable, "-m", "reflectune", "runs", command, str(run.resolve()), *flags]
            try:
                with (run / LOG).open("wb") as log:
                    process = subprocess.Popen(  # noqa: S603 - our own command
                        words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                    )
            except OSError as problem:
                raise RunError(f"It could not be started: {problem.strerror or problem}.", mend="") from problem
            self._jobs[run] = Job(command, process)

    def state(self, run: Path) -> dict[str, str | int | bool | None] | None:
        """What has become of the last command for a run; `None` where this app has started none."""
        job = self._jobs.get(run)
        if job is None:
            return None
        code = job.process.poll()
        return {"command": job.command, "working": code is None, "code": code, "said": _end_of(run / LOG)}


def _end_of(path: Path) -> str:
    """The last lines of a file."""
    try:
        with path.open("rb") as log:
            log.seek(max(log.seek(0, 2) - _SHOWN, 0))
            return log.read().decode(errors="replace").strip()
    except OSError:
        return ""
