"""What a stage has to do: the rows that it has not done, and those that it is to do again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from reflectune.records import Example
from reflectune.runs.packing import example_of

__all__ = ["Queue", "Which"]

Which = Literal["new", "again", "both"]
"""Rows that a stage has not done, those that `do_again` named, or both."""

_PAGE = 500
_FURTHEST = 2**62
_SAMPLED = (
    "position IN (SELECT position FROM rows WHERE example IS NOT NULL"
    " ORDER BY (position * 2654435761) % 4294967296 LIMIT ?)"
)
"""Multiplying by a number near 2**32 / golden ratio scatters the positions evenly."""


class Queue:
    """The rows of a run that are pending, in input order.

    Args:
        database: The run's.
        made: Gives the SQL condition that a stage's result is good, and its parameters.
    """

    def __init__(self, database: sqlite3.Connection, made: Callable[[str], tuple[str, tuple[str, ...]]]) -> None:
        self._database = database
        self._made = made

    def examples(
        self,
        stage: str,
        *,
        sample: int | None = None,
        which: Which = "new",
        within: tuple[int, int] = (0, _FURTHEST),
    ) -> Iterator[Example]:
        """The examples that a stage has to do, read a page at a time.

        Args:
            stage: The stage.
            sample: Take only those among this many rows, which are spread over the data and always the same.
            which: Those that it has not done, those that `do_again` named, or both.
            within: Take only those from this place in the data to that one.
        """
        position, last = within
        wanted, parameters = self._wanted(stage, sample, which)
        query = f"SELECT position, id, example FROM rows WHERE position >= ? AND position <= ? AND {wanted} LIMIT ?"  # noqa: S608
        while True:
            page = self._database.execute(query, (position, last, *parameters, _PAGE)).fetchall()
            if not page:
                return
            for place, name, example in page:
                position = place + 1
                yield example_of(name, example)

    def count(self, stage: str, *, sample: int | None = None, which: Which = "new") -> int:
        """How many there are."""
        wanted, parameters = self._wanted(stage, sample, which)
        found: int = self._database.execute(f"SELECT count(*) FROM rows WHERE {wanted}", parameters).fetchone()[0]  # noqa: S608
        return found

    def pages(
        self, stage: str, rows: int, *, sample: int | None = None, which: Which = "new"
    ) -> Iterator[tuple[int, int]]:
        """The same as pages of so many rows: the places of the first and of the last."""
        wanted, parameters = self._wanted(stage, sample, which)
        places = self._database.execute(f"SELECT position FROM rows WHERE {wanted}", parameters)  # noqa: S608
        while page := places.fetchmany(rows):
            yield page[0][0], page[-1][0]

    def results(self, rows: Sequence[str]) -> list[tuple[str, str, str, bytes]]:
        """What is kept of some rows: stage, row, fingerprint and result. What is to be made again is not among it."""
        some = ", ".join("?" * len(rows))
        return self._database.execute(
            f"SELECT stage, id, fingerprint, body FROM results WHERE id IN ({some})"  # noqa: S608
            " AND (stage <> 'recycle' OR NOT EXISTS (SELECT 1 FROM again WHERE again.id = results.id))",
            tuple(rows),
        ).fetchall()

    def done(self, stage: str, rows: Sequence[str]) -> set[str]:
        """Those of some rows that a stage has not to do: their results are good, and not to be made again."""
        made, marks = self._made(stage)
        some = ", ".join("?" * len(rows))
        found = self._database.execute(
            f"SELECT rows.id FROM rows JOIN results ON stage = ? AND results.id = rows.id AND {made}"  # noqa: S608
            f" WHERE rows.id IN ({some})"
            " AND (stage <> 'recycle' OR NOT EXISTS (SELECT 1 FROM again WHERE again.id = rows.id))",
            (stage, *marks, *rows),
        )
        return {name for (name,) in found}

    def _wanted(self, stage: str, sample: int | None, which: Which) -> tuple[str, tuple[object, ...]]:
        """The SQL condition that a stage has to do a row, with the order, and its parameters."""
        made, marks = self._made(stage)
        new = f"NOT EXISTS (SELECT 1 FROM results WHERE stage = ? AND results.id = rows.id AND {made})"  # noqa: S608
        again = "id IN (SELECT id FROM again)"
        wanted = {"new": new, "again": again, "both": f"({new} OR {again})"}[which]
        parameters = () if which == "again" else (stage, *marks)
        within = f" AND {_SAMPLED}" if sample else ""
        few = (sample,) if sample else ()
        return f"example IS NOT NULL AND {wanted}{within} ORDER BY position", (*parameters, *few)
