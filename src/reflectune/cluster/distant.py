"""What a worker's engine is given: a store, a pace and an oracle that are shared with all other workers.

The keeper looks for a reply when a turn is taken, so that a request costs two messages: one that asks for a turn or
gets the reply, one that hands over the reply and gives the turn back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import cast

from reflectune.cluster.line import Line
from reflectune.cluster.told import Ended, Fault, Word
from reflectune.errors import OracleBusy, RunError
from reflectune.oracles import Oracle
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.pacing import Pace, Stopped, Turn
from reflectune.records import Reply, Request, Sampling

__all__ = ["DistantOracle", "DistantPace", "DistantStore"]

Taker = Callable[[int, str, Request], Awaitable[Word]]
"""Asks the keeper for a turn, by its number, its key and its request."""


class DistantTurn(Turn):
    """A turn that the keeper hands out.

    Attributes:
        number: Its number among those of this worker.
        known: The reply, where the keeper has it.
        kept: Whether its reply was handed over, and so the turn given back.
        taken: Whether the keeper has given it.
        fault: Why the oracle was too busy.
        well: Whether it refused for the request's own sake.
        allowance: How fast it said that it may be asked.
    """

    __slots__ = ("_distant", "allowance", "fault", "kept", "known", "number", "taken", "well")

    def __init__(self, pace: DistantPace, number: int, key: str, request: Request | None) -> None:
        super().__init__(pace, key, request)
        self._distant = pace
        self.number = number
        self.known: Reply | None = None
        self.kept = self.taken = self.well = False
        self.fault: Fault | None = None
        self.allowance: Allowance | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        await self._distant.give_back(self)


class DistantPace(Pace):
    """The pace that the keeper sets. Within it a worker has no more in flight than its own share.

    Args:
        ceiling: The most requests in flight of this worker.
        take: Asks the keeper for a turn.
        line: Carries everything else.

    Attributes:
        reached: Whether the oracle has ever answered any worker.
    """

    def __init__(self, ceiling: int, take: Taker, line: Line) -> None:
        super().__init__(ceiling)
        self.reached = False
        self._take = take
        self._line = line
        self._numbers = itertools.count()
        self._down = False
        self._tried = 0
        self._faulty: set[str] = set()
        self._turns: dict[str, DistantTurn] = {}
        self._known: dict[int, Reply] = {}
        self._telling: set[asyncio.Task[object]] = set()

    @property
    def down(self) -> bool:
        """Whether the oracle was down when the keeper last said so."""
        return self._down

    @property
    def probes(self) -> int:
        """How often it was tried in vain since."""
        return self._tried if self._down else 0

    def slot(self, key: str = "", request: Request | None = None) -> DistantTurn:
        """One of the slots, to be held with `async with` as long as the request is in flight."""
        return DistantTurn(self, next(self._numbers), key, request)

    async def enter(self, turn: Turn) -> None:
        """Wait until the keeper gives a turn, or the reply.

        Raises:
            Stopped: Nothing is asked any more.
        """
        turn = cast("DistantTurn", turn)
        if turn.request is None:
            raise TypeError("the keeper wants to know what is asked")
        await super().enter(turn)
        try:
            word = Word(again=True)
            while word.again:
                word = await self._take(turn.number, turn.key, turn.request)
        except BaseException:
            self.leave(turn)
            raise
        if word.stopped:
            self.leave(turn)
            self.stop()
            raise Stopped
        if word.known is not None:
            turn.known = self._known[id(turn.request)] = word.known
            return
        turn.taken, turn.asked_at = True, asyncio.get_running_loop().time()
        self._turns[turn.key] = turn

    def known(self, request: Request) -> Reply | None:
        """The reply that the keeper had to a request which now has its turn."""
        return self._known.get(id(request))

    async def give_back(self, turn: DistantTurn) -> None:
        """Tell the keeper what came of a turn, unless its reply did so.

        Raises:
            OracleError: The oracle was down for longer than patience lasts.
        """
        self._known.pop(id(turn.request), None)
        if not turn.taken:
            return
        self._turns.pop(turn.key, None)
        if turn.kept:
            return
        ended: Ended = await self._line.call("end", turn.number, turn.fault, turn.allowance, turn.well)
        turn.counts, self._down, self._tried = ended.counts, ended.down, ended.probes
        self.reached = self.reached or ended.reached
        if ended.trouble is not None:
            raise ended.trouble.error()

    async def keep(self, key: str, reply: Reply, allowance: Allowance | None) -> None:
        """Hand over a reply; returns once it is durable.

        Raises:
            OracleError: Its cost cannot be told, and there is a limit on it.
            RunError: The keeper cannot write it.
        """
        turn = self._turns.get(key)
        if turn is None:  # it was the keeper's
            return
        turn.kept = True
        await self._line.call("keep", turn.number, reply, allowance)
        self._down, self.reached = False, True

    def heed(self, allowance: Allowance | None) -> None:
        """Leave it to the keeper, who hears of it with the reply."""

    def well(self, turn: Turn, reply: Reply | None = None) -> None:
        """Note that a request got a clear refusal of its own; of a reply the keeper hears in any case."""
        cast("DistantTurn", turn).well = reply is None

    def fault(self, turn: Turn, busy: OracleBusy) -> None:
        """Note that the oracle was too busy to answer; the keeper hears of it when the turn is given back."""
        turn = cast("DistantTurn", turn)
        self._faulty.add(turn.key)
        turn.fault = Fault(busy.what, busy.reason, busy.retry_after, busy.mend)

    def forget(self, key: str) -> None:
        """Note that a request will not be asked again."""
        if key in self._faulty:
            self._faulty.discard(key)
            self._tell("forget", key)

    def stop(self) -> None:
        """Let nobody go any more, here and elsewhere, and wake everybody who waits: at the keeper too."""
        if not self.stopped:
            self._tell("halt")
        super().stop()

    def _tell(self, name: str, *arguments: object) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self._line.call(name, *arguments))
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[object]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # a line that broke is told by whoever waits for something


class DistantStore:
    """What the keeper remembers. It looks for replies itself, when a turn is asked for.

    Args:
        pace: Which knows whose turn it is.
        line: Carries results.
        allowance: How fast the oracle last said that it may be asked.
    """

    def __init__(self, pace: DistantPace, line: Line, allowance: Callable[[], Allowance | None]) -> None:
        self._pace = pace
        self._line = line
        self._allowance = allowance
        self._results: dict[tuple[str, str], tuple[str, bytes]] = {}

    async def recall(self, rows: list[str]) -> set[str]:
        """Fetch what was made of some rows before; returns which are done, as by a worker that was lost."""
        found, done = await self._line.call("results", rows)
        self._results.update({(stage, row): (fingerprint, body) for stage, row, fingerprint, body in found})
        return set(done)

    def drop(self, rows: list[str]) -> None:
        """Forget what was fetched."""
        gone = set(rows)
        for place in [place for place in self._results if place[1] in gone]:
            del self._results[place]

    def reply(self, key: str) -> Reply | None:  # noqa: ARG002 - the keeper looks, when the turn is taken
        """Nothing: see above."""
        return None

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:  # noqa: ARG002
        """Hand over a reply; returns once it is durable."""
        await self._pace.keep(key, reply, self._allowance())

    def result(self, stage: str, row: str, fingerprint: str) -> bytes | None:
        """The JSON of a row's result, if it was made under the same fingerprint."""
        mark, body = self._results.get((stage, row), ("", None))
        return body if mark == fingerprint else None

    async def keep_result(self, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        """Hand over a row's result; returns once it is durable."""
        await self._line.call("result", stage, row, fingerprint, body, failed)


class DistantOracle:
    """An oracle that is not asked for what the keeper has.

    Args:
        oracle: Who is asked otherwise.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.name = oracle.name
        self.concurrency: int | None = oracle.concurrency
        self.sampling: Sampling = oracle.sampling
        self.text_limit: int | None = oracle.text_limit
        self.dialogue: bool = oracle.dialogue
        self.pace: DistantPace | None = None

    @property
    def allowance(self) -> Allowance | None:
        """How fast its last reply said that it may be asked."""
        return self.oracle.allowance

    async def complete(self, request: Request) -> Reply:
        """Answer one request, as the oracle does, or as it did before."""
        if self.pace is None:
            raise RunError("Nobody asked the keeper.")
        known = self.pace.known(request)
        return known if known is not None else await self.oracle.complete(request)

    async def aclose(self) -> None:
        """Free what the oracle holds."""
        await self.oracle.aclose()
