"""The one engine that asks every oracle.

For each request: make its key, look in the store, wait for a slot, ask, read the reply, commit, free the slot. A slot
is free only once its reply is durable, so a process that is killed loses at most the requests that were in flight.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Oracle, Piece
from reflectune.oracles.budget import Budget, BudgetReached
from reflectune.oracles.outcomes import Answer, Rejected, Unacceptable, Usage
from reflectune.oracles.pacing import MOST_SECONDS, MOST_TRIES, Pace, Stopped, Turn, delay_before
from reflectune.records import Reply, Request, Store

__all__ = ["Answer", "Engine", "Rejected", "Stopped", "Unacceptable", "Usage"]

_TRIES_OF_THE_UNREACHABLE = 3
_WITH_HEADERS = {"rate-limit", "server-error"}

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
T = TypeVar("T")


class Engine:
    """Asks an oracle, remembers every reply and never asks for the same thing twice.

    Args:
        oracle: Who is asked.
        store: What remembers.
        pace: How fast it may be asked; by default as many requests in flight as the oracle can use, else 32.
        budget: What may be spent; by default there is no limit.

    Attributes:
        usage: What it has done.
        out_of_budget: Whether it stopped because the next reply might cost more than is left.
        reached: Whether the oracle has ever answered. One that never did is taken for a mistake in its address.
    """

    def __init__(self, oracle: Oracle, store: Store, pace: Pace | None = None, *, budget: Budget | None = None) -> None:
        self.oracle = oracle
        self.store = store
        self.pace = pace or Pace(oracle.concurrency or 32)
        self.budget = budget
        self.usage = Usage()
        self.out_of_budget = False
        self.reached = False
        self._asking: dict[str, asyncio.Event] = {}
        self._refused: dict[str, Rejected] = {}
        self._stopping = False
        self._trunk: Engine | None = None

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
        if key in self._refused:  # a row that is put off for another of its replies asks again, and would pay again
            return self._refused[key]
        self._asking[key] = asyncio.Event()
        try:
            return await self._ask_and_keep(key, request, read)
        except RequestRefused as refusal:
            self._refused[key] = Rejected(refusal.reason, str(refusal))
            return self._refused[key]
        except OracleBusy as busy:
            return Rejected(busy.reason, str(busy))
        finally:
            self._asking.pop(key).set()
            self.pace.forget(key)

    def branch(self) -> Engine:
        """An engine that asks the same at the same pace, and counts by itself; both know when the oracle is busy."""
        branch = Engine(self.oracle, self.store, self.pace, budget=self.budget)
        branch._trunk = self
        return branch

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Ask for one reply and give it piece by piece; last comes the whole reply. Closing ends the writing.

        An oracle that is busy is asked again as long as it has said nothing. Equal requests are each asked, unless the
        store has the reply. One that cannot stream gives all in one piece.

        Raises:
            OracleBusy: The oracle was too busy for too long, or broke off.
            RequestRefused: It will never answer this request.
            OracleError: The oracle cannot be used at all.
            Stopped: The engine was told to stop.
        """
        key = request.key(self.oracle.name)
        known = self.store.reply(key)
        if known is not None and known.rejected is None:
            self.usage.cached += 1
            for piece in _pieces(known):
                yield piece
            return
        begun = False
        tries = _Tries(self.pace)
        try:
            while True:
                turn = self.pace.slot(key, request)
                try:
                    async with self._room_for(request), aclosing(self._stream_once(turn, key, request)) as pieces:
                        async for piece in pieces:
                            begun = True
                            yield piece
                except OracleBusy as busy:
                    if begun:
                        raise
                    self._give_up_on_the_unreachable(busy, tries.asked + 1)
                    await tries.wait(turn, busy)
                else:
                    return
        finally:
            self.pace.forget(key)

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
        """Ask for nothing more, and wake what waits to ask. Requests in flight are still answered and kept."""
        self._stopping = True
        self.pace.stop()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    async def _ask_and_keep(self, key: str, request: Request, read: Callable[[Reply], T]) -> Answer[T] | Rejected:
        """Ask until there is a reply, or the retry budget of this request is spent."""
        tries = _Tries(self.pace)
        while True:
            turn = self.pace.slot(key, request)
            try:
                async with self._room_for(request):
                    return await self._ask_once(turn, key, request, read)
            except OracleBusy as busy:
                self._give_up_on_the_unreachable(busy, tries.asked + 1)
                await tries.wait(turn, busy)

    @asynccontextmanager
    async def _room_for(self, request: Request) -> AsyncIterator[None]:
        """Hold what a reply may cost, where there is a budget."""
        if self.budget is None:
            yield
            return
        try:
            async with self.budget.room_for(request):
                yield
        except BudgetReached:
            if not self.stopping:
                self.out_of_budget = True
                self.stop()
            raise Stopped from None

    async def _ask_once(
        self, turn: Turn, key: str, request: Request, read: Callable[[Reply], T]
    ) -> Answer[T] | Rejected:
        async with self._taking(turn):
            try:
                reply = await self.oracle.complete(request)
            except OracleBusy as busy:
                self._note_busy(busy, turn)
                raise
            except RequestRefused:
                self.reached = True
                self.pace.well(turn)
                raise
            self._note_reply(reply, turn)
            try:
                verdict = _verdict(reply, read)
            except Exception:  # a fault of ours: what was paid for is kept before it is told
                await self.store.keep_reply(key, request, self.oracle.name, reply)
                raise
            if isinstance(verdict, Rejected):
                self.usage.rejected += 1
                reply = reply.model_copy(update={"rejected": verdict.reason})
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%d tokens%s", reply.completion_tokens, _why(reply))
            await self.store.keep_reply(key, request, self.oracle.name, reply)
            if self.budget is not None:
                self.budget.check_counted(reply)
            return verdict

    async def _stream_once(self, turn: Turn, key: str, request: Request) -> AsyncGenerator[Piece | Reply]:
        async with turn:
            try:
                async with aclosing(_streamed(self.oracle, request)) as pieces:
                    async for piece in pieces:
                        if isinstance(piece, Reply):
                            self._note_reply(piece, turn)
                            await self.store.keep_reply(key, request, self.oracle.name, piece)
                        yield piece
            except OracleBusy as busy:
                self._note_busy(busy, turn)
                raise
            except RequestRefused:
                self.reached = True
                self.pace.well(turn)
                raise

    @asynccontextmanager
    async def _taking(self, turn: Turn) -> AsyncIterator[None]:
        """Take a turn. Where it shows that the oracle is of no use, stop before another request takes its place."""
        async with turn:
            try:
                yield
            except (OracleBusy, RequestRefused):
                raise
            except OracleError:
                self.stop()
                raise

    def _note_reply(self, reply: Reply, turn: Turn) -> None:
        self.reached = True
        self.pace.heed(self.oracle.allowance)
        self.pace.well(turn, reply)
        if self.budget is not None:
            self.budget.pay(reply)
        usage = self.usage
        usage.requests += 1
        usage.prompt_tokens += reply.prompt_tokens
        usage.cached_tokens += reply.cached_tokens
        usage.completion_tokens += reply.completion_tokens

    def _note_busy(self, busy: OracleBusy, turn: Turn) -> None:
        self.usage.busy = (busy.reason, time.monotonic())
        if self._trunk is not None:
            self._trunk.usage.busy = self.usage.busy
        self.usage.retried += 1
        self.reached = self.reached or busy.reason != "connection"
        if busy.reason in _WITH_HEADERS:
            self.pace.heed(self.oracle.allowance)
        self.pace.fault(turn, busy)

    def _give_up_on_the_unreachable(self, busy: OracleBusy, asked: int) -> None:
        """An address that never answered is a mistake of the caller's, not a busy hour."""
        if not self.reached and max(asked, self.pace.probes + 1) >= _TRIES_OF_THE_UNREACHABLE:
            raise OracleError(busy.what, mend=busy.mend) from busy


class _Tries:
    """What one request has tried. Time and tries count while the oracle works; what is lost while it is down does not.

    Attributes:
        asked: How often the oracle was too busy.
    """

    def __init__(self, pace: Pace) -> None:
        self.asked = 0
        self._pace = pace
        self._counted = 0
        self._seconds = 0.0

    async def wait(self, turn: Turn, busy: OracleBusy) -> None:
        """Wait until it may be asked again.

        Raises:
            OracleBusy: The retry budget is spent.
        """
        self.asked += 1
        if not turn.counts:
            return
        self._counted += 1
        self._seconds += asyncio.get_running_loop().time() - turn.asked_at
        if self._counted >= MOST_TRIES or self._seconds >= MOST_SECONDS:
            raise busy
        if self._pace.down:
            return
        wait = min(delay_before(self._counted, busy), MOST_SECONDS - self._seconds)
        _log.debug("try %d: %s; again in %.1f s", self._counted, busy, wait)
        self._seconds += wait
        await self._pace.rest(wait)


def _pieces(reply: Reply) -> Iterator[Piece | Reply]:
    """A whole reply as one piece."""
    if reply.text or reply.reasoning:
        yield Piece(reply.text, reply.reasoning or "")
    yield reply


async def _streamed(oracle: Oracle, request: Request) -> AsyncGenerator[Piece | Reply]:
    """A reply piece by piece, where the oracle can."""
    stream: Callable[[Request], AsyncGenerator[Piece | Reply]] | None = getattr(oracle, "stream", None)
    if stream is None:
        for piece in _pieces(await oracle.complete(request)):
            yield piece
        return
    async with aclosing(stream(request)) as pieces:
        async for piece in pieces:
            yield piece


def _why(reply: Reply) -> str:
    return f", rejected: {reply.rejected}" if reply.rejected else ""


def _verdict(reply: Reply, read: Callable[[Reply], T]) -> Answer[T] | Rejected:
    try:
        return Answer(read(reply), reply)
    except Unacceptable as fault:
        return Rejected(fault.reason, fault.detail, reply)
