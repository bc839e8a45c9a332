"""Which rows a report shows: the best, the worst and the typical ones, by stated rules.

Ties are decided by a hash of the rows' ids, so that they do not favour the beginning of the data, and the same run
always shows the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import median
from typing import Literal

from reflectune.records import digest

__all__ = ["Choice", "Group", "Known", "Picked", "choose"]

Group = Literal["typical", "best", "worst"]
RuleName = Literal["ifd", "critiques", "critique"]

_MOST = 0.5
"""A rule holds where more than this share of the rows has its figure."""
_NORMAL = 1.4826
"""The standard deviation of a normal distribution, by its median absolute deviation."""
_ALIKE = 1e-9
"""Figures that are spread no wider than this are all alike."""
_MISFIT = 1.0
"""From this IFD on, the instruction does not help the student to the response."""

_RULES: dict[RuleName, str] = {
    "ifd": "By the change of IFD: that of the version that stands, less that of the original. The higher it is, the"
    " more the student has to learn from the row. Rows whose IFD ends at 1 or above come last, the highest at the end:"
    " there the instruction does not help the student to the response at all.",
    "critiques": "By the change of the mean critique score, after the rewriting less before it; of equal changes by the"
    " score after it.",
    "critique": "By the mean score of the critique that came before the rewriting, for nothing was measured after it:"
    " best are the rows whose original was the best, worst those whose original was the worst. `reflectune score RUN`"
    " or recycling with --score-after lets the report rank by what the rewriting changed.",
}
_TYPICAL = (
    "Nearest to the median row: each figure less its median, by its spread (1.4826 median absolute deviations), and of"
    " that the root mean square over these: {figures}."
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a row, to choose by.

    Attributes:
        id: The row's id.
        asked: Words of the instruction, before and after.
        answered: Words of the response, before and after.
        critique: The mean score of the critique of the original; `None` where there is none.
        critique_after: The same of the version that stands.
        ifd: The student's IFD of the original; `None` where it was not scored.
        ifd_after: The same of the version that stands.
    """

    id: str
    asked: tuple[int, int]
    answered: tuple[int, int]
    critique: float | None = None
    critique_after: float | None = None
    ifd: float | None = None
    ifd_after: float | None = None


@dataclass(frozen=True, slots=True)
class Picked:
    """A row that is shown.

    Attributes:
        id: The row's id.
        why: Why it is among the rows that it stands with.
    """

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The rows that are shown.

    Attributes:
        rows: Those of each group, in order; no row is in two.
        rules: By what rule each group was chosen.
        ranked: How many rows could be ranked.
    """

    rows: dict[Group, tuple[Picked, ...]]
    rules: dict[Group, str]
    ranked: int


def choose(rows: Sequence[Known], each: int) -> Choice:
    """Choose rows.

    Args:
        rows: The rows that were rewritten, or edited by a person.
        each: The most of each group. Of few rows a third are the best and a third the worst, so that none is
            shown twice.
    """
    name = _rule(rows)
    ranked = _ranked(rows, name) if name else []
    ends = min(each, max(1, len(rows) // 3))
    best, worst = ranked[:ends], ranked[max(ends, len(ranked) - ends) :][::-1]
    places = {row.id: place for place, row in enumerate(ranked, start=1)}
    shown = {row.id for row in (*best, *worst)}
    figures = _figures(rows)
    distances = _distances(rows, figures)
    near = sorted((row for row in rows if row.id not in shown), key=lambda row: (distances[row.id], _drawn(row)))[:each]
    rule = _RULES[name] if name else "There is neither a critique nor a score to rank rows by."

    def told(row: Known) -> Picked:
        return Picked(row.id, f"{_measured(row, name)}: place {places[row.id]:,} of {len(ranked):,}")

    return Choice(
        rows={
            "typical": tuple(Picked(row.id, f"{distances[row.id]:.2f} from the median row") for row in near),
            "best": tuple(map(told, best)),
            "worst": tuple(map(told, worst)),
        },
        rules={"typical": _TYPICAL.format(figures=", ".join(figures) or "-"), "best": rule, "worst": rule},
        ranked=len(ranked),
    )


def _rule(rows: Sequence[Known]) -> RuleName | None:
    """By what rows are ranked: the first of the rules whose figure most of them have."""
    names: tuple[RuleName, ...] = ("ifd", "critiques", "critique")
    return next((name for name in names if sum(_has(row, name) for row in rows) > _MOST * len(rows)), None)


def _has(row: Known, name: RuleName) -> bool:
    if name == "ifd":
        return row.ifd is not None and row.ifd_after is not None
    return row.critique is not None and (name == "critique" or row.critique_after is not None)


def _ranked(rows: Sequence[Known], name: RuleName) -> list[Known]:
    """Rows that have the rule's figure, the best one first."""
    return sorted((row for row in rows if _has(row, name)), key=lambda row: (*_worth(row, name), _drawn(row)))


def _worth(row: Known, name: RuleName) -> tuple[float, float]:
    """What a row is sorted by; the lowest is the best."""
    if name == "ifd":
        assert row.ifd is not None
        assert row.ifd_after is not None
        misfit = row.ifd_after >= _MISFIT
        return float(misfit), row.ifd_after if misfit else row.ifd - row.ifd_after
    assert row.critique is not None
    if name == "critique":
        return -row.critique, 0.0
    assert row.critique_after is not None
    return row.critique - row.critique_after, -row.critique_after


def _measured(row: Known, name: RuleName | None) -> str:
    if name == "ifd" and row.ifd is not None and row.ifd_after is not None:
        return f"IFD {row.ifd:.3f} → {row.ifd_after:.3f} ({row.ifd_after - row.ifd:+.3f})"
    if name == "critiques" and row.critique is not None and row.critique_after is not None:
        change = row.critique_after - row.critique
        return f"mean critique score {row.critique:.2f} → {row.critique_after:.2f} ({change:+.2f})"
    return f"mean critique score of the original {row.critique:.2f}" if row.critique is not None else ""


def _figures(rows: Sequence[Known]) -> dict[str, Callable[[Known], float | None]]:
    """The figures that tell how typical a row is: those that most rows have."""
    known: dict[str, Callable[[Known], float | None]] = {
        "words of the old instruction (logarithm)": lambda row: log(1 + row.asked[0]),
        "words of the new instruction (logarithm)": lambda row: log(1 + row.asked[1]),
        "words of the old response (logarithm)": lambda row: log(1 + row.answered[0]),
        "words of the new response (logarithm)": lambda row: log(1 + row.answered[1]),
        "mean critique score": lambda row: row.critique,
        "mean critique score after": lambda row: row.critique_after,
        "IFD": lambda row: row.ifd,
        "IFD after": lambda row: row.ifd_after,
    }
    return {
        name: figure
        for name, figure in known.items()
        if sum(figure(row) is not None for row in rows) > _MOST * len(rows)
    }


def _distances(rows: Sequence[Known], figures: dict[str, Callable[[Known], float | None]]) -> dict[str, float]:
    """How far each row is from the median one, in spreads. A figure that a row lacks counts nothing."""
    squares = {row.id: (0.0, 0) for row in rows}
    for figure in figures.values():
        values = {row.id: value for row in rows if (value := figure(row)) is not None}
        middle = median(values.values())
        spread = _NORMAL * median(abs(value - middle) for value in values.values()) or _deviation(values.values())
        for name, value in values.items() if spread > _ALIKE else ():
            total, count = squares[name]
            squares[name] = (total + ((value - middle) / spread) ** 2, count + 1)
    return {name: sqrt(total / count) if count else float("inf") for name, (total, count) in squares.items()}


def _deviation(values: Collection[float]) -> float:
    """The spread of figures most of which are alike."""
    mean = sum(values) / len(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def _drawn(row: Known) -> str:
    return digest(row.id)
