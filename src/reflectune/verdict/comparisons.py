"""From verdicts to figures: each comparison by test set and on all of them, over all seeds.

The same prompt under several seeds is not so many prompts: intervals and tests count it once. A resample draws prompts,
each with all that was said on it.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reflectune.evaluate.alpaca_eval.length_control import Preference, at_equal_length
from reflectune.evaluate.intervals import Difference, ratio_difference
from reflectune.evaluate.judge.evaluation import Judged
from reflectune.evaluate.judge.figures import sign_test, tally
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.optional import load_optional
from reflectune.verdict.conclusion import BASELINES, standing, standing_level
from reflectune.verdict.folder import Judging
from reflectune.verdict.records import ALL, Comparison, Figures, Measured, Rate

__all__ = ["FEWEST_FOR_MODEL", "FEWEST_ON_A_SIDE", "compared", "figures_of"]

FEWEST_FOR_MODEL = 40
"""Prompts that the model of length takes: of fewer, its penalty decides more than they do."""
FEWEST_ON_A_SIDE = 5
"""Prompts on which ours is the longer answer, and the shorter one, without which their means say nothing."""
_APPROXIMATE = "without the difficulty of the instructions, on wins, ties and losses"
_ORDER = ("original", *BASELINES, "base")
_HARDLY = 5.0
_PERCENT = 100.0
_HALF = 50.0
_TWO_SIDED = 1.959964
_POWER = 0.841621
"""The quantile of 80%."""


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict, and the seed of the students that it is on.

    Attributes:
        item: The prompt, with its test set.
        seed: The seed.
        verdict: The verdict.
    """

    item: tuple[str, str]
    seed: int
    verdict: Verdict

    @property
    def won(self) -> float:
        """In percent: a tie is half a win."""
        return _HALF * (self.verdict.value + 1)


def compared(judgings: Iterable[Judging]) -> list[Comparison]:
    """Every comparison by every judge: first those against the original data, then the baselines.

    Raises:
        MissingExtraError: A library that computes the figures is not installed.
    """
    grouped: dict[tuple[str, str, str], list[tuple[Judging, Judged | None]]] = defaultdict(list)
    for judging in judgings:
        for judged in judging.judged or (None,):
            grouped[judging.ours, judging.other, judged.judge if judged else ""].append((judging, judged))
    found = []
    for (ours, other, judge), parts in grouped.items():
        if any(judged for _, judged in parts):
            found.append(_comparison(ours, other, judge, parts))
    return sorted(found, key=lambda one: _ORDER.index(one.other) if one.other in _ORDER else len(_ORDER))


def _comparison(ours: str, other: str, judge: str, parts: Sequence[tuple[Judging, Judged | None]]) -> Comparison:
    said: dict[str, list[Said]] = defaultdict(list)
    failed: dict[str, int] = defaultdict(int)
    for judging, judged in parts:
        name = judging.dataset
        failed[name] += judging.failed
        said[name] += [
            Said((name, verdict.id), judging.seed, verdict) for verdict in (judged.verdicts if judged else ())
        ]
    everything = [one for some in said.values() for one in some]
    sets = tuple(figures_of(name, some, failed[name]) for name, some in said.items() if some)
    pooled = figures_of(ALL, everything, sum(failed.values())) if len(sets) > 1 else _renamed(sets[0], failed)
    seeds = tuple(sorted({one.seed for one in everything}))
    return Comparison(
        ours=ours,
        other=other,
        judge=judge,
        seeds=seeds,
        sets=sets,
        pooled=pooled,
        by_seed={seed: _mean([one.won for one in everything if one.seed == seed]) for seed in seeds},
    )


def _renamed(only: Figures, failed: dict[str, int]) -> Figures:
    return only.model_copy(update={"dataset": ALL, "failed": sum(failed.values())})


def figures_of(dataset: str, said: Sequence[Said], failed: int = 0) -> Figures:
    """What verdicts come to, those on the same prompt counted together.

    Args:
        dataset: What the test set is called.
        said: At least one verdict.
        failed: How many pairs have none.

    Raises:
        MissingExtraError: A library that computes the figures is not installed.
    """
    found = tally([one.verdict for one in said])
    assert found is not None
    by_item: dict[tuple[str, str], list[Said]] = defaultdict(list)
    for one in said:
        by_item[one.item].append(one)
    items = list(by_item.values())
    rate = _win_rate(items)
    level = _level(items)
    sides = [sum(one.verdict.value for one in some) for some in items]
    return Figures(
        dataset=dataset,
        items=len(items),
        verdicts=found.count,
        failed=failed,
        wins=found.wins,
        ties=found.ties,
        losses=found.losses,
        winning_score=found.winning_score.mean,
        win_rate=rate,
        level=level,
        flipped=found.flipped.percent,
        first_preferred=found.first.percent,
        longer_wins=found.longer.percent,
        sign_test=sign_test(sum(side > 0 for side in sides), sum(side < 0 for side in sides)),
        lengths=found.lengths,
        standing=standing(rate, len(items)),
        standing_level=standing_level(level, len(items)),
        could_show=_could_show(rate),
    )


def _win_rate(items: Sequence[Sequence[Said]]) -> Rate:
    parts = [(sum(one.won for one in some), float(len(some))) for some in items]
    found = ratio_difference([(0.0, 1.0)] * len(parts), parts)
    assert found is not None
    if found.interval is None and found.mean in {0.0, _PERCENT}:
        return _one_sided(found.mean, len(items))
    return _rate(found)


def _one_sided(value: float, items: int) -> Rate:
    """The exact binomial interval (Clopper-Pearson) of so many prompts that are all won, or all lost.

    No resample of them differs, so that a bootstrap says nothing.
    """
    end = _PERCENT * 0.025 ** (1 / items)
    return Rate(value=value, low=end, high=value) if value else Rate(value=value, low=value, high=_PERCENT - end)


def _level(items: Sequence[Sequence[Said]]) -> Measured:
    """The win rate at equal length: by the model where there are enough prompts, else by weighing."""
    matched = _matched(items)
    everything = [(place, one) for place, some in enumerate(items) for one in some]
    longer = [one.verdict.length_b - one.verdict.length_a for _, one in everything]
    share = _PERCENT * sum(by < 0 for by in longer) / len(longer)
    shorter = _PERCENT * sum(by > 0 for by in longer) / len(longer)
    rare = max(share, shorter) if min(share, shorter) < _HARDLY else None
    weighed = Measured(by="matched" if matched else None, rate=matched, matched=matched)
    if len(items) < FEWEST_FOR_MODEL or len(set(longer)) == 1:
        return weighed
    preferences = [
        Preference(place, one.won / _PERCENT, by) for (place, one), by in zip(everything, longer, strict=True)
    ]
    model = at_equal_length(preferences, why=_APPROXIMATE)
    if not model.model_effect:  # the penalty left nothing of it: 50% by force, and not by what was said
        return weighed
    rate = Rate(value=model.value, low=model.interval.low, high=model.interval.high)
    return Measured(by="alpaca-eval", rate=rate, extrapolated=rare, matched=matched)


def _matched(items: Sequence[Sequence[Said]]) -> Rate | None:
    """The mean of the win rate where ours is the longer answer and of that where it is the shorter one."""
    sides = [([one.won for one in some if _by(one) > 0], [one.won for one in some if _by(one) < 0]) for some in items]
    enough = min(sum(bool(side[place]) for side in sides) for place in (0, 1))
    if enough < FEWEST_ON_A_SIDE:
        return None
    longer = [(sum(one) / 2, float(len(one))) for one, _ in sides]
    shorter = [(-sum(other) / 2, float(len(other))) for _, other in sides]
    with warnings.catch_warnings(), load_optional("numpy", "The verdict", "eval").errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a resample may hold no pair of a side: then there is no interval
        found = ratio_difference(shorter, longer)
    assert found is not None
    return _rate(found)


def _by(one: Said) -> int:
    return one.verdict.length_a - one.verdict.length_b


def _could_show(rate: Rate) -> float | None:
    """The win rate that so many prompts, as spread as these, show to be above 50% with a probability of 80%."""
    if rate.low is None or rate.high is None:
        return None
    deviation = (rate.high - rate.low) / (2 * _TWO_SIDED)
    return _HALF + (_TWO_SIDED + _POWER) * deviation


def _rate(found: Difference) -> Rate:
    ends = found.interval
    return Rate(value=found.mean, low=ends.low if ends else None, high=ends.high if ends else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
