"""What scored replies come to: shares in percent, with their intervals, over the replies that there are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reflectune.answers.reading import answer_in
from reflectune.evaluate.benchmarks.catalogue import Benchmark
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.benchmarks.scoring import FORMS
from reflectune.evaluate.intervals import Interval
from reflectune.evaluate.scores import Score

__all__ = ["REPLIES", "Share", "scores_of", "share_of"]

REPLIES = "items.jsonl"
_Z = 1.959964
"""Standard errors on either side that hold 95% of a normal distribution."""
_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Share:
    """A share of marks, in percent.

    Attributes:
        value: The share.
        interval: Where it lies, by Wilson's score interval (1927), which suits few items too.
        error: Its standard error; `None` for a single item.
    """

    value: float
    interval: Interval
    error: float | None


def share_of(marks: Sequence[Sequence[bool]]) -> Share:
    """The share of the marks of some items that are true.

    Marks of one item hang together, so that the error is that of a ratio over items; the interval is that of as many
    single marks as would have this error.

    Args:
        marks: Those of each item, one or several; there must be an item.
    """
    items, total = len(marks), sum(map(len, marks))
    share = sum(map(sum, marks)) / total
    error = None
    if items > 1:
        squares = math.fsum((sum(several) - share * len(several)) ** 2 for several in marks)
        error = math.sqrt(squares * items / (items - 1)) / total
    alone = share * (1 - share)
    effective = min(alone / error**2, float(total)) if error and total > items else float(total)
    middle, around = share + _Z**2 / (2 * effective), _Z * math.sqrt(alone / effective + (_Z / (2 * effective)) ** 2)
    scale = _PERCENT / (1 + _Z**2 / effective)
    interval = Interval(max(0.0, scale * (middle - around)), min(_PERCENT, scale * (middle + around)))
    return Share(_PERCENT * share, interval, None if error is None else _PERCENT * error)


def scores_of(
    items: Sequence[Item], benchmark: Benchmark, notes: Iterable[str] = (), *, shots: int = 0
) -> tuple[Score, ...]:
    """The figures of one model, asked in one way, on one benchmark.

    Args:
        items: Its replies, failed ones among them; there must be one.
        benchmark: Which.
        notes: What must be known to read the figures.
        shots: How many worked examples each prompt held.

    Returns:
        One for each metric; none where every reply failed.
    """
    there = [item for item in items if item.failure is None]
    if not there:
        return ()
    first, notes = there[0], [*notes, *_cut_off(there), *_unread(there, benchmark)]
    partial = bool(notes) or len(there) < len(items) or first.arm != "plain"
    scores = []
    for metric in benchmark.metrics:
        share = share_of([item.marks[metric] for item in there])
        scores.append(
            Score(
                model=first.model,
                benchmark=benchmark.name,
                form="generative",
                metric=metric,
                value=share.value,
                low=share.interval.low,
                high=share.interval.high,
                standard_error=share.error,
                items=len(there),
                failed=len(items) - len(there),
                shots=shots,
                arm=first.arm,
                official=not partial if benchmark.kind == "ifeval" else None,
                note="; ".join(notes),
                mean_length=_mean([len(item.text) for item in there]),
                tokens=sum(item.tokens for item in there),
                without_output=_share_without(there),
                reflections=None if first.arm == "plain" else _mean([item.reflections for item in there]),
                replies=REPLIES,
            )
        )
    return tuple(scores)


def _cut_off(items: Sequence[Item]) -> list[str]:
    count = sum(item.finish_reason == "length" for item in items)
    return [f"{count:,} replies were cut off, and are scored as far as they go"] if count else []


def _unread(items: Sequence[Item], benchmark: Benchmark) -> list[str]:
    form = FORMS.get(benchmark.kind)
    count = 0 if form is None else sum(answer_in(form, item.scored) is None for item in items)
    return [f"{count:,} replies state no answer that can be read, and count as wrong"] if count else []


def _share_without(items: Sequence[Item]) -> float | None:
    asked = [item.without_output for item in items if item.without_output is not None]
    return _PERCENT * sum(asked) / len(asked) if asked else None


def _mean(figures: Sequence[int]) -> float:
    return sum(figures) / len(figures)
