"""Whether runs can be kept here: room, SQLite's write-ahead log, and locks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from reflectune.doctor.finding import Finding
from reflectune.errors import RunError
from reflectune.runs.lock import take

__all__ = ["database", "room"]

_LEAST = 1 << 30
_MEND = "Name a folder on a local disk with --run: not every network file system can do this."


def room(runs: Path) -> Finding:
    """How much room there is where runs are kept."""
    place = _existing(runs)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(name="room", state="broken", told=f"{place} cannot be looked at: {error.strerror}", mend=_MEND)
    told = f"{free / 1e9:.1f} GB free for {runs}"
    if free >= _LEAST:
        return Finding(name="room", state="good", told=told)
    return Finding(
        name="room", state="broken", told=told, mend="Free some disk space, or name another place with --run."
    )


def database(runs: Path) -> Finding:
    """Whether a run's database works where runs are kept: it is tried in a folder that is removed again."""
    place = _existing(runs)
    version = f"SQLite {sqlite3.sqlite_version}"
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".reflectune-doctor-") as folder:
            fault = _tried(Path(folder))
    except (OSError, sqlite3.Error, RunError) as error:
        fault = str(error).partition("\n")[0]
    if fault:
        return Finding(name="database", state="broken", told=f"{version} does not work in {place}: {fault}", mend=_MEND)
    return Finding(name="database", state="good", told=f"{version}, with a write-ahead log and locks")


def _tried(folder: Path) -> str:
    """What does not work; empty where all does.

    Raises:
        OSError, sqlite3.Error, RunError: It does not work either.
    """
    path = folder / "state.sqlite"
    with closing(sqlite3.connect(path)) as writes, closing(sqlite3.connect(path)) as reads:
        mode = writes.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            return f"it keeps no write-ahead log there (journal mode {mode})"
        writes.execute("CREATE TABLE seen (number INTEGER)")
        writes.execute("INSERT INTO seen VALUES (17)")
        if reads.execute("SELECT count(*) FROM seen").fetchone()[0]:
            return "one process sees what another has not committed"
        writes.commit()
        if reads.execute("SELECT number FROM seen").fetchone() != (17,):
            return "one process does not see what another committed"
    os.close(take(folder))
    return ""


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.is_dir())
