"""Ask a model within a run's folder, which keeps every reply and what it cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reflectune.cli.asking import calm_collector
from reflectune.cli.job import address_of, settled
from reflectune.cli.money import budget_of, dollars
from reflectune.cli.screen import Meter, Reading, err
from reflectune.cli.signals import stop_engine_on_signals
from reflectune.errors import ReflectuneError
from reflectune.oracles import Oracle
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine, Usage
from reflectune.oracles.naming import Address, knowledge_of, open_oracle
from reflectune.oracles.pacing import Pace
from reflectune.recipe import Recipe
from reflectune.runs import RunDir

Opener = Callable[[str, Address, Callable[[str], str | None]], Oracle]
"""What makes a model of its name, its address and what an earlier process found out about it."""
Stopped = Literal["", "budget", "interrupt"]

KNOWLEDGE = "knowledge of "
"""Before an oracle's name: the note of what was found out about its endpoint."""
STATE, LOCK = "state.sqlite", "run.lock"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What asking came to.

    Attributes:
        oracle: The name of the model that was asked.
        usage: What it was asked for in this process.
        cost: US dollars that this process spent; `None` where the price is unknown.
        stopped: What stopped it, whether or not anything was left: `budget` or `interrupt`; nothing where nothing did.
    """

    oracle: str
    usage: Usage
    cost: float | None
    stopped: Stopped

    def summary(self) -> dict[str, object]:
        """What it asked for and what that cost, for the object that `--json` prints."""
        return {
            "requests": self.usage.requests,
            "cached": self.usage.cached,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost": None if self.cost is None else round(self.cost, 6),
        }


def inquire(
    run: Path, recipe: Recipe, ask: Callable[[Engine], Awaitable[None]], *, open_with: Opener | None = None
) -> Inquiry:
    """Open a model and a run's folder, and ask until nothing is left, the money is spent or somebody presses Ctrl-C.

    Args:
        run: The folder that remembers every reply; it is made where it is missing.
        recipe: Which model is asked, and its limits.
        ask: Asks. It is cancelled by a second Ctrl-C, and what it did before is kept.
        open_with: Makes the model; by default an oracle.

    Raises:
        OracleError: The model cannot be used; the replies that it gave before are kept.
        RunError: The run's folder cannot be used.
        SettingsError: There is a budget, and the price is unknown.
    """
    recipe = settled(recipe)
    new = not (run / STATE).exists()
    run.mkdir(parents=True, exist_ok=True)  # a folder that the run makes itself goes again if it holds no rows
    with asked_in(run, new=new) as folder:
        oracle = (open_with or open_oracle)(recipe.oracle, address_of(recipe), recalled(folder))
        budget = budget_of(folder, recipe, oracle.name)
        spent = budget.spent if budget else 0.0
        ceiling = min(recipe.max_concurrency, oracle.concurrency or recipe.max_concurrency)
        engine = Engine(oracle, folder.store, Pace(ceiling, rpm=recipe.rpm, tpm=recipe.tpm), budget=budget)
        try:
            with suppress(asyncio.CancelledError):  # the second Ctrl-C
                asyncio.run(_within(engine, ask))
        finally:
            folder.store.flush()
            remember_endpoint(folder, oracle)
        cost = budget.spent - spent if budget else None
        stopped: Stopped = "" if not engine.stopping else "budget" if engine.out_of_budget else "interrupt"
        if engine.out_of_budget and budget:
            err.print(
                f"The budget of {dollars(recipe.budget or 0.0)} does not pay for another request, of which"
                f" {dollars(budget.spent)} is spent: a larger --budget goes on."
            )
        return Inquiry(oracle.name, engine.usage, cost, stopped)


def recalled(run: RunDir) -> Callable[[str], str | None]:
    """What gives what an earlier process found out about the endpoint of an oracle, by the oracle's name."""
    return lambda name: run.remembered(KNOWLEDGE + name)


def remember_endpoint(run: RunDir, oracle: Oracle) -> None:
    """Leave for the next process what was found out about an oracle's endpoint."""
    if (known := knowledge_of(oracle)) is not None:
        run.remember(KNOWLEDGE + oracle.name, known)


@contextmanager
def asked_in(run: Path, *, new: bool) -> Iterator[RunDir]:
    """A run's folder. Where it was new and nobody was asked, nothing is left to stand in a second try's way."""
    replies = 0
    try:
        with RunDir(run) as folder:
            try:
                yield folder
            finally:
                replies = sum(part.requests for part in folder.spent())
    except ReflectuneError:
        if new and not replies:
            for name in (STATE, f"{STATE}-wal", f"{STATE}-shm", LOCK):
                (run / name).unlink(missing_ok=True)
            with suppress(OSError):  # something else is in it
                run.rmdir()
        raise


def show(meter: Meter, engine: Engine, finished: int, reasons: dict[str, int]) -> None:
    """Show how far asking has come."""
    usage = engine.usage
    reading = Reading(finished, usage.completion_tokens, reasons, usage.retried, _money(engine.budget))
    meter.show(reading)


async def _within(engine: Engine, ask: Callable[[Engine], Awaitable[None]]) -> None:
    stop_engine_on_signals(engine)
    calm_collector()
    try:
        await ask(engine)
    finally:
        await engine.oracle.aclose()


def _money(budget: Budget | None) -> str:
    if budget is None:
        return "cost unknown"
    return dollars(budget.spent) if budget.spent else ""
