"""How a model is asked about a question: by which prompts, and again after a reply that was not accepted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel

from reflectune.ask import Manner, Messages, ask_value
from reflectune.language import prompt_language
from reflectune.oracles.engine import Engine, Rejected
from reflectune.prompts import Language, Prompts
from reflectune.recipe import TraceSettings
from reflectune.records import Failure, Message
from reflectune.traces.questions import Question
from reflectune.traces.trace import failed

Value = TypeVar("Value", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks an engine about questions.

    Attributes:
        engine: Asks the oracle.
        settings: How to ask.
        prompts: The rubrics.
    """

    engine: Engine
    settings: TraceSettings
    prompts: Prompts

    def language(self, question: Question) -> Language:
        """The language in which a question is asked about."""
        return self.settings.lang or prompt_language(question.text)

    def manner(self, language: Language, sample: int = 0) -> Manner:
        """How to ask: a rejected reply stands in the conversation, and the reason after it."""

        def again(opening: Messages, rejected: Sequence[Rejected]) -> Messages:
            turns = list(opening)
            for refused in rejected:
                if refused.reply is not None and refused.reply.text.strip():
                    turns.append(Message("assistant", refused.reply.text))
                told = self.prompts.render(language, "structured_retry.txt", reason=refused.detail)
                turns.append(Message("user", told))
            return tuple(turns)

        sampling = self.settings.sampling(self.engine.oracle.sampling)
        return Manner(self.engine, sampling, self.settings.retries, again, sample)

    async def value(
        self,
        question: Question,
        rubric: str,
        model: type[Value],
        check: Callable[[Value], None] = lambda _: None,
        *,
        sample: int = 0,
        **material: Any,
    ) -> Value | Failure:
        """Ask for one JSON value about a question: the fixed rubric first, the row last, for the prefix cache.

        Args:
            question: What it is about.
            rubric: The prompt file that says what to do.
            model: The type of the reply.
            check: Raises `Unacceptable` where a value cannot be used.
            sample: Which draw of the same request this is.
            material: What to show besides the question.
        """
        language = self.language(question)
        row = orjson.dumps(shown(question) | material).decode()
        form = self.prompts.table(language, "trace_answers.yaml")[question.form]
        opening = (
            Message("system", self.prompts.render(language, rubric, answer=form)),
            Message("user", row),
        )
        outcome, _ = await ask_value(self.manner(language, sample), opening, model, check)
        return refused(question, outcome) if isinstance(outcome, Rejected) else outcome.value

    def plainly(self, language: Language, sample: int) -> Manner:
        """How to ask for text in a dialogue: asked again in the same words, with more heat."""
        return replace(self.manner(language, sample), again=lambda opening, _: opening, heat=0.2)


def shown(question: Question) -> dict[str, Any]:
    """A question as an oracle sees it: what surrounds it first, empty parts left out."""
    parts = {"system": question.system, "history": question.history, "question": question.text}
    return {name: part for name, part in parts.items() if part}


def refused(question: Question, rejected: Rejected) -> Failure:
    """Why a model's reply came to nothing; one that was cut off is `truncated`."""
    raw = rejected.reply.text if rejected.reply else None
    return failed(question, rejected.reason, rejected.detail.rstrip("."), raw=raw)
