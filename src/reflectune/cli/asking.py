"""Ask for every row of a run that is pending, and show how it goes."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from reflectune.cli.money import dollars
from reflectune.cli.screen import Meter, Reading, err
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine
from reflectune.recipe import RecycleSettings
from reflectune.recycling import STAGE, recycle
from reflectune.runs import RunDir


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked for.

    Attributes:
        run: Whose rows.
        engine: Asks the oracle.
        settings: How rows are recycled.
        budget: What keeps count of the money; `None` where the price is unknown.
        sample: How many rows to do, spread over the data; by default all that are pending.
        begun: Is called when the first row lands: only then it is known that the oracle answers.
    """

    run: RunDir
    engine: Engine
    settings: RecycleSettings
    budget: Budget | None
    sample: int | None
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
    run, engine = asking.run, asking.engine
    counts = run.counts(STAGE)
    rows, reasons = counts.rows, dict(counts.reasons)
    began_with = finished = rows - counts.pending
    pending = run.pending(STAGE)
    if asking.sample is not None:
        few = list(run.pending(STAGE, sample=asking.sample))
        pending, rows = iter(few), finished + len(few)
    spent = asking.budget.spent if asking.budget else 0.0
    _stop_on_signals(engine)
    calm_collector()
    try:
        with Meter(rows, finished, quiet=quiet) as meter:
            async for recycled in recycle(pending, engine, asking.settings):
                if finished == began_with:
                    run.changing()
                    asking.begun()
                finished += 1
                if recycled.failure:
                    reasons[recycled.failure.reason] = reasons.get(recycled.failure.reason, 0) + 1
                each = (asking.budget.spent - spent) / (finished - began_with) if asking.budget else 0.0
                reading = Reading(
                    finished=finished,
                    tokens=engine.usage.completion_tokens,
                    reasons=reasons,
                    retried=engine.usage.retried,
                    money=_money(asking.budget, each * (rows - finished)),
                    note="stopping" if engine.stopping else engine.pace.state(time.monotonic()),
                )
                meter.show(reading)
    finally:
        await engine.oracle.aclose()


def _money(budget: Budget | None, left: float) -> str:
    """What was spent, and what it will have been at the end if the rest is like what was done."""
    if budget is None:
        return "cost unknown"
    if not budget.spent and not left:
        return ""
    return f"{dollars(budget.spent)} of about {dollars(budget.spent + left)}"


def _stop_on_signals(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupt() -> None:
        if engine.stopping and task is not None:
            task.cancel()
            return
        err.print("Stopping: waiting for the replies in flight. Press Ctrl-C again to stop at once.")
        engine.stop()

    with suppress(NotImplementedError, RuntimeError):  # not on this platform, or not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
