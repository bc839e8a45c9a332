"""The one engine that asks every oracle.

For each request: make its key, look in the store, wait for a slot, ask, read the reply, commit, free the slot. A slot
is free only once its reply is durable, so a process that is killed loses at most the requests that were in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Oracle
from reflectune.oracles.pacing import MOST_SECONDS, MOST_TRIES, Pace, delay_before
from reflectune.records import Reply, Request, Store

_TRIES_OF_THE_UNREACHABLE = 3

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
T = TypeVar("T")


class Unacceptable(Exception):  # noqa: N818 - a verdict on a reply, which the engine catches
    """Raised by the reader of a reply that cannot be used.

    Args:
        reason: A short name that can be counted, such as `copy`.
        detail: One sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Stopped(Exception):  # noqa: N818 - not a fault
    """Raised in place of asking for a reply once the engine was told to stop."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A reply that was read into a value."""

    value: T
    reply: Reply


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that came to nothing.

    Attributes:
        reason: A short name that can be counted.
        detail: One sentence for a person.
        reply: The reply that was rejected; `None` where the oracle gave none.
    """

    reason: str
    detail: str
    reply: Reply | None = None


@dataclass(slots=True)
class Usage:
    """What an engine has done since it was made.

    Attributes:
        requests: Replies that the oracle gave.
        cached: Replies that the store had.
        rejected: Replies that were read and not accepted.
        retried: Tries that the oracle was too busy to answer.
        prompt_tokens: Tokens sent, as the oracle counts them.
        completion_tokens: Tokens received.
        busy: Why the oracle was last too busy, and when on the monotonic clock.
    """

    requests: int = 0
    cached: int = 0
    rejected: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy: tuple[str, float] | None = None


class Engine:
    """Asks an oracle, remembers every reply and never asks for the same thing twice.

    Args:
        oracle: Who is asked.
        store: What remembers.
        pace: How many requests may be in flight; by default what the oracle can use, else 32.
    """

    def __init__(self, oracle: Oracle, store: Store, pace: Pace | None = None) -> None:
        self.oracle = oracle
        self.store = store
        self.pace = pace or Pace(oracle.concurrency or 32)
        self.usage = Usage()
        self._asking: dict[str, asyncio.Event] = {}
        self._reached = False
        self._stop = asyncio.Event()

    async def ask(self, request: Request, read: Callable[[Reply], T]) -> Answer[T] | Rejected:
        """Ask for one reply and read it.

        Args:
            request: What is asked.
            read: Makes a value of the reply, or raises `Unacceptable`. It must be a pure function: it also reads
                replies that the store already has.

        Raises:
            OracleError: The oracle cannot be used at all.
            RunError: The store cannot be written.
            Stopped: The engine was told to stop, and the store does not have the reply.
        """
        key = request.key(self.oracle.name)
        while (same := self._asking.get(key)) is not None:
            await same.wait()
        known = self.store.reply(key)
        if known is not None:
            self.usage.cached += 1
            return _verdict(known, read)
        self._asking[key] = asyncio.Event()
        try:
            return await self._ask_and_keep(key, request, read)
        except (RequestRefused, OracleBusy) as refusal:
            return Rejected(refusal.reason, str(refusal))
        finally:
            self._asking.pop(key).set()

    async def work(self, items: Iterable[Item], do: Callable[[Item], Coroutine[Any, Any, T]]) -> AsyncGenerator[T]:
        """Do something with each item, as many at once as keep the oracle busy, and yield the results as they land.

        After `stop` no further item is begun, and items that would need another reply are left as they are. The same
        happens on an error: what is in flight is paid for, so it is waited for and kept before the error is raised.

        Args:
            items: What to work on; taken one by one, so that there may be more than fit in memory.
            do: What to do with each.
        """
        # An oracle with slots of its own keeps a row's prefix in the slot that the row used last: no other row may step
        # in between. Elsewhere a few more rows than slots keep the slots full while replies are read and committed.
        ahead = self.pace.ceiling + (0 if self.oracle.concurrency else max(2, self.pace.ceiling // 8))
        source = iter(items)
        landed: asyncio.Queue[asyncio.Task[T]] = asyncio.Queue()
        running: set[asyncio.Task[T]] = set()
        error: BaseException | None = None
        try:
            while True:
                for item in itertools.islice(source, 0 if self.stopping else ahead - len(running)):
                    task = asyncio.create_task(do(item))
                    running.add(task)
                    task.add_done_callback(landed.put_nowait)
                if not running:
                    break
                task = await landed.get()
                running.remove(task)
                problem = task.exception()
                if problem is None:
                    yield task.result()
                elif not isinstance(problem, Stopped):
                    error = error or problem
                    self.stop()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        if error is not None:
            raise error

    def stop(self) -> None:
        """Ask for nothing more. Requests in flight are still answered and kept."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    async def _ask_and_keep(self, key: str, request: Request, read: Callable[[Reply], T]) -> Answer[T] | Rejected:
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self.pace.slot() as asked_at:
                    if self.stopping:
                        raise Stopped
                    try:
                        reply = await self.oracle.complete(request)
                    except OracleBusy as busy:
                        self._note_busy(busy, asked_at)
                        raise
                    self._note_reply(reply)
                    try:
                        verdict = _verdict(reply, read)
                    except Exception:  # a fault of ours: what was paid for is kept before it is told
                        await self.store.keep_reply(key, request, self.oracle.name, reply)
                        raise
                    if isinstance(verdict, Rejected):
                        self.usage.rejected += 1
                        reply = reply.model_copy(update={"rejected": verdict.reason})
                    _log.debug(
                        "%d tokens in %.1f s%s", reply.completion_tokens, time.monotonic() - asked_at, _why(reply)
                    )
                    await self.store.keep_reply(key, request, self.oracle.name, reply)
                    return verdict
            except OracleBusy as busy:
                self._give_up_on_the_unreachable(busy, attempt)
                left = MOST_SECONDS - (time.monotonic() - started)
                if attempt >= MOST_TRIES or left <= 0:
                    raise
                wait = min(delay_before(attempt, busy), left)
                _log.debug("try %d: %s; again in %.1f s", attempt, busy, wait)
                self.usage.retried += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), wait)

    def _note_reply(self, reply: Reply) -> None:
        self._reached = True
        self.pace.well()
        self.usage.requests += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens

    def _note_busy(self, busy: OracleBusy, asked_at: float) -> None:
        self.usage.busy = (busy.reason, time.monotonic())
        self._reached = self._reached or busy.reason != "connection"
        self.pace.overloaded(asked_at)

    def _give_up_on_the_unreachable(self, busy: OracleBusy, attempt: int) -> None:
        """An address that never answered is a mistake of the caller's, not a busy hour."""
        if not self._reached and attempt >= _TRIES_OF_THE_UNREACHABLE:
            raise OracleError(busy.what, mend=busy.mend) from busy


def _why(reply: Reply) -> str:
    return f", rejected: {reply.rejected}" if reply.rejected else ""


def _verdict(reply: Reply, read: Callable[[Reply], T]) -> Answer[T] | Rejected:
    try:
        return Answer(read(reply), reply)
    except Unacceptable as fault:
        return Rejected(fault.reason, fault.detail, reply)
