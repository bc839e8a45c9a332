"""The keeper: the one process that writes the run's database, sets the pace and counts the money.

It runs as an actor on the driver's node and has the run's lock as long as the pipeline runs. What a worker hands over
is durable before the worker hears so: a worker that dies loses at most the requests that it had in flight.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from reflectune.cluster.line import Call, Outcome
from reflectune.cluster.told import Ended, Fault, Page, Progress, Trouble, Word
from reflectune.cluster.turns import Turns
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.budget import Budget
from reflectune.oracles.pacing import Pace
from reflectune.records import Reply, Request
from reflectune.recycling import STAGE as RECYCLE
from reflectune.runs import Maker, RunDir
from reflectune.runs.queue import Which

__all__ = ["Charge", "Keeper"]

BEAT_SECONDS = 2.0
SILENT_SECONDS = 20.0
"""After which a worker is given up for lost, and its turns go to others."""
_LOOK_SECONDS = 0.5
_CARRIED = frozenset(
    {"keep", "end", "forget", "halt", "result", "results", "land", "beat", "fail", "know", "scores", "replies"}
)
"""What a worker may call."""


@dataclass(frozen=True, slots=True)
class Charge:
    """What the keeper is charged with.

    Attributes:
        run: The run's folder.
        driver: The number of the driver's process, which it does not outlive.
        ceiling: The most requests in flight, over all workers.
        rpm: The most requests a minute.
        tpm: The most tokens a minute.
        budget: What may be spent; `None` where the price is unknown.
        oracle: The oracle's name; empty where only a worker can tell it.
        stage: The stage whose rows are pending; empty where the rows do not come from the run.
        maker: What makes its results.
        beside: Whether results that were good until now stay so.
        sample: Of how many rows, spread over the data, they are taken.
        which: Which of them.
        knowledge: The note under which is kept what was found out about the endpoint.
        secrets: Variables that workers need, such as the key; never written anywhere.
    """

    run: Path
    driver: int
    ceiling: int
    rpm: float | None = None
    tpm: float | None = None
    budget: Budget | None = None
    oracle: str = ""
    stage: str = ""
    maker: Maker | None = None
    beside: bool = False
    sample: int | None = None
    which: Which = "new"
    knowledge: str = ""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


class Keeper:
    """See above. Everything but its making runs in one event loop, that of the actor."""

    def __init__(self, charge: Charge) -> None:
        self._charge = charge
        self._run: RunDir
        self._turns: Turns
        self._landed = 0
        self._started = 0
        self._reasons: Counter[str] = Counter()
        self._heard: dict[str, float] = {}
        self._lost: set[str] = set()
        self._watching: asyncio.Task[None]

    async def begin(self) -> Trouble | None:
        """Open the run; returns why that cannot be done."""
        charge = self._charge
        try:
            self._run = RunDir(charge.run)
            if charge.maker is not None:
                self._run.made_by(charge.stage, charge.maker, beside=charge.beside)
        except Exception as error:  # noqa: BLE001 - the driver raises it
            return Trouble.of(error)
        pace = Pace(charge.ceiling, rpm=charge.rpm, tpm=charge.tpm)
        self._turns = Turns(self._run.store, pace, charge.budget, charge.oracle)
        self._watching = asyncio.create_task(self._watch())
        return None

    async def pending(self) -> int:
        """How many rows are pending."""
        charge = self._charge
        return self._run.queue.count(charge.stage, sample=charge.sample, which=charge.which)

    async def pages(self, rows: int) -> list[Page]:
        """The rows that are pending, as pages of so many."""
        charge = self._charge
        found = self._run.queue.pages(charge.stage, rows, sample=charge.sample, which=charge.which)
        return [Page(first, last) for first, last in found]

    async def page(self, page: Page) -> list[bytes]:
        """What of a page is pending still, each row as a pickle; nothing once the work is stopping."""
        charge = self._charge
        if self._turns.pace.stopped:
            return []
        within = (page.first, page.last)
        examples = list(self._run.queue.examples(charge.stage, sample=charge.sample, which=charge.which, within=within))
        if charge.stage == RECYCLE:
            return [pickle.dumps(example) for example in examples]
        made = self._run.rows(RECYCLE, row=[example.id for example in examples]) if examples else ()
        results = {row.id: row.result for row in made}
        return [pickle.dumps((example, results.get(example.id))) for example in examples]

    async def equipment(self, worker: str) -> tuple[dict[str, str], str | None]:
        """What a new worker needs: variables, and what is known about the endpoint."""
        self._hear(worker)
        self._started += 1
        charge = self._charge
        return charge.secrets, self._run.remembered(charge.knowledge) if charge.knowledge else None

    async def take(self, worker: str, number: int, key: str, request: Request) -> Word:
        """See `Turns.take`."""
        self._hear(worker)
        return await self._turns.take((worker, number), key, request)

    async def carry(self, worker: str, calls: Sequence[Call]) -> list[Outcome]:
        """Do what a worker asks for, everything at once; returns what each call came to."""
        self._hear(worker)
        return await asyncio.gather(*(self._do(worker, call) for call in calls))

    async def stop(self) -> None:
        """Let nothing more be asked; what is in flight is still kept."""
        self._turns.stop()

    async def progress(self) -> Progress:
        """How far the work has come."""
        turns = self._turns
        return Progress(
            usage=turns.usage,
            landed=self._landed,
            reasons=dict(self._reasons),
            spent=turns.budget.spent if turns.budget else None,
            state=turns.pace.state(asyncio.get_running_loop().time()),
            down=turns.pace.down,
            workers=len(self._heard),
            started=self._started,
            stopping=turns.pace.stopped,
            out_of_budget=turns.out_of_budget,
            trouble=turns.trouble,
            oracle=turns.oracle,
        )

    async def end(self) -> Progress:
        """Close the run and give its lock back."""
        self._watching.cancel()
        progress = await self.progress()
        self._run.close()
        return progress

    async def _do(self, worker: str, call: Call) -> Outcome:
        name, arguments = call
        try:
            if name not in _CARRIED:
                raise ValueError(f"{name} is nothing that a worker may ask for")
            return await getattr(self, f"_{name}")(worker, *arguments)
        except Exception as error:  # noqa: BLE001 - the worker's call is ended by it, and the work
            trouble = Trouble.of(error)
            self._turns.fail(trouble)
            return trouble

    async def _keep(self, worker: str, number: int, reply: Reply, allowance: Allowance | None) -> None:
        await self._turns.keep((worker, number), reply, allowance)

    async def _end(
        self, worker: str, number: int, fault: Fault | None, allowance: Allowance | None, well: bool
    ) -> Ended:
        return await self._turns.end((worker, number), fault, allowance, well=well)

    async def _forget(self, _: str, key: str) -> None:
        self._turns.pace.forget(key)

    async def _halt(self, _: str) -> None:
        self._turns.stop()

    async def _result(self, _: str, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        await self._run.store.keep_result(stage, row, fingerprint, body, failed)

    async def _results(self, _: str, rows: Sequence[str]) -> tuple[list[tuple[str, str, str, bytes]], set[str]]:
        """What is kept of some rows already: stage, row, fingerprint, result; and which rows are done."""
        return self._run.queue.results(rows), self._run.queue.done(self._charge.stage, rows)

    async def _scores(self, _: str, fingerprint: str, entries: Sequence[tuple[str, bytes, str | None]]) -> None:
        self._run.store.keep_results(self._charge.stage, fingerprint, entries)

    async def _replies(self, _: str, oracle: str, replies: Sequence[tuple[Request, Reply]]) -> None:
        """Keep replies for which no turn was taken; those that are there already were written by a lost worker."""
        await asyncio.gather(*(self._turns.put(request.key(oracle), request, reply) for request, reply in replies))

    async def _land(self, _: str, ended: Sequence[str | None]) -> None:
        """Count rows that ended, each with the reason where it failed.

        With the first one it is known that the oracle answers: from now on the run is what this maker makes of it.
        """
        if ended and not self._landed and self._charge.stage == RECYCLE:
            self._run.changing()
            self._run.confirm(RECYCLE)
        self._landed += len(ended)
        self._reasons.update(reason for reason in ended if reason is not None)

    async def _beat(self, _: str) -> bool:
        """Whether the work is stopping."""
        return self._turns.pace.stopped

    async def _fail(self, _: str, trouble: Trouble) -> None:
        self._turns.fail(trouble)

    async def _know(self, _: str, oracle: str, knowledge: str | None) -> bool:
        """Take note of the oracle's name and of what was found out; returns whether it has ever answered anybody."""
        self._turns.oracle = self._turns.oracle or oracle
        if knowledge is not None and self._charge.knowledge:
            self._run.remember(self._charge.knowledge, knowledge)
        return self._turns.reached

    def _hear(self, worker: str) -> None:
        if not worker:  # one that takes no turns
            return
        self._heard[worker] = time.monotonic()
        if worker in self._lost:
            self._lost.discard(worker)
            self._turns.found(worker)

    async def _watch(self) -> None:
        """Give up workers that are silent for too long, and end with the driver, even if that was killed."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not _lives(self._charge.driver):
                with suppress(Exception):
                    self._run.store.flush()
                os._exit(1)  # so the run's lock is free
            now = time.monotonic()
            for worker in [name for name, at in self._heard.items() if now - at > SILENT_SECONDS]:
                del self._heard[worker]
                self._lost.add(worker)
                await self._turns.lose(worker)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, and so there
        pass
    return True
