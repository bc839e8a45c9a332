"""Bring the index of a run up to date: only rows that have changed since are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple
from itertools import islice

from reflectune.runs import RunDir
from reflectune.runs.tracks import Track
from reflectune.web.index.entry import Known, entry_of, text_of
from reflectune.web.index.tables import ENTRY_COLUMNS

__all__ = ["Progress", "bring_up_to_date", "overgrown", "take_in"]

Progress = Callable[[int, int], bool]
"""Is told how many of how many changed rows are in; says whether to go on."""
_TOGETHER = 400
_MANY = 2_000
"""From so many new rows on, their trigrams are read from the index itself."""
_STAGE = "recycle"
_INSERT = f"INSERT INTO entries ({', '.join(ENTRY_COLUMNS)}) VALUES ({', '.join('?' * len(ENTRY_COLUMNS))})"  # noqa: S608


def bring_up_to_date(database: sqlite3.Connection, run: RunDir, progress: Progress) -> int:
    """Read every row that has changed since the index last saw it.

    Args:
        database: The index.
        run: The run, to be looked at.
        progress: Is told how far it is.

    Returns:
        How many rows had changed.
    """
    known = dict(database.execute("SELECT id, mark FROM entries"))
    changed = [track for track in run.tracks.all() if known.pop(track.id, None) != track.mark]
    if known:
        with database:
            database.executemany("DELETE FROM entries WHERE id = ?", ((name,) for name in known))
    done, many = 0, len(changed) >= _MANY
    if many:
        with database:
            database.execute("INSERT OR REPLACE INTO meta VALUES ('adding', 1)")
    for some in _batches(changed):
        if not progress(done, len(changed)):
            return done
        with database:
            for one in knowledge(run, some):
                _put(database, one, trigrams=not many)
        done += len(some)
    if database.execute("SELECT 1 FROM meta WHERE name = 'adding'").fetchone():
        with database:
            database.execute("INSERT OR IGNORE INTO trigrams SELECT term FROM vocabulary")
            database.execute("DELETE FROM meta WHERE name = 'adding'")
    progress(done, len(changed))
    return done


def take_in(database: sqlite3.Connection, run: RunDir, row: str) -> None:
    """Read one row anew."""
    with database:
        for one in knowledge(run, list(run.tracks.all(row))):
            _put(database, one, trigrams=True)


def knowledge(run: RunDir, tracks: Sequence[Track]) -> Iterator[Known]:
    """All that is known of some rows."""
    by_id = {track.id: track for track in tracks}
    scores = {scored.id: scored for scored in run.scores(row=tuple(by_id))}
    for row in run.rows(_STAGE, row=tuple(by_id)):
        selected = run.selected(row.example) if row.example else None
        track = by_id[row.id]
        yield Known(track.position, track.mark, row, scores.get(row.id), selected)


def overgrown(database: sqlite3.Connection) -> bool:
    """Whether the index holds more texts of earlier than of present rows, so that it is better made anew."""
    present, ever = database.execute("SELECT count(*), coalesce(max(document), 0) FROM entries").fetchone()
    return bool(ever > 2 * present + _MANY)


def _put(database: sqlite3.Connection, known: Known, *, trigrams: bool) -> None:
    database.execute("DELETE FROM entries WHERE id = ?", (known.row.id,))
    document = database.execute(_INSERT, astuple(entry_of(known))).lastrowid
    text = text_of(known.row)
    database.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (document, text))
    database.execute("INSERT INTO letters VALUES (?, ?)", (document, "".join(sorted(set(text)))))
    if trigrams:
        three = {text[place : place + 3] for place in range(len(text) - 2)}
        database.executemany("INSERT OR IGNORE INTO trigrams VALUES (?)", ((gram,) for gram in three))


def _batches(tracks: Iterable[Track]) -> Iterator[list[Track]]:
    source = iter(tracks)
    while batch := list(islice(source, _TOGETHER)):
        yield batch
