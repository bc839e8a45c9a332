"""A rate that is learned from refusals alone: the rules. `pacing.py` does the waiting."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

__all__ = ["Learned", "Sent"]

_FIRST_SHARE = 0.97
"""Of what was found: the bucket is empty, and should fill up a little before it is asked for all again."""
_ENOUGH = 3
_ENOUGH_SECONDS = 0.2
_LONG_ENOUGH_SECONDS = 1.0
_SLOWEST = 4 / 60
"""Requests a second: an oracle that grants nothing is asked four times a minute."""

# What was granted over a longer time, from an empty bucket on, the bucket has filled up with: the rate is not lower.
_LONGEST_LOOK = 60.0
_SHORTEST_LOOK = 2.0
_MANY = 20
_FEW_REFUSED = 0.2
_MOST_MARKS = 120

# Growth by the second: at least so much (more, once nothing was refused for a minute or longer), so much of the way to
# the rate that was refused, and at most doubling.
_LEAST_GROWTH = 0.002
_QUIET = 60.0
_APPROACH = 0.1
_DOUBLING = math.log(2)


@dataclass(slots=True)
class Sent:
    """What is known of a request when it is sent.

    Attributes:
        at: When.
        stretch: How often the rate had been learned anew before.
        number: The how-manieth request of its stretch it is, from 1.
        before: How many were sent before it in all.
        per_second: The rate at which requests were then sent; infinite where there was none.
    """

    at: float
    stretch: int
    number: int
    before: int
    per_second: float


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment at which the bucket was empty.

    Attributes:
        at: When.
        sent: How many requests had been sent by then.
        refused: How many had been refused.
    """

    at: float
    sent: int
    refused: int


class Learned:
    """A rate learned from refusals alone.

    Where a request is refused the oracle's bucket is empty, so what was granted between two refusals, over the time
    between them, is what the bucket fills up with. That may be too little: a small bucket overflows while nobody asks.
    So the rate grows, doubling at first, later the more slowly the nearer it is to one that was refused.

    Some refusals have nothing to do with the rate. Each would bring it down a little, and all of them to nothing; so it
    does not fall below what was granted over a longer time in which few requests were refused.

    Attributes:
        per_second: Requests a second; `None` before anything was learned.
    """

    def __init__(self) -> None:
        self.per_second: float | None = None
        self._refused_rate = math.inf
        self._refused_at = 0.0
        self._refusal_takes = 0.0
        self._grown_at = 0.0
        self._stretch = 0
        self._number = 0
        self._refused = 0
        self._emptied_at: float | None = None
        self._last_sent = 0.0
        self._sent_in_all = 0
        self._refused_in_all = 0
        self._marks: deque[_Mark] = deque(maxlen=_MOST_MARKS)

    def sent(self, now: float, per_second: float) -> Sent:
        """Take note of a request."""
        self._number += 1
        self._sent_in_all += 1
        self._last_sent = now
        return Sent(now, self._stretch, self._number, self._sent_in_all - 1, per_second)

    def refused(self, sent: Sent, now: float) -> None:
        """Take note of a refusal; only the first of those that were in flight together counts."""
        self._refused_in_all += 1
        if sent.stretch != self._stretch:
            return
        granted = sent.number - 1 - self._refused
        if self._emptied_at is not None:
            seconds = sent.at - self._emptied_at
            enough = granted >= _ENOUGH and seconds >= _ENOUGH_SECONDS
            if not enough and seconds < _LONG_ENOUGH_SECONDS:
                self._refused += 1
                return
            self._learn(granted, seconds, sent.per_second)
            self.per_second = max(self.per_second or 0.0, _FIRST_SHARE * self._granted_of_late(sent))
        elif sent.per_second < math.inf:
            self._refused_rate = sent.per_second
            self.per_second = _FIRST_SHARE * sent.per_second
        self._refused_at = self._grown_at = now
        self._refusal_takes = now - sent.at
        self._emptied_at = self._last_sent
        self._marks.append(_Mark(self._last_sent, self._sent_in_all, self._refused_in_all))
        self._stretch += 1
        self._number = self._refused = 0

    def _granted_of_late(self, sent: Sent) -> float:
        """The most that was granted a second from a moment on at which the bucket was empty; 0 where that is unsure.

        Args:
            sent: The request that was refused now.
        """
        shortest = _SHORTEST_LOOK + 3 * self._refusal_takes
        rates: list[float] = []
        for mark in reversed(self._marks):
            count, seconds = sent.before - mark.sent, sent.at - mark.at
            if seconds > _LONGEST_LOOK:
                break
            if count < _MANY:
                continue
            granted = count - (self._refused_in_all - 1 - mark.refused)
            if not rates and granted < (1 - _FEW_REFUSED) * count:
                return 0.0
            rates.append(granted / seconds if seconds >= shortest else 0.0)
        return max(rates, default=0.0)

    def _learn(self, granted: int, seconds: float, refused_rate: float) -> None:
        found = min(max(granted, 0.5) / seconds, refused_rate)
        if granted and refused_rate < math.inf:  # the one is too low where the bucket overflowed, the other too high
            found = math.sqrt(found * refused_rate)
        # Where nothing at all was granted the rate says nothing of what will be once something is again.
        self._refused_rate = refused_rate if granted else math.inf
        self.per_second = max(_SLOWEST, _FIRST_SHARE * found)

    def grow(self, now: float) -> None:
        """Grow by as much as the time since the last growth allows."""
        if self.per_second is None:
            return
        seconds = min(now - self._grown_at, max(1.0, 1 / self.per_second))
        self._grown_at = now
        quiet = max(1.0, (now - self._refused_at) / _QUIET)
        growth = max(_APPROACH * (self._refused_rate / self.per_second - 1), _LEAST_GROWTH * quiet * quiet)
        growth = min(growth, _DOUBLING) * min(1.0, self.per_second)  # of few requests there is little to learn
        # A refusal that takes its time comes too late for what was sent meanwhile.
        self.per_second *= 1 + growth * seconds / max(1.0, self._refusal_takes)
