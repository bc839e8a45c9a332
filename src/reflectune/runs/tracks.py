"""Tell which rows of a run have changed, without reading what was made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reflectune.records import digest
from reflectune.runs.decisions import Decisions

SELECTED = "select:"
"""The beginning of the fingerprint of what `select` said of rows."""
ANEW = (
    "INSERT OR REPLACE INTO meta"
    " SELECT 'generation', coalesce((SELECT value FROM meta WHERE name = 'generation'), 0) + 1"
)
"""Says that results were deleted: the numbers under which they lay may be given out again."""
_LAST = 2**63 - 1
"""The largest number that SQLite takes."""
_QUERY = """
SELECT position, rows.id, printf('%d.%d.%d.%d.%d %d %s', recycled.rowid, length(recycled.body), scored.rowid,
        length(scored.body), selected.rowid, length(rows.content) > 0,
        (SELECT group_concat(gate) FROM marks WHERE marks.id = rows.id))
FROM rows
LEFT JOIN results AS recycled ON recycled.stage = 'recycle' AND recycled.id = rows.id AND recycled.{recycled}
LEFT JOIN results AS scored ON scored.stage = 'score' AND scored.id = rows.id AND scored.{scored}
LEFT JOIN results AS selected ON selected.stage = 'select' AND selected.id = rows.id
    AND selected.fingerprint = ? || content
WHERE {only}
ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Track:
    """A row, and what tells that it has changed.

    Attributes:
        position: Its place in the input.
        id: Its id.
        mark: Is another one once its result, scores, selection, marks or the decision about it are.
    """

    position: int
    id: str
    mark: str


class Tracks:
    """What tells that rows have changed.

    A result that replaces another lies in its table under a higher number than any that is there; so its number tells
    it from the one before, as long as none are deleted, which is counted.

    Args:
        database: The run's.
        made: The SQL condition that a stage's result is good, and its parameters.
    """

    def __init__(self, database: sqlite3.Connection, made: Callable[[str], tuple[str, tuple[str, ...]]]) -> None:
        self._database = database
        self._made = made

    def all(self, row: str | None = None) -> Iterator[Track]:
        """Every row, in input order; or only the one with this id."""
        recycled, recycled_marks = self._made("recycle")
        scored, scored_marks = self._made("score")
        cursor = self._database.execute(
            _QUERY.format(recycled=recycled, scored=scored, only="1" if row is None else "rows.id = ?"),
            (*recycled_marks, *scored_marks, SELECTED, *(() if row is None else (row,))),
        )
        generation = self._database.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        said = Decisions(self._database).all(None if row is None else (row,))
        decisions = {name: digest(one.model_dump(mode="json")) for name, one in said.items()}
        for position, name, mark in cursor:
            yield Track(position, name, f"{generation[0] if generation else 0} {mark} {decisions.get(name, '')}")

    def at(self, position: int) -> str | None:
        """The id of the row at a place in the input."""
        if not 0 <= position <= _LAST:
            return None
        found = self._database.execute("SELECT id FROM rows WHERE position = ?", (position,)).fetchone()
        return found[0] if found else None
