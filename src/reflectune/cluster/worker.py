"""A worker: an actor of the pipeline, with an ordinary engine and an ordinary oracle."""

from __future__ import annotations

import asyncio
import os
import pickle
import uuid
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from reflectune.cluster.distant import DistantOracle, DistantPace, DistantStore
from reflectune.cluster.keeper import BEAT_SECONDS
from reflectune.cluster.line import Call, Line
from reflectune.cluster.told import Page, Trouble, Word
from reflectune.cluster.work import Method, Work, ends_as
from reflectune.optional import load_optional
from reflectune.oracles.engine import Engine
from reflectune.oracles.naming import knowledge_of
from reflectune.records import Record, Request

__all__ = ["Worker", "equip", "landed"]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a worker works with, once it is open."""

    engine: Engine
    store: DistantStore
    pace: DistantPace
    oracle: DistantOracle
    method: Method
    beating: asyncio.Task[None]


class Worker:
    """Does a stage's work on the rows of one block after the other, several at a time.

    A row's failure is data. Where the work as a whole cannot go on, the keeper is told why, and what was done until
    then comes out.

    Args:
        keeper: The keeper's handle.
        work: What to do.
        share: The most requests in flight of this worker.
    """

    def __init__(self, keeper: Any, work: Work, share: int) -> None:
        self._keeper = keeper
        self._work = work
        self._share = share
        self._name = uuid.uuid4().hex
        self._line = Line(self._carry)
        self._opening = asyncio.Lock()
        self._desk: _Desk | None = None

    async def __call__(self, block: Any) -> Any:
        """What became of the rows of a block: an Arrow table in, another one out."""
        done: list[Record] = []
        try:
            async with self._opening:
                desk = self._desk = self._desk or await self._open()
            await self._do(desk, await self._rows(block), done)
        except Exception as error:  # noqa: BLE001 - told to the keeper, who ends the work
            await self._line.call("fail", Trouble.of(error))
        return landed(done, told=self._work.told)

    async def _rows(self, block: Any) -> list[Any]:
        """The rows of a block: themselves, or the page that says where they are."""
        if "row" in block.column_names:
            return [pickle.loads(row) for row in block["row"].to_pylist()]  # noqa: S301 - packed by our own driver
        pages = [Page(place["first"], place["last"]) for place in block.to_pylist()]
        found = await asyncio.gather(*(self._keeper.page.remote(page) for page in pages))
        return [pickle.loads(row) for rows in found for row in rows]  # noqa: S301 - packed by our own keeper

    async def _do(self, desk: _Desk, rows: Sequence[Any], done: list[Record]) -> None:
        names = [row.id for row in rows]
        before = await desk.store.recall(names)
        ended: list[str | None] = []
        telling: asyncio.Task[Any] | None = None
        try:
            async with aclosing(desk.method(rows, desk.engine)) as records:
                async for record in records:
                    done.append(record)
                    name, failed = ends_as(record)
                    if name not in before:
                        ended.append(failed)
                    if ended and (telling is None or telling.done()):
                        told, ended = ended, []
                        telling = asyncio.create_task(self._line.call("land", told))
        finally:
            desk.store.drop(names)
            if telling is not None:
                await telling
            if ended:
                await self._line.call("land", ended)
            known = knowledge_of(desk.oracle.oracle)
            desk.engine.reached |= await self._line.call("know", desk.oracle.name, known)

    async def _open(self) -> _Desk:
        secrets, known = await self._keeper.equipment.remote(self._name)
        equip(secrets)
        oracle = DistantOracle(self._work.model.open(lambda _: known))
        share = min(self._share, oracle.concurrency or self._share)
        pace = oracle.pace = DistantPace(share, self._take, self._line)
        store = DistantStore(pace, self._line, lambda: oracle.allowance)
        engine = Engine(oracle, store, pace)
        engine.reached = await self._line.call("know", oracle.name, None)
        beating = asyncio.create_task(self._beat(engine))
        return _Desk(engine, store, pace, oracle, self._work.method(), beating)

    async def _beat(self, engine: Engine) -> None:
        """Let the keeper know that this worker lives, and hear whether the work is stopping."""
        while True:
            if await self._line.call("beat") and not engine.stopping:
                engine.stop()
            await asyncio.sleep(BEAT_SECONDS)

    async def _take(self, number: int, key: str, request: Request) -> Word:
        word: Word = await self._keeper.take.remote(self._name, number, key, request)
        return word

    async def _carry(self, calls: Sequence[Call]) -> Sequence[Any]:
        outcomes: Sequence[Any] = await self._keeper.carry.remote(self._name, calls)
        return outcomes


def equip(secrets: Mapping[str, str]) -> None:
    """Set the variables that the driver's models need: its own keys, whatever else this node has."""
    os.environ.update(secrets)


def landed(records: Sequence[Record], *, told: bool) -> Any:
    """What became of rows, as a block."""
    arrow = load_optional("pyarrow", "--engine ray", "ray")
    ends = [ends_as(record) for record in records]
    return arrow.table(
        {
            "id": arrow.array([name for name, _ in ends], arrow.string()),
            "reason": arrow.array([failed for _, failed in ends], arrow.string()),
            "record": arrow.array([pickle.dumps(one) if told else None for one in records], arrow.binary()),
        }
    )
