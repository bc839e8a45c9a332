"""What quality gates say of a run's rows, and whose marked rows are left out of its data."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator

from reflectune.runs.entries import Marked

_STALE = "DELETE FROM meta WHERE name = 'exported'"
"""The exported files no longer follow from what is known of the rows."""


class Marks:
    """The marks of a run.

    Args:
        database: The run's.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def keep(self, marks: Iterable[Marked]) -> None:
        """Keep marks in place of those that there were before."""
        with self._database:
            self._database.execute(_STALE)
            self._database.execute("DELETE FROM marks")
            self._database.executemany(
                "INSERT OR IGNORE INTO marks VALUES (?, ?, ?)",
                ((mark.id, mark.gate, mark.model_dump_json().encode()) for mark in marks),
            )

    def all(self) -> Iterator[tuple[str, str, bytes]]:
        """Every mark: the row's id, the gate, and the mark as JSON."""
        yield from self._database.execute("SELECT id, gate, CAST(body AS BLOB) FROM marks ORDER BY id, gate")

    @property
    def dropped(self) -> tuple[str, ...]:
        """The quality gates whose marked rows are left out of the data."""
        found = self._database.execute("SELECT value FROM meta WHERE name = 'dropped'").fetchone()
        return tuple(json.loads(found[0])) if found else ()

    def drop(self, gates: Iterable[str]) -> None:
        """Leave the rows that some quality gates mark out of the data from now on, and no others."""
        with self._database:
            names = json.dumps(sorted(set(gates)))
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('dropped', ?)", (names,))

    def count(self) -> dict[str, int]:
        """How many rows each quality gate marked."""
        query = "SELECT gate, count(*) FROM marks WHERE id IN (SELECT id FROM rows) GROUP BY gate ORDER BY gate"
        return dict(self._database.execute(query).fetchall())

    def holds(self, row: str, gate: str) -> bool:
        """Whether a quality gate marked a row, and it has not been made anew since."""
        query = "SELECT 1 FROM marks WHERE id = ? AND gate = ?"
        return self._database.execute(query, (row, gate)).fetchone() is not None
