"""What the intervals say, and what they do not: rules, each a pure function.

That no difference is shown never means that there is none: too few prompts show nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from reflectune.verdict.records import Comparison, Conclusion, Figures, Kind, Measured, Rate, Standing

__all__ = ["BASELINES", "FEWEST", "MAIN", "concluded", "main_of", "said_of", "standing", "standing_level"]

FEWEST = 10
"""Prompts without which nothing is said: a bootstrap of fewer is too narrow to be believed."""
MAIN = ("original", "base")
"""What our student is compared with first of all: what the data was before; of traces, the student untaught."""
BASELINES = ("random", "longest", "same-tokens")
"""Simpler ways to have data of this size, which ours must beat to have been worth its price."""
_EVEN = 50.0


def standing(rate: Rate, items: int) -> Standing:
    """What a win rate says: on which side of 50% its interval lies."""
    if items < FEWEST:
        return "too-few"
    if rate.low is not None and rate.low > _EVEN:
        return "better"
    if rate.high is not None and rate.high < _EVEN:
        return "worse"
    return "not-shown"


def standing_level(level: Measured, items: int) -> Standing | None:
    """What the win rate at equal length says; `None` where there is none.

    Where there are two ways to control for length, both must say so: the model's rests on the shape of a curve, and
    where a judge decides by length alone that curve is too steep to be fitted.
    """
    ways = [standing(rate, items) for rate in (level.rate, level.matched) if rate is not None]
    if not ways:
        return None
    return ways[0] if len(set(ways)) == 1 else "not-shown"


def said_of(found: Figures) -> Kind:
    """What a comparison says by itself, raw and at equal length."""
    raw, level = found.standing, found.standing_level
    if raw == "too-few":
        return "too-few"
    if raw == "better":
        return {None: "better-length-unknown", "better": "better"}.get(level, "length")  # type: ignore[return-value]
    if raw == "worse":
        return {None: "worse-length-unknown", "worse": "worse"}.get(level, "length-worse")  # type: ignore[return-value]
    return "no-difference-shown"


def main_of(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison that the conclusion is on: the first judge's, against what comes first in `MAIN`."""
    for other in MAIN:
        for comparison in comparisons:
            if comparison.other == other:
                return comparison
    return comparisons[0] if comparisons else None


def concluded(comparisons: Sequence[Comparison]) -> Conclusion:
    """What all comparisons of one judge come to."""
    main = main_of(comparisons)
    if main is None:
        return Conclusion(kind="nothing")
    others = [one for one in comparisons if one.judge == main.judge and one is not main]
    won = ("better", "better-length-unknown")
    beaten = tuple(one.other for one in others if said_of(one.pooled) in won)
    unbeaten = tuple(one.other for one in others if said_of(one.pooled) not in won)
    kind = said_of(main.pooled)
    if kind in won and unbeaten:
        kind = "better-than-original-only"
    ours, theirs = main.pooled.lengths
    return Conclusion(kind=kind, beaten=beaten, unbeaten=unbeaten, longer=ours > theirs)
