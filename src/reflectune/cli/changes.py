"""What recycling changed, counted over all rows."""

from __future__ import annotations

from pydantic import BaseModel

from reflectune.language import detect, length
from reflectune.records import Recycled, Remark
from reflectune.runs import StoredRow

_SHOWN = 3
_LISTENED_TO = 500


class Mean(BaseModel):
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Take in one more value."""
        self.total += value
        self.count += 1

    def __str__(self) -> str:
        return f"{self.total / self.count:.1f}" if self.count else "-"


class Change(BaseModel):
    """A figure before and after."""

    before: Mean
    after: Mean


class Changes(BaseModel):
    """What recycling changed; it is shown row after row.

    Attributes:
        lengths: Mean length of instructions and responses, in words (characters in Chinese and Japanese).
        scores: Mean score per criterion, before and, where that was asked for, after.
        languages: How many of some hundred rows are in which language, as far as that is plain to tell.
        examples: A few rewritten rows, spread evenly over the data.
        every: One rewritten row of so many becomes an example.
        rewritten: How many rewritten rows were shown.
        written: How many rows the data holds.
    """

    lengths: dict[str, Change] = {}
    scores: dict[str, Change] = {}
    languages: dict[str, int] = {}
    examples: list[Recycled] = []
    every: int = 1
    rewritten: int = 0
    written: int = 0

    @classmethod
    def over(cls, rewritten: int) -> Changes:
        """Nothing yet, of so many rewritten rows."""
        return cls(every=max(1, rewritten // _SHOWN))

    def look(self, row: StoredRow) -> None:
        """Take in one more row."""
        if row.result is None or not row.result.rewritten:
            return
        self._count(row.result)
        if self.rewritten % self.every == 0 and len(self.examples) < _SHOWN:
            self.examples.append(row.result)
        self.rewritten += 1

    def _count(self, recycled: Recycled) -> None:
        old, new = recycled.versions["original"], recycled.best
        asked = _change(self.lengths, "instruction")
        asked.before.add(length(f"{old.instruction} {old.input}"))
        asked.after.add(length(f"{new.instruction} {new.input}"))
        answered = _change(self.lengths, "response")
        answered.before.add(length(old.response))
        answered.after.add(length(new.response))
        for remark in _first_remarks(recycled):
            _change(self.scores, _name(remark)).before.add(remark.score)
        for remark in recycled.after:
            _change(self.scores, _name(remark)).after.add(remark.score)
        if self.rewritten % max(1, self.every * _SHOWN // _LISTENED_TO) == 0 and (code := detect(new.response)):
            self.languages[code] = self.languages.get(code, 0) + 1


def _change(changes: dict[str, Change], name: str) -> Change:
    if name not in changes:
        changes[name] = Change(before=Mean(), after=Mean())
    return changes[name]


def _first_remarks(recycled: Recycled) -> tuple[Remark, ...]:
    """The critique of the original: the first reflection's."""
    return recycled.rewrites[0].remarks


def _name(remark: Remark) -> str:
    return f"{remark.subject}: {remark.criterion}"
