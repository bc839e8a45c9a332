"""A model for lm-eval that asks through the engine: every reply is kept, paced, budgeted and asked once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from reflectune.errors import SettingsError
from reflectune.evaluate.benchmarks.hooks import Unanswered
from reflectune.generation import Generated, Prompt, generate
from reflectune.optional import load_optional
from reflectune.oracles.engine import Engine
from reflectune.recipe.benchmark import BenchmarkSettings
from reflectune.records import Failure, Message

__all__ = ["Ask", "Unfinished", "ask_with", "engine_lm"]

Ask = Callable[[Sequence[Prompt]], Mapping[str, Generated | Failure]]
"""Asks a model for all prompts, and gives what came of each by its id; those that are missing are yet to be asked."""


class Unfinished(Exception):  # noqa: N818 - a state that passes
    """Asking stopped before every question had a reply.

    Args:
        pending: How many have none.
    """

    def __init__(self, pending: int) -> None:
        super().__init__(f"{pending} questions have no reply yet")
        self.pending = pending


def ask_with(engine: Engine, settings: BenchmarkSettings) -> Ask:
    """Ask by an engine of your own; not from within a running event loop.

    Args:
        engine: Asks the model.
        settings: How tokens are drawn.
    """
    drawn = settings.sampling(engine.oracle.sampling)

    async def every(prompts: Sequence[Prompt]) -> dict[str, Generated | Failure]:
        async with aclosing(generate(prompts, engine, drawn)) as replies:
            return {reply.id: reply async for reply in replies}

    return lambda prompts: asyncio.run(every(prompts))


def engine_lm(ask: Ask, systems: Mapping[str, str]) -> Any:
    """Make the model.

    Args:
        ask: Asks for all prompts.
        systems: The system prompt of each task; empty where it has none.

    Returns:
        An `LM` of lm-eval's. Its `replies` hold what came of each request, by task and number of the document.

    Raises:
        MissingExtraError: lm-eval is not installed.
    """
    api: Any = load_optional("lm_eval.api.model", "Benchmarks", "eval")

    class EngineLM(api.LM):  # type: ignore[misc]
        """Answers requests by asking for all of them at once, and keeps their order."""

        tokenizer_name = "reflectune"

        def __init__(self) -> None:
            super().__init__()
            self.replies: dict[tuple[str, int], Generated | Failure] = {}

        def apply_chat_template(
            self,
            chat_history: list[dict[str, str]],
            add_generation_prompt: bool = True,  # noqa: ARG002 - the model's own template does it
        ) -> str:
            """The messages as JSON, so that they reach the model as messages."""
            return json.dumps(chat_history, ensure_ascii=False)

        def generate_until(self, requests: list[Any]) -> list[str]:
            """The replies, in order; `Unanswered` where there is none.

            Raises:
                Unfinished: Asking stopped early.
            """
            prompts = [_prompt(request, systems.get(request.task_name, "")) for request in requests]
            found = ask(prompts)
            if pending := sum(prompt.id not in found for prompt in prompts):
                raise Unfinished(pending)
            texts = []
            for request, prompt in zip(requests, prompts, strict=True):
                reply = found[prompt.id]
                self.replies[request.task_name, request.doc_id] = reply
                texts.append(Unanswered() if isinstance(reply, Failure) else reply.text)
            return texts

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:  # noqa: ARG002
            """Not told.

            Raises:
                SettingsError: Always.
            """
            raise SettingsError(
                "A model that is asked for replies does not say how likely a given text is.",
                mend="Use --form logprob, or tasks whose answers are written.",
            )

        loglikelihood_rolling = loglikelihood

    return EngineLM()


def _prompt(request: Any, system: str) -> Prompt:
    said = request.args[0]
    turns = json.loads(said) if said.startswith("[{") else [{"role": "user", "content": said}]
    messages = tuple(Message(turn["role"], turn["content"]) for turn in turns)
    opening = (Message("system", system),) if system else ()
    return Prompt(f"{request.task_name} {request.doc_id}", (*opening, *messages))
