"""How many requests may be in flight: the rules. `pacing.py` does the waiting."""

from __future__ import annotations

import math

__all__ = ["RATE_LIMIT", "Concurrency"]

RATE_LIMIT = "rate-limit"
"""The reason of a refusal that says there were too many requests, and not that the oracle has a fault."""


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

    def grow(self) -> None:
        """Take note of a good reply."""
        if self.reason:
            self.limit += 1.0 if self.reason == RATE_LIMIT else 1 / self.limit
            if self.limit >= self.ceiling:
                self.restore()

    def halve(self, reason: str, asked_at: float, now: float) -> None:
        """Take note that the oracle is overloaded.

        Args:
            reason: What it said.
            asked_at: When the request was sent; nothing happens if that was before the limit was last halved.
            now: The time.
        """
        if asked_at >= self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self.reason = reason
            self._halved_at = now

    def restore(self) -> None:
        """Go back to the ceiling."""
        self.limit, self.reason = float(self.ceiling), ""
