"""What people have decided about single rows of a run: accept, edit or reject.

A decision is made for what the row was when a person looked at it. Once the row is made anew, the decision is stale: it
is kept and shown, and no longer applied.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from reflectune.records import Record, Version, VersionName, digest

__all__ = ["HUMAN", "Decided", "Decision", "Decisions", "Verdict", "hash_of"]

Verdict = Literal["accept", "edit", "reject"]
HUMAN: Literal["human"] = "human"
"""The name of the version that a person wrote."""

_OUTDATED = "DELETE FROM meta WHERE name = 'exported'"
"""The exported files no longer follow from what is known of the rows."""
_ASIDE = "marks set aside of "
"""Before a row's id: the note of its marks that do not count while a person's text stands for it."""


class Decision(Record):
    """What a person decided about a row.

    Attributes:
        id: The row's id.
        verdict: `accept`: it is good as it is. `edit`: `version` stands for it from now on, also where the oracle
            failed. `reject`: it is left out of the data.
        of: The version that was looked at.
        version: What the person made of it; for `edit` only.
        note: Why, in the person's words.
        made_for: A hash of what the row was; see `hash_of`.
    """

    id: str
    verdict: Verdict
    of: VersionName
    version: Version | None = None
    note: str = ""
    made_for: str

    @model_validator(mode="after")
    def _check_version(self) -> Decision:
        if (self.version is None) is (self.verdict == "edit"):
            raise ValueError("an edit has a version, and nothing else has")
        return self


@dataclass(frozen=True, slots=True)
class Decided:
    """How many rows were decided about.

    Attributes:
        accepted: Rows that are good as they are.
        edited: Rows whose text a person wrote.
        mended: Those of them that the oracle had failed on.
        rejected: Rows that are left out of the data.
        stale: Rows that were decided about and made anew since.
    """

    accepted: int = 0
    edited: int = 0
    mended: int = 0
    rejected: int = 0
    stale: int = 0

    def __bool__(self) -> bool:
        """Whether there is any decision."""
        return bool(self.accepted or self.edited or self.rejected or self.stale)


def hash_of(body: bytes) -> str:
    """What tells one result of a row from the next.

    Args:
        body: The result as JSON.
    """
    return hashlib.blake2b(body, digest_size=16).hexdigest()


class Decisions:
    """The decisions of a run.

    Args:
        database: The run's. One that was made before there were decisions, and is only looked at, holds none.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._there = bool(
            database.execute("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'decisions'").fetchone()
        )

    def all(self, rows: Sequence[str] | None = None) -> dict[str, Decision]:
        """Every decision by its row's id, stale ones among them; or only those about these rows."""
        among = "" if rows is None else f" WHERE id IN ({', '.join('?' * len(rows))})"
        found = self._read(f"SELECT body FROM decisions{among} ORDER BY id", *(rows or ()))  # noqa: S608
        return {decision.id: decision for decision in found}

    def count(self, made: str, marks: tuple[str, ...]) -> Decided:
        """How many rows were decided about, and how.

        Args:
            made: The SQL condition that a result is good.
            marks: Its parameters.
        """
        if not self._there:
            return Decided()
        found: Counter[str] = Counter()
        for body, result, failed in self._database.execute(
            "SELECT decisions.body, results.body, failure IS NOT NULL OR failed IS NOT NULL FROM decisions"  # noqa: S608
            " JOIN rows ON rows.id = decisions.id"
            f" LEFT JOIN results ON stage = 'recycle' AND results.id = rows.id AND {made}",
            marks,
        ):
            decision = Decision.model_validate_json(body)
            holds = decision.made_for == (hash_of(result) if result else "")
            found[decision.verdict if holds else "stale"] += 1
            found["mended"] += holds and decision.verdict == "edit" and failed
        return Decided(found["accept"], found["edit"], found["mended"], found["reject"], found["stale"])

    def of(self, row: str) -> Decision | None:
        """What was decided about a row, stale or not."""
        return next(self._read("SELECT body FROM decisions WHERE id = ?", row), None)

    def mark(self) -> str:
        """A hash of all decisions; empty where there is none."""
        every = [decision.model_dump(mode="json") for decision in self.all().values()]
        return digest(every) if every else ""

    def keep(self, decision: Decision) -> None:
        """Keep a decision, in place of an earlier one about the same row.

        A text that a person wrote has not been through the quality gates, so their marks on that row are set aside
        until it is taken back.
        """
        with self._database:
            self._database.execute(_OUTDATED)
            self._turn_marks(decision.id, self._text_of(decision.id, decision.made_for), decision.version)
            self._database.execute(
                "INSERT OR REPLACE INTO decisions VALUES (?, ?)", (decision.id, decision.model_dump_json().encode())
            )

    def undo(self, row: str) -> bool:
        """Take a decision back; returns whether there was one."""
        with self._database:
            self._database.execute(_OUTDATED)
            found = self._database.execute("SELECT body FROM results WHERE stage = 'recycle' AND id = ?", (row,))
            self._turn_marks(row, self._text_of(row, hash_of((found.fetchone() or (b"",))[0])), None)
            return self._database.execute("DELETE FROM decisions WHERE id = ?", (row,)).rowcount > 0

    def _text_of(self, row: str, made: str) -> Version | None:
        """What a person wrote for a row as it is now."""
        before = self.of(row)
        return before.version if before is not None and before.made_for == made else None

    def _turn_marks(self, row: str, before: Version | None, after: Version | None) -> None:
        """Set the marks on what was made of a row aside once a person's text stands for it, and bring them back after.

        Those that a person's text has got since go with it.
        """
        if before == after:
            return
        name = _ASIDE + row
        if before is None:
            self._database.execute(
                "INSERT OR REPLACE INTO meta SELECT ?, coalesce(json_group_array(json_array(gate, CAST(body AS TEXT))),"
                " '[]') FROM marks WHERE id = ?",
                (name, row),
            )
        self._database.execute("DELETE FROM marks WHERE id = ?", (row,))
        if after is None:
            aside = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            for gate, body in json.loads(aside[0] if aside else "[]"):
                self._database.execute("INSERT INTO marks VALUES (?, ?, ?)", (row, gate, body.encode()))
            self._database.execute("DELETE FROM meta WHERE name = ?", (name,))

    def _read(self, query: str, *parameters: str) -> Iterator[Decision]:
        if self._there:
            for (body,) in self._database.execute(query, parameters).fetchall():
                yield Decision.model_validate_json(body)
