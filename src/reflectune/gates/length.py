"""Length: rewrites that are far shorter or longer than the others, or that changed far more than the others did."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import exp, log1p
from statistics import median

from reflectune.gates.marks import Candidate, GateSettings, Half, Mark, halves
from reflectune.gates.texts import read
from reflectune.language import length
from reflectune.records import Reflection

_TO_SPREAD = 1.4826
"""The spread (standard deviation) of normally distributed figures is so many times their median deviation."""
_LEAST_SPREAD = 0.1
"""Rewrites that are almost all of one length do not make one that is a few words longer an outlier."""


@dataclass(slots=True)
class _Group:
    """The rewrites of one kind: one half of the pair, in words or in characters.

    Attributes:
        rows: The places of the rows.
        new: The logarithm of each rewrite's length plus one.
        old: The same of its original.
    """

    rows: array[int] = field(default_factory=lambda: array("L"))
    new: array[float] = field(default_factory=lambda: array("d"))
    old: array[float] = field(default_factory=lambda: array("d"))


@dataclass(frozen=True, slots=True)
class _Normal:
    """What is usual of some figures: their median, and how far they spread around it."""

    middle: float
    spread: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> _Normal:
        known = array("d", figures)
        middle = median(known)
        spread = _TO_SPREAD * median(abs(figure - middle) for figure in known)
        return cls(middle, max(spread, _LEAST_SPREAD))

    def distance(self, figure: float) -> float:
        """How many spreads a figure is from the median; negative below it."""
        return (figure - self.middle) / self.spread


class Length:
    """Marks outliers among rewrites, by median and median deviation of the logarithm of their length.

    Words and characters are never compared. Holds about 24 bytes for each rewritten half, and the row's id.

    Args:
        settings: When a rewrite is an outlier, and the floors.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._ids: list[str] = []
        self._groups: dict[tuple[Reflection, str], _Group] = {}

    def look(self, candidate: Candidate) -> Iterator[Mark]:
        """Mark what is under a floor, and remember the lengths."""
        self._ids.append(candidate.id)
        for half in halves(candidate):
            if half.rewritten:
                yield from self._measure(candidate.id, half)

    def conclude(self) -> Iterator[Mark]:
        """Mark the outliers."""
        for (subject, unit), group in self._groups.items():
            if len(group.rows) >= self._settings.fewest:
                yield from self._outliers(subject, unit, group)

    def _measure(self, row: str, half: Half) -> Iterator[Mark]:
        words = length(half.new)
        floor = self._settings.shortest_instruction
        if half.subject == "response":
            floor = self._settings.shortest_response
        unit = "characters" if not half.new.isascii() and read(half.new).unspaced else "words"
        if words < floor:
            detail = f"The {half.subject} has {words} {unit}, fewer than {floor}."
            yield Mark(id=row, gate="length", subject=half.subject, detail=detail)
            return
        group = self._groups.setdefault((half.subject, unit), _Group())
        group.rows.append(len(self._ids) - 1)
        group.new.append(log1p(words))
        group.old.append(log1p(length(half.old)))

    def _outliers(self, subject: Reflection, unit: str, group: _Group) -> Iterator[Mark]:
        lengths = _Normal.of(group.new)
        ratios = _Normal.of(new - old for new, old in zip(group.new, group.old, strict=True))
        for place, new, old in zip(group.rows, group.new, group.old, strict=True):
            far, farther = lengths.distance(new), ratios.distance(new - old)
            if abs(far) > self._settings.spread:
                usual = f"the median is {_words(lengths.middle)}"
                score = far
            elif abs(farther) > self._settings.spread:
                usual = f"it had {_words(old)}, and the median ratio is {exp(ratios.middle):.2g}"
                score = farther
            else:
                continue
            detail = f"The {subject} has {_words(new)} {unit}; {usual}."
            yield Mark(id=self._ids[place], gate="length", subject=subject, detail=detail, score=round(score, 1))


def _words(figure: float) -> str:
    return f"{round(exp(figure)) - 1:,}"
