"""Ask for every row of a run that is pending, and show how it goes."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from reflectune import language
from reflectune.cli.money import dollars
from reflectune.cli.screen import Meter, Reading, err
from reflectune.cli.signals import stop_engine_on_signals
from reflectune.oracles.batch import BatchOracle
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine
from reflectune.recipe import RecycleSettings
from reflectune.records import Example, Recycled
from reflectune.recycling import STAGE, Chooser, recycle
from reflectune.runs import Counts, RunDir

_TICK = 1.0
_FEW_REQUESTS = 20
_MANY_ROWS = 500
"""So many rows hold some text that only the language model can tell, and should not wait for it then."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows of a run are asked for.

    Attributes:
        run: Whose rows.
        sample: How many to do, spread over the data; by default all.
        which: Those that are not done, those that failed and are to be done again, or both.
    """

    run: RunDir
    sample: int | None = None
    which: Literal["new", "again", "both"] = "new"

    def pending(self) -> Iterator[Example]:
        """Those that are left."""
        return self.run.pending(STAGE, sample=self.sample, which=self.which)

    def count(self, counts: Counts) -> int:
        """How many are left."""
        if self.sample is None and self.which == "new":
            return counts.pending
        return sum(1 for _ in self.pending())


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked for.

    Attributes:
        rows: Whose rows, and which.
        engine: Asks the oracle.
        settings: How rows are recycled.
        chooser: The student that chooses between versions, where there is one.
        budget: What keeps count of the money; `None` where the price is unknown.
        per_row: How many requests a row takes.
        batches: The engine's oracle, where it is asked through a provider's batches.
        begun: Is called once it is known that the oracle answers: when the first row lands, or a batch is on its way.
    """

    rows: Rows
    engine: Engine
    settings: RecycleSettings
    chooser: Chooser | None
    budget: Budget | None
    per_row: int
    batches: BatchOracle | None
    begun: Callable[[], None]


def ask(asking: Asking, *, quiet: bool) -> None:
    """Ask, until no row is left, the money is spent or somebody presses Ctrl-C: once drains, twice stops."""
    with suppress(asyncio.CancelledError):  # the second Ctrl-C
        asyncio.run(_ask(asking, quiet=quiet))


def calm_collector() -> None:
    """Let Python look for reference cycles less often: a run makes few of them, and the search takes 8% of its time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _ask(asking: Asking, *, quiet: bool) -> None:
    engine = asking.engine
    counts = asking.rows.run.counts(STAGE)
    stop_engine_on_signals(engine)
    calm_collector()
    if counts.pending >= _MANY_ROWS:
        language.prepare()
    try:
        left = asking.rows.count(counts)
        before = counts.rows - counts.pending if asking.rows.which == "new" else 0
        with Meter(before + left, before, quiet=quiet) as meter:
            progress = _Progress(asking, counts, before, left, meter)
            ticking = asyncio.create_task(progress.tick())
            try:
                if asking.batches is not None:
                    await _in_waves(asking, asking.batches, progress)
                else:
                    await _wave(asking, asking.rows.pending(), progress)
            finally:
                ticking.cancel()
    finally:
        await engine.oracle.aclose()


async def _wave(asking: Asking, rows: Iterable[Example], progress: _Progress) -> int:
    """Go over rows once; returns how many of them are done."""
    landed = 0
    async for recycled in recycle(rows, asking.engine, asking.settings, asking.chooser):
        progress.landed(recycled)
        landed += 1
    return landed


async def _in_waves(asking: Asking, batches: BatchOracle, progress: _Progress) -> None:
    """Go over the rows that are pending again and again, each time with what batches have brought in between."""
    engine = asking.engine
    await batches.begin(progress.waits)
    cached = None
    while not engine.stopping:
        landed = await _wave(asking, batches.wave(asking.rows.pending()), progress)
        cached = engine.usage.cached if cached is None else cached
        engine.usage.cached = cached  # what later waves find in the store is what the earlier ones asked for
        if engine.stopping or not await batches.exchange(landed):
            break
    if batches.short and not batches.open and not engine.stopping:
        engine.out_of_budget = True
        engine.stop()
    if left := sum(batch.requests for batch in batches.open):
        err.print(f"{left:,} requests are with the provider and will be answered there; the same command fetches them.")


class _Progress:
    """How far the rows have come, for the meter.

    Args:
        asking: What is asked for.
        counts: How far they had come before.
        before: How many were done before.
        left: How many are to be done.
        meter: Where it is shown.
    """

    def __init__(self, asking: Asking, counts: Counts, before: int, left: int, meter: Meter) -> None:
        self._asking = asking
        self._meter = meter
        self._before = before
        self._left = left
        self._landed = 0
        self._reasons = dict(counts.reasons) if before else {}
        self._spent = asking.budget.spent if asking.budget else 0.0
        self._note = ""
        self._begun = False

    def landed(self, recycled: Recycled) -> None:
        """Take note of a row that ended, well or not."""
        self._begin()
        self._landed += 1
        if reason := recycled.failure and recycled.failure.reason:
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        self._show()

    def waits(self, note: str) -> None:
        """Take note of what is to be said of batches."""
        if self._asking.batches is not None and self._asking.batches.open:
            self._begin()
        self._note = note
        self._show()

    async def tick(self) -> None:
        """Show how it goes also while nothing lands."""
        while True:
            await asyncio.sleep(_TICK)
            self._show()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._asking.rows.run.changing()
            self._asking.begun()

    def _show(self) -> None:
        engine = self._asking.engine
        note = "stopping" if engine.stopping else engine.pace.state(time.monotonic()) or self._note
        reading = Reading(
            finished=self._before + self._landed,
            tokens=engine.usage.completion_tokens,
            reasons=self._reasons,
            retried=engine.usage.retried,
            money=self._money(),
            note=note,
            idle=engine.pace.down,
        )
        self._meter.show(reading)

    def _money(self) -> str:
        """What was spent, and what it will have been at the end if the rest is like what was done."""
        budget = self._asking.budget
        if budget is None:
            return "cost unknown"
        if not budget.spent:
            return ""
        # By requests: rows end some time after they are begun, in batches all in the last wave.
        expected = self._left * self._asking.per_row
        asked = self._asking.engine.usage.requests
        if asked < max(1, min(_FEW_REQUESTS, expected)):
            return dollars(budget.spent)
        each = (budget.spent - self._spent) / asked
        return f"{dollars(budget.spent)} of about {dollars(budget.spent + each * max(expected - asked, 0))}"
