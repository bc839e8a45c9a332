"""Have a judge say which of two answers it prefers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from random import Random
from typing import Literal

import orjson

from reflectune.evaluate.alpaca_eval.annotations import STAGE, Annotation, Form
from reflectune.evaluate.alpaca_eval.pairs import Pair
from reflectune.evaluate.alpaca_eval.verdicts import CHOICE, UNTOLD, Verdict, chosen, weighed
from reflectune.language import prompt_language
from reflectune.oracles.engine import Answer, Engine, Rejected
from reflectune.prompts import Prompts
from reflectune.recipe.alpaca_eval import AlpacaEvalSettings
from reflectune.records import Failure, Message, Request, digest

__all__ = ["PROMPTS", "Judged", "annotate", "manner_of", "messages_of", "requests_per_pair"]

PROMPTS = "alpaca_eval_"
"""How the names of the prompts begin."""
First = Literal["reference", "model"]
_SHOWN_OF_A_HASH = 8


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a pair.

    Attributes:
        pair: The pair.
        annotation: The annotation; its preference is `None` where there is no verdict.
        failure: Why there is none.
    """

    pair: Pair
    annotation: Annotation
    failure: Failure | None = None


async def annotate(
    pairs: Iterable[Pair], engine: Engine, settings: AlpacaEvalSettings, *, reference: str, model: str
) -> AsyncGenerator[Judged]:
    """Have each pair judged, and yield the verdicts as they land. What the engine's store has is not asked again.

    Args:
        pairs: The answers, taken one by one.
        engine: Asks the judge.
        settings: How it is asked.
        reference: What the reference is called.
        model: What the model is called.

    Raises:
        OracleError: The judge cannot be asked at all.
        SettingsError: A prompt file does not fit.
    """
    asker = _Asker(engine, settings, Prompts(settings.prompts))
    annotator = f"reflectune:{engine.oracle.name} ({manner_of(settings)})"

    async def judge(pair: Pair) -> Judged:
        order = first_of(pair, settings.seed)
        other: First = "model" if order == "reference" else "reference"
        shares, firsts, form, failure = [], [], settings.form, None
        for first in (order, other) if settings.both_orders else (order,):
            verdict = await asker.verdict(pair, first)
            if isinstance(verdict, Rejected):
                raw = verdict.reply.text if verdict.reply else None
                failure = Failure(id=pair.id, stage=STAGE, reason=verdict.reason, detail=verdict.detail, raw=raw)
                break
            shares.append(verdict.first if first == "model" else 1 - verdict.first)
            firsts.append(verdict.first)
            form = "plain" if verdict.form == "plain" else form
        annotation = Annotation(
            index=pair.index,
            instruction=pair.reference.instruction,
            output_1=pair.reference.output,
            generator_1=reference,
            output_2=pair.model.output,
            generator_2=model,
            dataset=pair.reference.dataset or pair.model.dataset,
            annotator=annotator,
            preference=None if failure else 1 + sum(shares) / len(shares),
            form=form,
            shown_first="both" if settings.both_orders else order,
            first=None if failure else sum(firsts) / len(firsts),
        )
        return Judged(pair, annotation, failure)

    async with aclosing(engine.work(pairs, judge)) as verdicts:
        async for judged in verdicts:
            yield judged


def first_of(pair: Pair, seed: int) -> First:
    """Whose answer is shown first: drawn by the seed and the instruction, so that it is the same at any time."""
    return Random(digest([seed, pair.id])).choice(("reference", "model"))  # noqa: S311 - an order, no secret


def manner_of(settings: AlpacaEvalSettings) -> str:
    """How a judge is asked, in short: the form, the orders, and the first digits of a hash of the prompts' wording."""
    form = f"{settings.form}, both orders," if settings.both_orders else settings.form
    return f"{form} {Prompts(settings.prompts).hash(PROMPTS)[:_SHOWN_OF_A_HASH]}"


def requests_per_pair(settings: AlpacaEvalSettings) -> int:
    """How many requests a pair takes, where the judge tells what it is asked for."""
    return 2 if settings.both_orders else 1


@dataclass(frozen=True, slots=True)
class _Asker:
    engine: Engine
    settings: AlpacaEvalSettings
    prompts: Prompts

    async def verdict(self, pair: Pair, first: First) -> Verdict | Rejected:
        """The verdict on a pair in one order; plainly where it cannot be told by probabilities."""
        if self.settings.form == "plain":
            return await self._ask(pair, first, "plain")
        outcome = await self._ask(pair, first, "weighted")
        if isinstance(outcome, Rejected) and outcome.reason == UNTOLD:
            return await self._ask(pair, first, "plain")
        return outcome

    async def _ask(self, pair: Pair, first: First, form: Form) -> Verdict | Rejected:
        weighted = form == "weighted"
        request = Request(
            messages_of(pair, first, self.settings, self.prompts),
            self.settings.sampling(self.engine.oracle.sampling, form),
            None if weighted else CHOICE,
            top_logprobs=self.settings.top_logprobs if weighted else 0,
        )
        outcome = await self.engine.ask(request, weighed if weighted else chosen)
        return outcome.value if isinstance(outcome, Answer) else outcome


def messages_of(pair: Pair, first: First, settings: AlpacaEvalSettings, prompts: Prompts) -> tuple[Message, ...]:
    """What is asked of a pair: the fixed rubric first and the pair last, as JSON, so that no answer can pretend to end.

    Args:
        pair: The answers.
        first: Whose answer is shown first.
        settings: In which language it is asked.
        prompts: The wording.
    """
    instruction = pair.reference.instruction
    language = settings.lang or prompt_language(instruction)
    outputs = [pair.reference.output, pair.model.output]
    one, two = outputs if first == "reference" else outputs[::-1]
    shown = orjson.dumps({"instruction": instruction, "answer 1": one, "answer 2": two}).decode()
    return (
        Message("system", prompts.text(language, "alpaca_eval_system.txt")),
        Message("user", prompts.render(language, "alpaca_eval_ask.txt", pair=shown)),
    )
