"""Does reflecting help? The same questions, asked plainly and asked to reflect, side by side.

A figure of a model that reflects says little by itself: the authors of Reflection 70B published figures that nobody
else saw, and in their own re-run the prompt alone lowers four benchmarks of six (post-mortem of 2 October 2024). So
each arm stands beside the plain one, on the questions that both answered, with what it cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from reflectune.evaluate.benchmarks.figures import share_of
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.intervals import Interval, ratio_difference
from reflectune.evaluate.scores import Arm
from reflectune.optional import load_optional

__all__ = ["ArmFigures", "Comparison", "Paired", "compare"]

_ARMS: tuple[Arm, ...] = get_args(Arm)


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """What one arm came to on a benchmark.

    Attributes:
        arm: Which.
        model: Who was asked.
        items: Questions with a reply.
        failed: Questions without one, which are in no figure.
        value: The share that is right, in percent; of marks, where a reply answers several things.
        interval: Of that share, in percent.
        tokens: Tokens of a reply, on average.
        cut_off: The share of replies that the limit on their tokens ended, in percent.
        without_output: The share of replies that lack an `<output>`, in percent; `None` where none was asked for.
        reflections: `<reflection>` blocks of a reply, on average.
        drafts: Replies whose `<thinking>` holds a first answer.
        mended: Of those, how many had it wrong and the `<output>` right.
        spoiled: Of those, how many had it right and the `<output>` wrong.
    """

    arm: Arm
    model: str
    items: int
    failed: int
    value: float
    interval: Interval
    tokens: float
    cut_off: float
    without_output: float | None
    reflections: float
    drafts: int
    mended: int
    spoiled: int


@dataclass(frozen=True, slots=True)
class Paired:
    """An arm against the plain one, on the questions that both answered.

    Attributes:
        arm: Which.
        pairs: How many questions these are.
        difference: Points that it is better.
        interval: Of the difference.
        gained: Questions that it has wholly right and the plain arm has not.
        lost: Questions that the plain arm has wholly right and it has not.
        p_value: Of an exact test that it gains as often as it loses (McNemar's).
    """

    arm: Arm
    pairs: int
    difference: float
    interval: Interval | None
    gained: int
    lost: int
    p_value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A benchmark's arms side by side.

    Attributes:
        benchmark: Which benchmark.
        metric: Which of its metrics.
        arms: What each arm came to: plain, prompt-only, reflective.
        paired: The others against the plain one, where there is one.
    """

    benchmark: str
    metric: str
    arms: tuple[ArmFigures, ...]
    paired: tuple[Paired, ...]


def compare(items: Iterable[Item]) -> list[Comparison]:
    """The arms of each benchmark and metric side by side, in the order in which they come.

    Args:
        items: Scored replies; of each arm and benchmark every question at most once.

    Raises:
        MissingExtraError: numpy or scipy is not installed.
    """
    by_benchmark: dict[str, dict[Arm, list[Item]]] = {}
    for item in items:
        by_benchmark.setdefault(item.benchmark, {}).setdefault(item.arm, []).append(item)
    return [
        _comparison(benchmark, metric, {arm: arms[arm] for arm in _ARMS if arm in arms})
        for benchmark, arms in by_benchmark.items()
        for metric in dict.fromkeys(name for found in arms.values() for item in found for name in item.marks)
    ]


def _comparison(benchmark: str, metric: str, arms: dict[Arm, list[Item]]) -> Comparison:
    figures = [_figures(arm, metric, items) for arm, items in arms.items()]
    plain = arms.get("plain")
    against = [(arm, items) for arm, items in arms.items() if plain is not None and arm != "plain"]
    paired = (_paired(arm, metric, plain or [], items) for arm, items in against)
    return Comparison(
        benchmark,
        metric,
        tuple(one for one in figures if one is not None),
        tuple(one for one in paired if one is not None),
    )


def _figures(arm: Arm, metric: str, items: Sequence[Item]) -> ArmFigures | None:
    replied = [item for item in items if item.marks.get(metric)]
    if not replied:
        return None
    share = share_of([item.marks[metric] for item in replied])
    asked_for_output = [item.without_output for item in replied if item.without_output is not None]
    drafts = [(item.draft, _whole(item, metric)) for item in replied if item.draft is not None]
    return ArmFigures(
        arm=arm,
        model=replied[0].model,
        items=len(replied),
        failed=sum(item.failure is not None for item in items),
        value=share.value,
        interval=share.interval,
        tokens=sum(item.tokens for item in replied) / len(replied),
        cut_off=_percent(sum(item.finish_reason == "length" for item in replied), len(replied)),
        without_output=_percent(sum(asked_for_output), len(asked_for_output)) if asked_for_output else None,
        reflections=sum(item.reflections for item in replied) / len(replied),
        drafts=len(drafts),
        mended=sum(right and not draft for draft, right in drafts),
        spoiled=sum(draft and not right for draft, right in drafts),
    )


def _paired(arm: Arm, metric: str, plain: Sequence[Item], items: Sequence[Item]) -> Paired | None:
    before = {item.id: item for item in plain if item.marks.get(metric)}
    both = [(before[item.id], item) for item in items if item.id in before and item.marks.get(metric)]
    change = ratio_difference(*([_part(pair[side], metric) for pair in both] for side in (0, 1)))
    if change is None:
        return None
    wholes = [(_whole(old, metric), _whole(new, metric)) for old, new in both]
    gained, lost = (sum(pair == found for pair in wholes) for found in ((False, True), (True, False)))
    return Paired(arm, len(both), change.mean, change.interval, gained, lost, _sign_test(gained, lost))


def _part(item: Item, metric: str) -> tuple[float, float]:
    """How much of what it is asked for a reply has right, in percent, and how much that is."""
    marks = item.marks[metric]
    return 100.0 * sum(marks), float(len(marks))


def _whole(item: Item, metric: str) -> bool:
    return all(item.marks[metric])


def _sign_test(gained: int, lost: int) -> float:
    if not gained + lost:
        return 1.0
    stats = load_optional("scipy.stats", "Comparing arms", "eval")
    return float(stats.binomtest(gained, gained + lost).pvalue)


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole
