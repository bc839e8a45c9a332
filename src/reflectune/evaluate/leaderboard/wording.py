"""What tables call the figures, in which unit they stand, and how sure they are."""

from __future__ import annotations

from reflectune.evaluate.scores import Score
from reflectune.prompts import placed

__all__ = ["NAMES", "SAID", "Said", "is_percent", "metric_name", "said_of", "shown", "told"]

NAMES = {
    "accuracy": "accuracy",
    "acc": "accuracy",
    "acc-norm": "accuracy, length-normalised",
    "mc2": "probability of true answers",
    "prompt-strict": "prompts followed, strict",
    "instruction-strict": "instructions followed, strict",
    "prompt-loose": "prompts followed, loose",
    "instruction-loose": "instructions followed, loose",
    "pass@1": "passed at one try",
    "win-rate": "win rate",
    "lc-win-rate": "win rate at equal length",
    "length-matched-win-rate": "win rate, lengths matched",
    "winning-score": "winning score, 0 to 2",
}
"""The metrics of `Score` in plain words."""
SAID = {
    "between": "{{low}} to {{high}}",
    "of_one": "no interval: n 1",
    "alike": "no interval: all alike",
    "few": "no interval: too few, or all alike",
    "no_interval": "no interval",
    "items": "n {{count}}",
    "failed": "{{count}} failed",
    "approximate": "approximate",
    "not_official": "not official",
}
"""What is said beside a figure."""
_NOT_PERCENT = frozenset({"winning-score"})
_BY_BOOTSTRAP = frozenset({"winning-score", "win-rate", "mc2"})
"""Figures of several items that lack an interval only where these are all alike."""

Said = tuple[str, dict[str, str]]
"""A name in `SAID`, and the values of its placeholders."""


def metric_name(metric: str) -> str:
    """A metric in plain words; one that is not known stands as it is."""
    return NAMES.get(metric, metric)


def is_percent(metric: str) -> bool:
    """Whether a figure is in percent."""
    return metric not in _NOT_PERCENT


def shown(metric: str, value: float) -> str:
    """A figure as it is written, with its unit."""
    return f"{value:.1f}%" if is_percent(metric) else f"{value:.4f}"


def said_of(score: Score) -> list[Said]:
    """How sure a figure is, or why that cannot be said, and what it is made of."""
    parts: list[Said] = [_interval(score)]
    if parts[0][0] != "of_one":
        parts.append(("items", {"count": f"{score.items:,}"}))
    if score.failed:
        parts.append(("failed", {"count": f"{score.failed:,}"}))
    if score.official is False:
        parts.append(("approximate" if score.metric == "lc-win-rate" else "not_official", {}))
    return parts


def told(said: Said) -> str:
    """The same in words."""
    name, values = said
    return placed(SAID[name], values)


def _interval(score: Score) -> Said:
    if score.low is not None and score.high is not None:
        return "between", {"low": shown(score.metric, score.low), "high": shown(score.metric, score.high)}
    if score.items == 1:
        return "of_one", {}
    if score.metric == "length-matched-win-rate":
        return "few", {}
    return ("alike" if score.metric in _BY_BOOTSTRAP else "no_interval"), {}
