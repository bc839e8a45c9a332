"""Traces that a model is asked for: it answers, and what it got wrong is the mistake."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from random import Random
from typing import Protocol

from reflectune.errors import SettingsError
from reflectune.oracles.engine import Engine
from reflectune.prompts import Prompts
from reflectune.recipe import TraceSettings
from reflectune.records import Failure
from reflectune.traces import drafting
from reflectune.traces.asker import Asker
from reflectune.traces.drafting import Drafting
from reflectune.traces.planting import dice, system_prompt
from reflectune.traces.questions import Question, distinct
from reflectune.traces.sampling import Sampled
from reflectune.traces.trace import Draft, Trace, finished


class Way(Protocol):
    """A way to have a model make mistakes and correct them."""

    async def draft(self, question: Question, rng: Random, *, clean: bool) -> Draft | Failure:
        """A draft of a question, or why there is none."""
        ...


async def ask_traces(
    questions: Iterable[Question | Failure], engine: Engine, settings: TraceSettings
) -> AsyncGenerator[Trace | Failure]:
    """Ask for a trace of each question, and yield what became of each as it lands.

    Every question comes out once, as a trace or as the reason why there is none. What the engine's store already has is
    not asked again.

    Args:
        questions: Taken one by one; failures are passed on.
        engine: Asks the model whose mistakes they are.
        settings: Where the mistakes come from: `own` or `oracle`.

    Raises:
        OracleError: The oracle cannot be used at all.
        SettingsError: The settings ask no model, or a prompt file does not fit.
        MissingExtraError: An answer in LaTeX is to be checked, and math-verify is not installed.
    """
    way = _way(engine, settings)
    prompts = Prompts(settings.prompts)

    async def make(question: Question | Failure) -> Trace | Failure:
        if isinstance(question, Failure):
            return question
        rng, clean = dice(question, settings)
        made = await way.draft(question, rng, clean=clean)
        return made if isinstance(made, Failure) else finished(made, system_prompt(question, settings, prompts))

    async with aclosing(engine.work(distinct(questions), make)) as results:
        async for made in results:
            yield made


def requests_per_question(settings: TraceSettings, *, dialogue: bool) -> int:
    """How many requests a question takes at the most, when no reply is rejected."""
    if settings.mistakes == "planted":
        return 0
    return drafting.REQUESTS if settings.mistakes == "oracle" else settings.samples * (2 if dialogue else 1)


def _way(engine: Engine, settings: TraceSettings) -> Way:
    if settings.mistakes == "planted":
        raise SettingsError(
            "Planted mistakes take no model.", mend="Call plant_traces, or let mistakes be own or oracle."
        )
    asker = Asker(engine, settings, Prompts(settings.prompts))
    return Sampled(asker) if settings.mistakes == "own" else Drafting(asker)
