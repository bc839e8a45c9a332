"""The win rate of a model against a reference, as AlpacaEval (Li et al. 2023) publishes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reflectune.errors import InputError
from reflectune.evaluate.alpaca_eval.annotations import share_of
from reflectune.evaluate.intervals import Interval, summarised

__all__ = ["WinRate", "win_rate"]

_EVEN = 0.5


@dataclass(frozen=True, slots=True)
class WinRate:
    """What the preferences of a judge come to.

    Attributes:
        win_rate: The mean preference for the model, in percent: a win counts 1, a draw a half, and a weighted
            preference what it is.
        standard_error: Of that mean, in percentage points, from the sample deviation (n - 1); `None` for one item.
        interval: Of that mean, by bootstrap with 95%; `None` for one item.
        n_wins: Preferences for the model.
        n_wins_base: Preferences for the reference.
        n_draws: Draws.
        n_total: Usable preferences.
        n_dropped: Rows without one; they count in nothing.
        discrete_win_rate: Wins and half the draws, in percent of the total, whatever the weights.
    """

    win_rate: float
    standard_error: float | None
    interval: Interval | None
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    n_dropped: int
    discrete_win_rate: float


def win_rate(preferences: Sequence[float | None]) -> WinRate:
    """The win rate of preferences.

    Args:
        preferences: Each from 1 (the reference is better) to 2 (the model is), 1.5 or 0 for a draw; `None` and whatever
            is no preference is dropped and counted.

    Raises:
        InputError: None of them is a preference.
        MissingExtraError: scipy is not installed.
    """
    shares = [share for share in map(share_of, preferences) if share is not None]
    if not shares:
        raise InputError("There is no preference to make a win rate of.", mend="See why the judge gave none.")
    wins, losses = (sum(share > _EVEN for share in shares), sum(share < _EVEN for share in shares))
    total = len(shares)
    found = summarised([100 * share for share in shares])
    assert found is not None
    return WinRate(
        win_rate=100 * math.fsum(shares) / total,
        standard_error=None if found.deviation is None else found.deviation / math.sqrt(total),
        interval=found.interval,
        n_wins=wins,
        n_wins_base=losses,
        n_draws=total - wins - losses,
        n_total=total,
        n_dropped=len(preferences) - total,
        discrete_win_rate=100 * (wins + (total - wins - losses) / 2) / total,
    )
