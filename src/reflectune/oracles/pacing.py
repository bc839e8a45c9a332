"""How fast an oracle is asked.

Concurrency starts at its ceiling, halves when the oracle is overloaded (at most once per round trip) and grows back one
slot per full round of good replies, as TCP does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reflectune.errors import OracleBusy

MOST_TRIES = 10
MOST_SECONDS = 30 * 60.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0


class Pace:
    """A limit on how many requests are in flight, which adapts to the oracle.

    Args:
        ceiling: The most requests in flight.
    """

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.limit = float(ceiling)
        self.in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._halved_at = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Hold one of the slots; yields the moment at which it was taken."""
        if self.in_flight >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._release()
                raise
        else:
            self.in_flight += 1
        try:
            yield time.monotonic()
        finally:
            self._release()

    def well(self) -> None:
        """Note a good reply: grow back towards the ceiling."""
        self.limit = min(self.ceiling, self.limit + 1 / self.limit)

    def overloaded(self, asked_at: float) -> None:
        """Note that the oracle is overloaded: halve, unless this request was sent before the last halving."""
        if asked_at >= self._halved_at:
            self.limit = max(1.0, self.limit / 2)
            self._halved_at = time.monotonic()

    def _release(self) -> None:
        """Free a slot, or hand it to whoever waits longest."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)


def delay_before(attempt: int, busy: OracleBusy) -> float:
    """Seconds to wait before another try: what the oracle asked for, else exponential with full jitter.

    Args:
        attempt: How many tries there were, from 1.
        busy: Why the last one did not succeed.
    """
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (attempt - 1))
    jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
    return float(max(jittered, busy.retry_after or 0.0))
