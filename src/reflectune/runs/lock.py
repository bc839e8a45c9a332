"""One process at a time works on a run's folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from reflectune.errors import RunError


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
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise RunError(
            f"The run {path.parent} is in use by process {holder or 'unknown'}.",
            mend="Wait for it, or stop it with Ctrl-C: it can be resumed.",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle
