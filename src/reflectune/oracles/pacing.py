"""How fast an oracle is asked: who may go, and when.

The rules are elsewhere: how many may be in flight (`concurrency.py`), how many a minute may be sent (`rates.py`), and
whether the oracle is down (`breaker.py`). Once a rate is known, a refusal lowers the rate and not the number in flight.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from types import TracebackType

from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.breaker import Breaker
from reflectune.oracles.concurrency import RATE_LIMIT, Concurrency
from reflectune.oracles.rates import Rates
from reflectune.oracles.refusals import Sent
from reflectune.records import Reply, Request

__all__ = ["MOST_SECONDS", "MOST_TRIES", "PATIENCE", "Pace", "Stopped", "Turn", "delay_before"]

MOST_TRIES = 10
MOST_SECONDS = 30 * 60.0
PATIENCE = 12 * 3600.0
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_LONGEST_HOLD = 3600.0
"""Seconds. An oracle that asks for more is tried once an hour all the same: its clock, or ours, may be wrong."""
_ANSWERED = {"server-error", "bad-reply"}
_WORTH_SAYING = 1.0
_LATELY = 5.0
_TINY = 1e-6


class Stopped(Exception):  # noqa: N818 - not a fault
    """Raised in place of asking for a reply once it was told to stop."""


class Turn:
    """One of the slots, from when it is waited for until it is given back.

    Attributes:
        key: The request's identity.
        request: What is asked; `None` where nobody counts tokens.
        asked_at: The moment at which the slot was taken, on the event loop's clock.
        in_flight: Whether the slot was taken.
        probe: Whether it is sent to see whether the oracle is up again.
        counts: Whether its failure counts against the request, and not only against the oracle.
    """

    __slots__ = ("_pace", "asked_at", "counts", "in_flight", "key", "needed", "probe", "request", "sent", "waiting")

    def __init__(self, pace: Pace, key: str, request: Request | None) -> None:
        self._pace = pace
        self.key = key
        self.request = request
        self.asked_at = 0.0
        self.in_flight = False
        self.probe = False
        self.counts = True
        self.needed = 0.0
        self.sent: Sent
        self.waiting: asyncio.Future[None]

    async def __aenter__(self) -> Turn:
        await self._pace.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave(self)


class Pace:
    """A limit on how many requests are in flight and on how many are sent a minute, which adapts to the oracle.

    Args:
        ceiling: The most requests in flight.
        rpm: The most requests a minute; `None` leaves it to the oracle.
        tpm: The most tokens a minute, sent and received; `None` leaves it to the oracle.
        patience: Seconds that an oracle may be down before it is given up.
    """

    def __init__(
        self, ceiling: int, *, rpm: float | None = None, tpm: float | None = None, patience: float = PATIENCE
    ) -> None:
        self.ceiling = ceiling
        self.in_flight = 0
        self._patience = patience
        self._concurrency = Concurrency(ceiling)
        self._rates = Rates(rpm, tpm)
        self._breaker = Breaker(ceiling)
        self._waiting: deque[Turn] = deque()
        self._resting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self._hold_until = -math.inf
        self._pressed_at = -math.inf

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._concurrency.limit)

    @property
    def rate(self) -> float | None:
        """Requests a minute at which it sends now; `None` where no rate is known."""
        return self._rates.rpm

    @property
    def down(self) -> bool:
        """Whether the oracle is down: then only single requests are sent, to see whether it is up again."""
        return self._breaker.down_since is not None

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    @property
    def probes(self) -> int:
        """How often an oracle that is down was tried in vain."""
        return self._breaker.probes if self.down else 0

    def slot(self, key: str = "", request: Request | None = None) -> Turn:
        """One of the slots, to be held with `async with` as long as the request is in flight.

        Args:
            key: The request's identity.
            request: What is asked, where tokens are to be counted.
        """
        return Turn(self, key, request)

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until `stop` is called."""
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        waking = loop.create_future()
        timer = loop.call_later(seconds, _wake, waking)
        self._resting.add(waking)
        try:
            await waking
        finally:
            timer.cancel()
            self._resting.discard(waking)

    def stop(self) -> None:
        """Let nobody go any more, and wake everybody who waits."""
        self._stopped = True
        waiting, self._waiting = self._waiting, deque()
        for future in (*(turn.waiting for turn in waiting), *self._resting):
            _wake(future)

    def state(self, now: float) -> str:
        """What a person should know of the pace, as a short phrase; empty where there is nothing to say.

        Args:
            now: The time on the event loop's clock, which is `time.monotonic`.
        """
        breaker = self._breaker
        if breaker.down_since is not None:
            what = "refuses everything" if breaker.reason == RATE_LIMIT else "down"
            wait = max(breaker.next_try, self._hold_until) - now
            then = f"next try in {math.ceil(wait)} s" if wait > 0 else "trying it now"
            return f"endpoint {what} for {_clock(now - breaker.down_since)}, {then}"
        if (wait := self._hold_until - now) > _WORTH_SAYING:
            return f"waiting {math.ceil(wait):,} s as the endpoint asked"
        if self._concurrency.reason:
            return f"slowed down to {self.limit} at once ({self._concurrency.reason})"
        return self._rates.describe() if now - self._pressed_at < _LATELY else ""

    async def enter(self, turn: Turn) -> None:
        """Wait until a slot is free and the pace allows a request.

        Raises:
            Stopped: `stop` was called.
        """
        if self._stopped:
            raise Stopped
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting and self._opens_at() <= now + _TINY:
            self._go(turn, now)
            return
        turn.waiting = loop.create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn.waiting
        except asyncio.CancelledError:
            if turn.in_flight:
                self.leave(turn)
            raise
        if not turn.in_flight:
            raise Stopped

    def leave(self, turn: Turn) -> None:
        """Free a slot."""
        self.in_flight -= 1
        if turn.probe:
            self._breaker.release()
        if self._waiting:
            self._admit()

    def heed(self, allowance: Allowance | None) -> None:
        """Note what the oracle says it allows."""
        if allowance is None:
            return
        now = asyncio.get_running_loop().time()
        self._rates.state(allowance, now)
        self._hold(allowance.wait, now)
        self._let_the_rate_govern()

    def well(self, turn: Turn, reply: Reply | None = None) -> None:
        """Note a good reply, or that a request got a clear refusal of its own: the oracle works."""
        self._breaker.well(turn.key)
        if reply is None:
            return
        self._concurrency.grow()
        self._rates.answered(turn.request, turn.needed, reply)

    def fault(self, turn: Turn, busy: OracleBusy) -> None:
        """Note that the oracle was too busy to answer.

        Raises:
            OracleError: It has been down for longer than patience lasts.
        """
        now = asyncio.get_running_loop().time()
        was_down = self.down
        self._rates.failed(turn.needed)
        self._breaker.fault(turn.key, busy.reason, now, asked=busy.retry_after or 0.0, probe=turn.probe)
        if busy.reason == RATE_LIMIT:
            self._rates.refused(turn.sent, now)
            self._hold(busy.retry_after or 0.0, now)
            self._let_the_rate_govern()
        if not was_down and (busy.reason != RATE_LIMIT or self._rates.rpm is None):
            self._concurrency.fault(busy.reason, turn.asked_at, now)
        # Where so few are left that not all slots are used, it may be that the oracle is up and they are at fault.
        few = self.in_flight + len(self._waiting) + len(self._resting) <= self.ceiling + 1
        turn.counts = not was_down or (turn.probe and few and busy.reason in _ANSWERED)
        since = self._breaker.down_since
        if since is not None and now - since >= self._patience:
            what = f"The endpoint has been down for {_clock(now - since)}. The last that it said: {busy.what}"
            raise OracleError(what, mend="The same command goes on where it stopped.")

    def forget(self, key: str) -> None:
        """Note that a request will not be asked again."""
        self._breaker.forget(key)

    def _let_the_rate_govern(self) -> None:
        if self._concurrency.reason == RATE_LIMIT and self._rates.rpm is not None:
            self._concurrency.restore()

    def _hold(self, seconds: float, now: float) -> None:
        self._hold_until = max(self._hold_until, now + min(seconds, _LONGEST_HOLD))

    def _opens_at(self) -> float:
        """The moment from which the next request may go; infinite where it waits for another to end."""
        if self._breaker.down_since is not None:
            if self._breaker.probing or self.in_flight >= self.ceiling:
                return math.inf
            return max(self._breaker.next_try, self._hold_until)
        if self.in_flight + 1 > self._concurrency.limit:
            return math.inf
        return max(self._hold_until, self._rates.due) if self._rates.limited else self._hold_until

    def _go(self, turn: Turn, now: float) -> None:
        """Hand out a slot."""
        self.in_flight += 1
        turn.asked_at, turn.in_flight = now, True
        turn.sent, turn.needed = self._rates.take(turn.request, now)
        if self._breaker.down_since is not None:
            self._breaker.probing = turn.probe = True

    def _admit(self) -> None:
        """Let those go who may, and come back when the next one may."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting:
            opens = self._opens_at()
            if opens > now + _TINY:
                self._come_back(opens, loop)
                return
            turn = self._waiting.popleft()
            if not turn.waiting.done():
                self._go(turn, now)
                turn.waiting.set_result(None)

    def _come_back(self, opens: float, loop: asyncio.AbstractEventLoop) -> None:
        if opens == math.inf or (self._timer is not None and self._timer.when() == opens):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(opens, self._due)
        self._pressed_at = opens

    def _due(self) -> None:
        self._timer = None
        self._admit()


def delay_before(attempt: int, busy: OracleBusy) -> float:
    """Seconds that a request waits before another try: exponential with jitter, or what the oracle asked for.

    A refusal for the rate is no matter of the one request: what was asked for holds up every request, in `Pace`.

    Args:
        attempt: How many tries there were, from 1.
        busy: Why the last one did not succeed.
    """
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (attempt - 1))
    jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
    return jittered if busy.reason == RATE_LIMIT else max(jittered, busy.retry_after or 0.0)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
