"""Ask a model for traces, and keep every reply in the run's folder."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reflectune.cli.asking import calm_collector
from reflectune.cli.job import address_of, settled
from reflectune.cli.money import budget_of, dollars
from reflectune.cli.screen import Meter, Reading
from reflectune.cli.signals import stop_engine_on_signals
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine
from reflectune.oracles.naming import knowledge_of, open_oracle
from reflectune.oracles.pacing import Pace
from reflectune.recipe import Recipe, TraceSettings
from reflectune.records import Failure
from reflectune.runs import RunDir
from reflectune.traces import Question, ask_traces

if TYPE_CHECKING:
    from reflectune.cli.tracing import Outcome

_KNOWLEDGE = "knowledge of "


def ask(
    recipe: Recipe,
    settings: TraceSettings,
    run: Path,
    rows: list[Question | Failure],
    outcome: Outcome,
    meter: Meter,
) -> None:
    """Ask for the trace of every row, until none is left, the money is spent or somebody presses Ctrl-C.

    Args:
        recipe: Which model is asked, and its limits.
        settings: How traces are made.
        run: The folder that remembers every reply.
        rows: The questions.
        outcome: Where it is written down what became of them.
        meter: Where it is shown.

    Raises:
        OracleError: The oracle cannot be used; the replies that it gave before are kept.
        RunError: The run's folder cannot be used.
        SettingsError: There is a budget, and the price is unknown.
    """
    recipe = settled(recipe)
    run.mkdir(parents=True, exist_ok=True)  # a folder that the run makes itself goes again if it holds no rows
    with RunDir(run) as folder:
        oracle = open_oracle(recipe.oracle, address_of(recipe), lambda name: folder.remembered(_KNOWLEDGE + name))
        settings.save(run / "traces.yaml")
        budget = budget_of(folder, recipe, oracle.name)
        spent = budget.spent if budget else 0.0
        ceiling = min(recipe.max_concurrency, oracle.concurrency or recipe.max_concurrency)
        engine = Engine(oracle, folder.store, Pace(ceiling, rpm=recipe.rpm, tpm=recipe.tpm), budget=budget)
        try:
            with suppress(asyncio.CancelledError):  # the second Ctrl-C
                asyncio.run(_ask(engine, settings, rows, outcome, meter))
        finally:
            folder.store.flush()
            if (known := knowledge_of(oracle)) is not None:
                folder.remember(_KNOWLEDGE + oracle.name, known)
        outcome.usage = engine.usage
        outcome.cost = budget.spent - spent if budget else None
        if engine.stopping and len(outcome.made) < outcome.rows:
            outcome.stopped = "budget" if engine.out_of_budget else "interrupt"


async def _ask(
    engine: Engine, settings: TraceSettings, rows: list[Question | Failure], outcome: Outcome, meter: Meter
) -> None:
    stop_engine_on_signals(engine)
    calm_collector()
    reasons: dict[str, int] = {}
    try:
        async with aclosing(ask_traces(rows, engine, settings)) as traces:
            async for made in traces:
                outcome.made[made.id] = made
                if isinstance(made, Failure):
                    reasons[made.reason] = reasons.get(made.reason, 0) + 1
                usage = engine.usage
                money = _money(engine.budget)
                meter.show(Reading(len(outcome.made), usage.completion_tokens, reasons, usage.retried, money))
    finally:
        await engine.oracle.aclose()


def _money(budget: Budget | None) -> str:
    if budget is None:
        return "cost unknown"
    return dollars(budget.spent) if budget.spent else ""
