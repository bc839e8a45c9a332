"""A question about the rows of a run, as SQL over the index."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from reflectune.errors import SettingsError
from reflectune.web.index.folding import phrase, sought

__all__ = ["COLUMNS", "FILTERS", "Answer", "Line", "Question", "ask", "facets"]

COLUMNS = (
    *("position", "id", "status", "human", "reason", "language"),
    *("instruction_before", "instruction_after", "response_before", "response_after", "score", "score_after"),
    *("ifd_before", "ifd_after", "rifd_before", "rifd_after", "change", "won", "why"),
)
"""What rows can be sorted by."""
RANGES = frozenset(COLUMNS) - {"id", "status", "human", "reason", "language", "won", "why"}
"""What rows can be limited by, from one number to another."""
FILTERS = ("status", "human", "reason", "language", "gate", "won", "why")
"""What rows can be filtered by."""
_LAST = "\U0010ffff"
_MOST_WORDS = 16
"""A short word is an OR of all trigrams that begin with it: each costs a while."""
_SECONDS = 5.0
"""So long a question may take."""
_STEPS = 2_000
"""SQLite looks at the clock each time it has done so many steps."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows, in which order.

    Attributes:
        search: Words, and phrases in double quotes, that must all be there.
        filters: For each of `FILTERS` the values of which one must hold; `none` is the empty one.
        low: The least that `sort` may be.
        high: The most.
        sort: One of `COLUMNS`. Rows that have no such value come last.
        descending: Whether the largest comes first.
        offset: How many rows to pass over.
        limit: How many rows to give.
        around: A place in the input: the page that holds this row is given, where it is among those that are wanted.
    """

    search: str = ""
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None
    sort: str = "position"
    descending: bool = False
    offset: int = 0
    limit: int = 50
    around: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A row in a list; its fields are those of `Entry`."""

    position: int
    id: str
    title: str
    status: str
    human: str
    reason: str
    language: str
    gates: str
    instruction_before: int | None
    instruction_after: int | None
    response_before: int | None
    response_after: int | None
    score: float | None
    score_after: float | None
    ifd_before: float | None
    ifd_after: float | None
    rifd_before: float | None
    rifd_after: float | None
    change: float | None
    kept: int | None
    won: str
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is.

    Attributes:
        total: How many rows there are in all.
        offset: How many rows were passed over.
        lines: Those that were asked for.
    """

    total: int
    offset: int
    lines: tuple[Line, ...]


_LINE = ", ".join(one.name for one in fields(Line))


def ask(database: sqlite3.Connection, question: Question) -> Answer:
    """Find rows, all as of one moment.

    Raises:
        SettingsError: Too much is looked for at once.
    """
    end = time.monotonic() + _SECONDS
    database.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        database.execute("BEGIN")
        return _answer(database, question)
    except sqlite3.OperationalError as error:
        if time.monotonic() <= end:
            raise
        raise SettingsError("That takes too long to find.", mend="Look for fewer or longer words.") from error
    finally:
        database.set_progress_handler(None, 0)
        database.rollback()


def _answer(database: sqlite3.Connection, question: Question) -> Answer:
    where, values = _conditions(database, question)
    total: int = database.execute(f"SELECT count(*) FROM entries WHERE {where}", values).fetchone()[0]  # noqa: S608
    sort = question.sort if question.sort in COLUMNS else "position"
    way = "DESC" if question.descending else "ASC"
    missing = "" if sort in {"position", "id"} else f"({sort} IS NULL OR {sort} = ''), "
    order = f"FROM entries WHERE {where} ORDER BY {missing}{sort} {way}, position"
    offset = question.offset
    if question.around is not None:
        places = [place for (place,) in database.execute(f"SELECT position {order}", values)]
        there = places.index(question.around) if question.around in places else offset
        offset = there - there % question.limit
    found = database.execute(  # only what is needed is sorted
        f"SELECT document {order} LIMIT ? OFFSET ?", (*values, question.limit, offset)
    ).fetchall()
    line = f"SELECT {_LINE} FROM entries WHERE document = ?"  # noqa: S608 - the names are ours
    return Answer(total, offset, tuple(Line(*database.execute(line, place).fetchone()) for place in found))


def facets(database: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """How many rows have which value, for everything that rows can be filtered by; most first."""
    found: dict[str, dict[str, int]] = {}
    for name in FILTERS:
        column = "gates" if name == "gate" else name
        groups: list[tuple[str, int]] = database.execute(
            f"SELECT {column}, count(*) FROM entries GROUP BY 1 ORDER BY 2 DESC, 1"  # noqa: S608 - a name of ours
        ).fetchall()
        counted: dict[str, int] = {}
        for value, count in groups:
            for one in value.strip(",").split(",") if name == "gate" else [value]:
                counted[one or "none"] = counted.get(one or "none", 0) + count
        found[name] = dict(sorted(counted.items(), key=lambda entry: -entry[1]))
    return found


def _conditions(database: sqlite3.Connection, question: Question) -> tuple[str, list[Any]]:
    """The SQL condition that a row is wanted, and its parameters."""
    conditions: list[str] = ["1"]
    values: list[Any] = []
    for name, wanted in question.filters.items():
        if name not in FILTERS or not wanted:
            continue
        plain = ["" if value == "none" else value for value in wanted]
        if name == "gate":
            conditions.append(f"({' OR '.join('gates = ?' if not one else 'instr(gates, ?)' for one in plain)})")
            values += [f",{one}," if one else "" for one in plain]
        else:
            conditions.append(f"{name} IN ({', '.join('?' * len(plain))})")
            values += plain
    if question.sort in RANGES:
        for sign, bound in ((">=", question.low), ("<=", question.high)):
            if bound is not None:
                conditions.append(f"{question.sort} {sign} ?")
                values.append(bound)
    found, more = _search(database, sought(question.search))
    return " AND ".join([*conditions, *found]), [*values, *more]


def _search(database: sqlite3.Connection, words: list[str]) -> tuple[list[str], list[str]]:
    """The conditions that all words are in a row.

    A word of three characters or more is a phrase of trigrams. One of two is looked up as any trigram that begins with
    it. A single character is looked for among the different characters of each row.
    """
    if len(words) > _MOST_WORDS:
        mend = "Leave some out, or put words that stand together in double quotes."
        raise SettingsError(f"At most {_MOST_WORDS} words can be looked for at once, not {len(words)}.", mend=mend)
    conditions: list[str] = []
    values: list[str] = []
    phrases = [phrase(word) for word in words if len(word) > 2]  # noqa: PLR2004
    for pair in (word for word in words if len(word) == 2):  # noqa: PLR2004
        begun = database.execute(_beginning(database), (pair, pair + _LAST))
        phrases.append(f"({' OR '.join(phrase(gram) for (gram,) in begun)})")
    if "()" in phrases:
        return ["0"], []
    if phrases:
        conditions.append("document IN (SELECT rowid FROM texts WHERE texts MATCH ?)")
        values.append(" AND ".join(phrases))
    for letter in (word for word in words if len(word) == 1):
        conditions.append("document IN (SELECT document FROM letters WHERE instr(letters, ?))")
        values.append(letter)
    return conditions, values


def _beginning(database: sqlite3.Connection) -> str:
    """The SQL for the trigrams between two texts; while many are being added, by the slower way over the texts."""
    if database.execute("SELECT 1 FROM meta WHERE name = 'adding'").fetchone():
        return "SELECT term FROM vocabulary WHERE term BETWEEN ? AND ?"
    return "SELECT trigram FROM trigrams WHERE trigram BETWEEN ? AND ?"
