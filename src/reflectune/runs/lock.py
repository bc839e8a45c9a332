"""One process at a time works on a run's folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from reflectune.errors import RunError

_TRIALS = 3
_MOMENT = 0.02
"""Seconds; `holder` has the lock for less when it looks whether anybody has it."""


def take(folder: Path) -> int:
    """Make the folder where it is missing, and take its lock.

    Returns:
        The open file that holds the lock: closing it gives the lock back, and so does the process's death.

    Raises:
        RunError: The folder cannot be written, or another process works on it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _lock(folder / "run.lock")
    except OSError as error:
        raise RunError(
            f"Cannot write to the run folder {folder}: {error.strerror or error}.",
            mend="Make it writable, or name another one with --run.",
        ) from error


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for trial in range(_TRIALS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if trial < _TRIALS - 1:
                time.sleep(_MOMENT)
    else:
        user = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise RunError(
            f"The run {path.parent} is in use by process {user or 'unknown'}.",
            mend="Wait for it, or stop it with Ctrl-C: it can be resumed.",
        )
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def holder(folder: Path) -> int | None:
    """The number of the process that works on a run's folder; `None` where none does, 0 where it does not say."""
    try:
        handle = os.open(folder / "run.lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = os.read(handle, 32).decode(errors="replace").strip()
        return int(told) if told.isdecimal() else 0
    finally:
        os.close(handle)
    return None
