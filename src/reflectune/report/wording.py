"""Statistics in words and figures, for tables in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reflectune.evaluate import METRICS, Comparison, Difference, Interval, Metric, Statistics

__all__ = ["NAMES", "WHOLE", "Line", "change", "interval", "languages", "lines", "number", "of_the_whole", "said"]

NAMES: dict[Metric, str] = {
    "instruction_words": "words of the instruction",
    "instruction_tokens": "tokens of the instruction",
    "response_words": "words of the response",
    "response_tokens": "tokens of the response",
    "instruction_ppl": "perplexity, instruction",
    "response_ppl_alone": "perplexity, response alone",
    "response_ppl_conditioned": "perplexity, given instruction",
    "coherence": "coherence",
    "ifd_ppl": "IFD",
    "rifd_ppl": "r-IFD",
}
WHOLE = {
    "distance": "distance of instructions",
    "bigrams": "different pairs of words",
    "exact": "exact duplicates",
    "near": "near duplicates",
}
"""The figures that belong to the data set and to none of its rows."""
_RATIOS = ("coherence", "ifd_ppl", "rifd_ppl")
_LANGUAGES_SHOWN = 4


def number(metric: Metric) -> Callable[[float], str]:
    """What writes a figure of this kind."""
    return "{:,.3f}".format if metric in _RATIOS else "{:,.1f}".format


def interval(ends: Interval | None, write: Callable[[float], str]) -> str:
    """Where a mean lies."""
    return "-" if ends is None else f"{write(ends.low)} to {write(ends.high)}"


def change(difference: Difference | None, write: Callable[[float], str]) -> tuple[str, str]:
    """How far two means are apart, and where that lies."""
    if difference is None:
        return "-", "-"

    def signed(value: float) -> str:
        return write(value) if value < 0 else f"+{write(value)}"

    return signed(difference.mean), interval(difference.interval, signed)


def of_the_whole(found: Statistics) -> list[tuple[str, str]]:
    """The figures that belong to the data set and to none of its rows."""
    distance = "-" if found.distance is None else f"{found.distance:.3f}"
    shares = (found.distinct_bigrams, found.exact_duplicates, found.near_duplicates)
    values = [distance, *("-" if share is None else f"{share:.1%}" for share in shares)]
    return list(zip(WHOLE.values(), values, strict=True))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table of statistics.

    Attributes:
        name: The figure: one of `NAMES` or of `WHOLE`.
        cells: Of a comparison: the means before and after, their difference and its interval, the medians. Of one data
            set: the mean, its interval, the median, how many rows have it. Empty where there is no such thing.
    """

    name: str
    cells: tuple[str, ...]


def lines(found: Comparison | Statistics) -> list[Line]:
    """A table of statistics: the figures that there are."""
    return _compared(found) if isinstance(found, Comparison) else _single(found)


def _compared(found: Comparison) -> list[Line]:
    table = []
    for metric in METRICS:
        sides, write = (found.before.metrics.get(metric), found.after.metrics.get(metric)), number(metric)
        if any(sides):
            means = [write(side.mean) if side else "-" for side in sides]
            medians = [write(side.median) if side else "-" for side in sides]
            table.append(Line(metric, (*means, *change(found.differences.get(metric), write), *medians)))
    both = zip(WHOLE, of_the_whole(found.before), of_the_whole(found.after), strict=True)
    whole = [Line(name, (old, new, "", "", "", "")) for name, (_, old), (_, new) in both if (old, new) != ("-", "-")]
    return table + whole


def _single(found: Statistics) -> list[Line]:
    table = []
    for metric in METRICS:
        summary, write = found.metrics.get(metric), number(metric)
        if summary is not None:
            ends = interval(summary.interval, write)
            table.append(Line(metric, (write(summary.mean), ends, write(summary.median), f"{summary.count:,}")))
    whole = zip(WHOLE, of_the_whole(found), strict=True)
    return table + [Line(name, (value, "", "", "")) for name, (_, value) in whole if value != "-"]


def languages(counts: Mapping[str, int]) -> str:
    """The most frequent languages."""
    most = [f"{language} {count:,}" for language, count in counts.items()]
    others = len(most) - _LANGUAGES_SHOWN
    return (", ".join(most[:_LANGUAGES_SHOWN]) + (f" and {others} others" if others > 0 else "")) or "-"


def said(compared: Comparison) -> str:
    """What the differences are differences of."""
    if compared.pairs:
        return f"Differences are the mean change of the {compared.pairs:,} rows that are in both."
    return "Differences are of the means: rows are not paired."
