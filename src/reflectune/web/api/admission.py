"""Whose turn it is: so many are worked on, so many wait, and the rest are told to come back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reflectune.web.api.problems import Problem

__all__ = ["Admission"]


class Admission:
    """A number of slots, and a queue of bounded length before them: first come, first served.

    Args:
        slots: How many may be in at once.
        queue: How many may wait.
        patience: Seconds that one may wait.

    Attributes:
        busy: How many are in.
    """

    def __init__(self, slots: int, queue: int, patience: float) -> None:
        self.busy = 0
        self._slots = slots
        self._queue = queue
        self._patience = patience
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot, and hold it.

        Raises:
            Problem: 429: too many wait; 503: the wait was too long, or nobody is let in any more.
        """
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """Let nobody in any more, and send away who waits. Who is in may stay."""
        self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(False)

    async def _enter(self) -> None:
        if self._closed:
            raise _ending()
        if self.busy < self._slots:
            self.busy += 1
            return
        if len(self._waiting) >= self._queue:
            raise Problem(
                429,
                f"The server works on {self.busy:,} requests, and {len(self._waiting):,} wait.",
                code="queue_full",
                retry_after=1.0,
            )
        called = asyncio.get_running_loop().create_future()
        self._waiting.append(called)
        try:
            async with asyncio.timeout(self._patience):
                admitted = await called
        except TimeoutError:
            self._forget(called)
            message = f"The request waited {self._patience:g} s for its turn."
            raise Problem(503, message, code="queue_timeout", retry_after=self._patience) from None
        except BaseException:
            self._forget(called)
            raise
        if not admitted:
            raise _ending()

    def _forget(self, called: asyncio.Future[bool]) -> None:
        """Take one who gave up out of the queue; a slot that was just given to it goes to the next."""
        if called.done() and not called.cancelled() and called.result():
            self._leave()
        elif called in self._waiting:
            self._waiting.remove(called)

    def _leave(self) -> None:
        """Hand a slot over to the first that waits."""
        while self._waiting:
            called = self._waiting.popleft()
            if not called.done():
                called.set_result(True)
                return
        self.busy -= 1


def _ending() -> Problem:
    return Problem(503, "The server is shutting down.", code="shutting_down", retry_after=5.0)
