"""The index's database: a file beside the run's, or in a temporary folder where that cannot be written."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path

from reflectune.records import digest
from reflectune.web.index.entry import Entry

__all__ = ["ENTRY_COLUMNS", "open_tables", "place_of", "remove"]

FILE = "view.sqlite"
_LAYOUT = 2
"""The layout of the tables and what is in them, as SQLite's `user_version`; an index of another one is made anew."""
_PATIENCE = 10.0
_CACHE_KIB = 64_000
_NUMBERS = {
    *("position", "instruction_before", "instruction_after", "response_before", "response_after", "score"),
    *("score_after", "ifd_before", "ifd_after", "rifd_before", "rifd_after", "change", "kept"),
}
ENTRY_COLUMNS = tuple(field.name for field in fields(Entry))

_SCHEMA = f"""
BEGIN;
PRAGMA user_version = {_LAYOUT};
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
    document INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(name if name in _NUMBERS else f"{name} TEXT NOT NULL" for name in ENTRY_COLUMNS)}
);
CREATE UNIQUE INDEX IF NOT EXISTS entry_ids ON entries (id);
CREATE INDEX IF NOT EXISTS entry_positions ON entries (position);
CREATE TABLE IF NOT EXISTS letters (document INTEGER PRIMARY KEY, letters TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trigrams (trigram TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE IF NOT EXISTS texts
    USING fts5 (text, content = '', columnsize = 0, tokenize = 'trigram case_sensitive 1');
CREATE VIRTUAL TABLE IF NOT EXISTS vocabulary USING fts5vocab (texts, 'row');
COMMIT;
"""
# A document number is never given out again, and no text is ever deleted: what has no entry any more is not found.


@cache
def _elsewhere() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="reflectune-view-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def place_of(run: Path) -> Path:
    """Where the index of a run is."""
    path = run / FILE
    try:
        with tempfile.TemporaryFile(dir=run):
            return path
    except OSError:
        return _elsewhere() / f"{digest(str(run.resolve()))}.sqlite"


def open_tables(path: Path) -> sqlite3.Connection:
    """Open an index, and make its tables where they are missing; one that cannot be used is made anew."""
    with suppress(sqlite3.DatabaseError):
        if path.is_file():
            database = _connected(path)
            if database.execute("PRAGMA user_version").fetchone() == (_LAYOUT,):
                database.execute("SELECT count(*) FROM trigrams").fetchone()
                return database
            database.close()
    remove(path)
    database = _connected(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(_SCHEMA)
    return database


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return database


def remove(path: Path) -> None:
    """Delete an index."""
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
