"""How many requests may be in flight: the rules. `pacing.py` does the waiting."""

from __future__ import annotations

import math

__all__ = ["RATE_LIMIT", "Concurrency"]

RATE_LIMIT = "rate-limit"
"""The reason of a refusal that says there were too many requests, and not that the oracle has a fault."""


_OVERLOAD = 1 / 3
_LATELY = 64
"""An oracle is overloaded when a third of the last tries or so came to nothing. Fewer are the weather: a connection
that is cut now and then, or a server in a hundred that is broken, are not mended by asking less."""


class Concurrency:
    """A limit that halves when the oracle is overloaded, at most once per round trip, and grows back.

    It grows by one for every full round of good replies, as TCP's does. Refusals say little of how many may be in
    flight, so after these it doubles with every round: either all is well, or the next refusal tells the rate.

    Args:
        ceiling: The most requests in flight.

    Attributes:
        limit: How many there may be now; its whole part counts.
        reason: Why there may not be more; empty at the ceiling.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(ceiling)
        self.reason = ""
        self._halved_at = -math.inf
        self._tries = 0
        self._failing = 0.0

    def grow(self) -> None:
        """Take note of a good reply."""
        self._count(0.0)
        if self.reason:
            self.limit += 1.0 if self.reason == RATE_LIMIT else 1 / self.limit
            if self.limit >= self.ceiling:
                self.restore()

    def fault(self, reason: str, asked_at: float, now: float) -> None:
        """Take note of a refusal or a fault.

        Args:
            reason: What it was.
            asked_at: When the request was sent; the limit is not halved if that was before it was last halved.
            now: The time.
        """
        if reason != RATE_LIMIT:
            self._count(1.0)
            if self._failing < _OVERLOAD:
                return
        if asked_at >= self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self.reason = reason
            self._halved_at = now

    def _count(self, failed: float) -> None:
        self._tries = min(self._tries + 1, _LATELY)
        self._failing += (failed - self._failing) / self._tries

    def restore(self) -> None:
        """Go back to the ceiling."""
        self.limit, self.reason = float(self.ceiling), ""
