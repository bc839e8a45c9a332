"""What the verdicts of one judge come to.

The published figures are the counts of wins, ties and losses and the winning score, (wins - losses) / N + 1, from 0 to
2 (Selective Reflection-Tuning, arXiv 2402.10110, section 4). Beside them stands what they hide: how often the verdict
depends on the order in which the answers were shown, and on their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reflectune.evaluate.intervals import Difference, Summary, summarised, unpaired_difference
from reflectune.evaluate.judge.verdicts import CRITERIA, ORDERS, Order, Verdict
from reflectune.optional import load_optional

_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many.

    Attributes:
        count: How many.
        of: Of how many.
    """

    count: int
    of: int

    @property
    def percent(self) -> float | None:
        """The share in percent; `None` of nothing."""
        return _PERCENT * self.count / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Tally:
    """What verdicts come to, from the view of model A.

    Attributes:
        wins: Verdicts for A.
        ties: Verdicts for neither.
        losses: Verdicts for B.
        winning_score: (wins - losses) / N + 1, from 0 to 2, with its interval.
        win_rate: In percent, a tie being half a win, with its interval.
        matched: The win rate in percent that A would have if it were as often the longer one as B: the mean of the win
            rate over pairs whose A is longer and of that over pairs whose B is. Pairs of equal length are left out.
            `None` where one of the two is always the longer one.
        unequal: The pairs whose answers differ in length.
        flipped: Of the verdicts in both orders, those where the judge prefers A in one and B in the other: ties all.
        first: Of all looks that prefer an answer, those that prefer the one that was shown first; 50% is unbiased. Only
            looks of verdicts in both orders count: where a pair was seen once, the better answer may have stood first.
        longer: Of the verdicts that are no tie, on answers of different lengths, those for the longer answer.
        sign_test: The probability of wins and losses as uneven as these, or more, if both were equally likely: the
            exact two-sided sign test. 1 where every verdict is a tie.
        scores: The mean scores of A and of B over all looks, by criterion and `overall`; none where nobody scored.
        lengths: The mean lengths of A's and of B's answers, in characters.
    """

    wins: int
    ties: int
    losses: int
    winning_score: Summary
    win_rate: Summary
    matched: Difference | None
    unequal: int
    flipped: Share
    first: Share
    longer: Share
    sign_test: float
    scores: dict[str, tuple[float, float]]
    lengths: tuple[float, float]

    @property
    def count(self) -> int:
        """How many verdicts there are."""
        return self.wins + self.ties + self.losses

    def plain(self) -> dict[str, Any]:
        """For `--json`; `None` stands for what cannot be said of these verdicts."""
        return {
            "wins": self.wins,
            "ties": self.ties,
            "losses": self.losses,
            "winning_score": self.winning_score.mean,
            "win_rate": self.win_rate.mean,
            "win_rate_interval": _ends(self.win_rate),
            "length_matched_win_rate": self.matched.mean if self.matched else None,
            "length_matched_interval": _ends(self.matched) if self.matched else None,
            "flipped": self.flipped.percent,
            "first_preferred": self.first.percent,
            "longer_wins": self.longer.percent,
            "sign_test_p": self.sign_test,
            "scores": self.scores,
            "mean_lengths": self.lengths,
        }


def tally(verdicts: Sequence[Verdict]) -> Tally | None:
    """What the verdicts of one judge come to; `None` where there are none.

    Raises:
        MissingExtraError: scipy or numpy is not installed.
    """
    values = [verdict.value for verdict in verdicts]
    score, rate = summarised([value + 1 for value in values]), summarised([_won(verdict) for verdict in verdicts])
    if score is None or rate is None:
        return None
    wins, losses = values.count(1), values.count(-1)
    twice = [verdict for verdict in verdicts if verdict.in_both_orders]
    return Tally(
        wins=wins,
        ties=values.count(0),
        losses=losses,
        winning_score=score,
        win_rate=rate,
        matched=length_matched(verdicts),
        unequal=sum(verdict.length_a != verdict.length_b for verdict in verdicts),
        flipped=Share(sum(verdict.flipped for verdict in twice), len(twice)),
        first=_first_preferred(twice),
        longer=_longer_wins(verdicts),
        sign_test=sign_test(wins, losses),
        scores={name: means for name in ("overall", *CRITERIA) if (means := mean_scores(verdicts, name)) is not None},
        lengths=(
            sum(verdict.length_a for verdict in verdicts) / len(verdicts),
            sum(verdict.length_b for verdict in verdicts) / len(verdicts),
        ),
    )


def length_matched(verdicts: Sequence[Verdict]) -> Difference | None:
    """The win rate of A, were A's answers as often the longer ones as B's; see `Tally.matched`.

    Pairs whose A is longer and pairs whose B is longer weigh the same, however many there are of each. The interval is
    a bootstrap within both.
    """
    longer = [_won(verdict) / 2 for verdict in verdicts if verdict.length_a > verdict.length_b]
    shorter = [_won(verdict) / 2 for verdict in verdicts if verdict.length_a < verdict.length_b]
    return unpaired_difference([-half for half in shorter], longer)  # the sum of the two means, with its interval


def sign_test(wins: int, losses: int) -> float:
    """The exact two-sided sign test: how likely counts as uneven as these are, were both sides equally good.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    if not wins + losses:
        return 1.0
    stats = load_optional("scipy.stats", "The sign test", "eval")
    return float(stats.binomtest(wins, wins + losses, 0.5).pvalue)


def mean_scores(
    verdicts: Sequence[Verdict], criterion: str = "overall", orders: Sequence[Order] = ORDERS
) -> tuple[float, float] | None:
    """The mean scores of A and of B by one criterion, over the looks in these orders; `None` where one has none."""
    looks = [look for verdict in verdicts for look in verdict.looks if look.order in orders]
    of_a, of_b = (
        [getattr(marks, criterion) for marks in side]
        for side in ([look.a for look in looks], [look.b for look in looks])
    )
    if not looks or None in of_a or None in of_b:
        return None
    return sum(of_a) / len(of_a), sum(of_b) / len(of_b)


def _won(verdict: Verdict) -> float:
    """In percent: a tie is half a win."""
    return _PERCENT * (verdict.value + 1) / 2


def _first_preferred(verdicts: Sequence[Verdict]) -> Share:
    preferred = [look.of_first for verdict in verdicts for look in verdict.looks if look.of_first]
    return Share(preferred.count(1), len(preferred))


def _longer_wins(verdicts: Sequence[Verdict]) -> Share:
    decided = [
        (verdict.value > 0) == (verdict.length_a > verdict.length_b)
        for verdict in verdicts
        if verdict.value and verdict.length_a != verdict.length_b
    ]
    return Share(sum(decided), len(decided))


def _ends(figure: Summary | Difference) -> tuple[float, float] | None:
    return (figure.interval.low, figure.interval.high) if figure.interval else None
