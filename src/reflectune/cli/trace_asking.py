"""Ask a model for traces, and keep every reply in the run's folder."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from reflectune.cli.inquiry import inquire, show
from reflectune.cli.screen import Meter
from reflectune.oracles.engine import Engine
from reflectune.recipe import Recipe, TraceSettings
from reflectune.records import Failure
from reflectune.traces import Question, ask_traces

if TYPE_CHECKING:
    from reflectune.cli.tracing import Outcome


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
    reasons: dict[str, int] = {}

    async def traces_of(engine: Engine) -> None:
        settings.save(run / "traces.yaml")
        async with aclosing(ask_traces(rows, engine, settings)) as traces:
            async for made in traces:
                outcome.made[made.id] = made
                if isinstance(made, Failure):
                    reasons[made.reason] = reasons.get(made.reason, 0) + 1
                show(meter, engine, len(outcome.made), reasons)

    inquiry = inquire(run, recipe, traces_of)
    outcome.usage = inquiry.usage
    outcome.cost = inquiry.cost
    if len(outcome.made) < outcome.rows:
        outcome.stopped = inquiry.stopped
