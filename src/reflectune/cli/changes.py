"""What recycling changed, counted over all rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from reflectune.language import length
from reflectune.records import Recycled, Remark
from reflectune.runs import StoredRow

_SHOWN = 3


@dataclass(slots=True)
class Mean:
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Take in one more value."""
        self.total += value
        self.count += 1

    def __str__(self) -> str:
        return f"{self.total / self.count:.1f}" if self.count else "-"


@dataclass(slots=True)
class Change:
    """A figure before and after."""

    before: Mean = field(default_factory=Mean)
    after: Mean = field(default_factory=Mean)


@dataclass(slots=True)
class Changes:
    """What recycling changed.

    Attributes:
        lengths: Mean length of instructions and responses, in words (characters in Chinese and Japanese).
        scores: Mean score per criterion, before and, where that was asked for, after.
        examples: A few rewritten rows, spread evenly over the data.
    """

    lengths: dict[str, Change]
    scores: dict[str, Change]
    examples: list[Recycled]


def changes_in(rows: Iterable[StoredRow], rewritten: int) -> Changes:
    """Count what changed.

    Args:
        rows: Every row of a run.
        rewritten: How many of them are rewritten.
    """
    changes = Changes({"instruction": Change(), "response": Change()}, defaultdict(Change), [])
    every = max(1, rewritten // _SHOWN)
    seen = 0
    for row in rows:
        if row.result is None or not row.result.rewritten or row.example is None:
            continue
        _count(changes, row.result)
        if seen % every == 0 and len(changes.examples) < _SHOWN:
            changes.examples.append(row.result)
        seen += 1
    return changes


def _count(changes: Changes, recycled: Recycled) -> None:
    old, new = recycled.versions["original"], recycled.best
    changes.lengths["instruction"].before.add(length(f"{old.instruction} {old.input}"))
    changes.lengths["instruction"].after.add(length(f"{new.instruction} {new.input}"))
    changes.lengths["response"].before.add(length(old.response))
    changes.lengths["response"].after.add(length(new.response))
    for remark in _first_remarks(recycled):
        changes.scores[_name(remark)].before.add(remark.score)
    for remark in recycled.after:
        changes.scores[_name(remark)].after.add(remark.score)


def _first_remarks(recycled: Recycled) -> tuple[Remark, ...]:
    """The critique of the original: the first reflection's."""
    return recycled.rewrites[0].remarks


def _name(remark: Remark) -> str:
    return f"{remark.subject}: {remark.criterion}"
