"""Who may ask now: every request of every worker waits here for the one pace and the one budget."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from reflectune.cluster.told import Ended, Fault, Trouble, Word
from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.budget import Budget, BudgetReached
from reflectune.oracles.outcomes import Usage
from reflectune.oracles.pacing import Pace, Stopped, Turn
from reflectune.records import Reply, Request, Store

__all__ = ["Name", "Turns"]

Name = tuple[str, int]
"""A worker and the number that it gave to one of its requests."""


@dataclass(slots=True)
class _Held:
    """A turn that a worker has.

    Attributes:
        key: The request's identity.
        request: What is asked.
        turn: Its slot.
        room: The money that is held for it, where money is counted.
        over: Is set once the turn is over.
    """

    key: str
    request: Request
    turn: Turn
    room: AbstractAsyncContextManager[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """Hands out turns, and notes what comes of them.

    Args:
        store: What remembers replies.
        pace: How fast the oracle may be asked, by all workers together.
        budget: What may be spent; `None` where the price is unknown.
        oracle: The oracle's name, which is kept with its replies.

    Attributes:
        usage: What all workers together have done.
        reached: Whether the oracle has ever answered.
        out_of_budget: Whether it ended because the money is spent.
        trouble: What ended the work.
    """

    def __init__(self, store: Store, pace: Pace, budget: Budget | None, oracle: str) -> None:
        self.usage = Usage()
        self.reached = False
        self.out_of_budget = False
        self.trouble: Trouble | None = None
        self.oracle = oracle
        self.pace = pace
        self.budget = budget
        self._store = store
        self._held: dict[Name, _Held] = {}
        self._asking: dict[str, _Held] = {}
        self._late: dict[Name, _Held] = {}
        self._lost: set[str] = set()
        self._putting: set[str] = set()

    async def take(self, name: Name, key: str, request: Request) -> Word:
        """Wait for a turn, or get the reply that is there already. What another worker asks for now is waited for."""
        while (same := self._asking.get(key)) is not None:
            await same.over.wait()
        known = self._store.reply(key)
        if known is not None:
            self.usage.cached += 1
            return Word(known=known)
        if self.pace.stopped:
            return Word(stopped=True)
        held = self._held[name] = self._asking[key] = _Held(key, request, self.pace.slot(key, request))
        try:
            if self.budget is not None:
                room = self.budget.room_for(request)
                await room.__aenter__()
                held.room = room
            await self.pace.enter(held.turn)
        except BudgetReached:
            await self._release(name)
            if not self.pace.stopped:
                self.out_of_budget = True
                self.stop()
            return Word(stopped=True)
        except Stopped:
            await self._release(name)
            return Word(stopped=True)
        except BaseException:
            await self._release(name)
            raise
        if name[0] in self._lost:  # while it waited; who lives all the same comes again
            await self._release(name)
            return Word(again=True)
        return Word()

    async def keep(self, name: Name, reply: Reply, allowance: Allowance | None) -> None:
        """Note a reply, and free its turn once it is durable. It counts also where the worker was given up for lost.

        Raises:
            OracleError: Its cost cannot be told, and there is a limit on it.
            RunError: It could not be written.
        """
        held = self._held.get(name) or self._late.pop(name, None)
        if held is None:
            return
        self.reached = True
        self.pace.heed(allowance)
        self.pace.well(held.turn, reply)
        if self.budget is not None:
            self.budget.pay(reply)
        self._count(reply)
        try:
            await self._keep_once(held.key, held.request, reply)
            if self.budget is not None:
                self.budget.check_counted(reply)
        finally:
            await self._release(name)

    async def put(self, key: str, request: Request, reply: Reply) -> None:
        """Keep a reply for which no turn was taken, unless it is there; of a model that has no limit but its own.

        Raises:
            RunError: It could not be written.
        """
        if self._store.reply(key) is None and key not in self._putting:
            self._count(reply)
            await self._keep_once(key, request, reply)

    async def end(self, name: Name, fault: Fault | None, allowance: Allowance | None, *, well: bool) -> Ended:
        """Free a turn that brought no reply.

        Args:
            name: Whose turn.
            fault: Why the oracle was too busy.
            allowance: How fast it said that it may be asked.
            well: Whether it refused for the request's own sake: then it works.
        """
        self._late.pop(name, None)
        held, counts, trouble = self._held.get(name), True, None
        if held is not None:
            if fault is not None:
                counts, trouble = self._note(fault, held.turn, allowance)
            elif well:
                self.reached = True
                self.pace.well(held.turn)
            await self._release(name)
        return Ended(counts, self.pace.down, self.pace.probes, self.reached, trouble)

    async def lose(self, worker: str) -> int:
        """Free every turn of a worker that is no more, as it seems; returns how many there were."""
        self._lost.add(worker)
        names = [name for name, held in self._held.items() if name[0] == worker and held.turn.in_flight]
        for name in names:
            self._late[name] = self._held[name]
            self.pace.forget(self._held[name].key)
            await self._release(name)
        return len(names)

    def found(self, worker: str) -> None:
        """Note that a worker is there after all."""
        self._lost.discard(worker)

    def stop(self) -> None:
        """Let nobody ask any more."""
        self.pace.stop()

    def fail(self, trouble: Trouble) -> None:
        """Note what ends the work; the first one counts."""
        self.trouble = self.trouble or trouble
        self.stop()

    async def _keep_once(self, key: str, request: Request, reply: Reply) -> None:
        """Keep a reply, but the first alone where a worker that was taken for lost asked for the same as another."""
        if self._store.reply(key) is None and key not in self._putting:
            self._putting.add(key)
            try:
                await self._store.keep_reply(key, request, self.oracle, reply)
            finally:
                self._putting.discard(key)

    async def _release(self, name: Name) -> None:
        held = self._held.pop(name, None)
        if held is None:
            return
        if self._asking.get(held.key) is held:
            del self._asking[held.key]
        if held.turn.in_flight:
            self.pace.leave(held.turn)
        if held.room is not None:
            await held.room.__aexit__(None, None, None)
        held.over.set()

    def _note(self, fault: Fault, turn: Turn, allowance: Allowance | None) -> tuple[bool, Trouble | None]:
        """Note that the oracle was too busy; returns whether that counts, and what ends the work."""
        self.usage.retried += 1
        self.reached = self.reached or fault.reason != "connection"
        self.pace.heed(allowance)
        busy = OracleBusy(fault.what, reason=fault.reason, retry_after=fault.retry_after, mend=fault.mend)
        try:
            self.pace.fault(turn, busy)
        except OracleError as error:
            self.fail(Trouble.of(error))
        return turn.counts, self.trouble

    def _count(self, reply: Reply) -> None:
        usage = self.usage
        usage.requests += 1
        usage.rejected += reply.rejected is not None
        usage.prompt_tokens += reply.prompt_tokens
        usage.cached_tokens += reply.cached_tokens
        usage.completion_tokens += reply.completion_tokens
