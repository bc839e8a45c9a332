"""A conversation with a model: what was asked and answered so far, and the next question."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reflectune.errors import InputError
from reflectune.files import write_whole
from reflectune.inference.answering import answer
from reflectune.inference.forgetful import Forgetful
from reflectune.inference.history import without_thinking
from reflectune.inference.parts import Answered, Part
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine
from reflectune.oracles.pacing import Pace
from reflectune.recipe import ChatSettings
from reflectune.records import Message, Record

__all__ = ["Conversation", "Exchange"]

_APART = 32
"""Between the draws of two answers to one question: each may take so many drafts."""
_AT_ONCE = 32
_PATIENCE = 60.0
"""Seconds: somebody waits for the answer."""


class Exchange(Record):
    """A question and its answer.

    Attributes:
        question: What was asked.
        raw: The reply as the model wrote it, tags included.
        output: The answer in it; `None` where it has none.
        thinking: The reasoning before it, reflections included.
        reflections: The text of each reflection.
        faults: What is not as it should be in its tags.
        finish_reason: `stop`, `length`, or whatever else the model says.
        prompt_tokens: Tokens that were sent.
        completion_tokens: Tokens that were written.
    """

    question: str
    raw: str
    output: str | None
    thinking: str = ""
    reflections: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def sent(self) -> tuple[Message, Message]:
        """The exchange as it is sent along with later questions: without the thinking."""
        said = without_thinking(self.raw) if self.output is None else self.output
        return Message("user", self.question), Message("assistant", said or "...")


class _File(Record):
    """A conversation as a file."""

    kind: Literal["reflectune-conversation"] = "reflectune-conversation"
    version: Literal[1] = 1
    model: str
    settings: ChatSettings
    exchanges: tuple[Exchange, ...]


class Conversation:
    """A conversation with a model.

    Args:
        oracle: The model. It is not closed with the conversation.
        settings: How it is talked to.

    Attributes:
        exchanges: What was asked and answered so far, oldest first.
        settings: How it is talked to; may be changed between questions.
    """

    def __init__(self, oracle: Oracle, settings: ChatSettings | None = None) -> None:
        self.exchanges: list[Exchange] = []
        self.settings = settings or ChatSettings()
        self._oracle = oracle
        self._draw = 0
        self._engine: Engine | None = None

    def ask(self, question: str) -> AsyncGenerator[Part | Answered]:
        """Ask the next question; yields the parts of the answer as they come, and last the whole of it.

        An answer that fails, or is closed before its end, leaves the conversation as it was.

        Raises:
            OracleError: As `answer` does.
        """
        return self._answer(list(self.exchanges), question)

    def again(self) -> AsyncGenerator[Part | Answered]:
        """Have the last question answered anew, by another draw; the new answer takes the place of the old one.

        Raises:
            ValueError: Nothing was asked.
            OracleError: As `answer` does.
        """
        *before, last = self.exchanges
        self._draw += _APART
        return self._answer(before, last.question)

    @property
    def waiting(self) -> str:
        """Why the model was last too busy to answer the question that is being asked; empty where it was not."""
        busy = self._engine.usage.busy if self._engine is not None else None
        return busy[0] if busy else ""

    def clear(self) -> None:
        """Begin anew."""
        self.exchanges = []

    def save(self, path: Path) -> None:
        """Write the conversation as JSON, or for people where the file's name ends in `.md`.

        Raises:
            OSError: It cannot be written there; nothing is left behind.
        """
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        write_whole(path, self.markdown() if path.suffix.lower() == ".md" else self.json())

    def load(self, path: Path) -> None:
        """Go on with a conversation that was saved as JSON; the model and the settings are not taken over.

        Raises:
            InputError: The file holds none.
        """
        try:
            self.exchanges = list(_File.model_validate_json(path.read_bytes()).exchanges)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error}", mend="Check the path.") from None
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            what = f"{path} is no saved conversation: {where and f'{where}: '}{fault['msg']}"
            raise InputError(what, mend="Name a file that was saved as .json.") from None

    def json(self) -> str:
        """The conversation as JSON."""
        file = _File(model=self._oracle.name, settings=self.settings, exchanges=tuple(self.exchanges))
        return file.model_dump_json(indent=2) + "\n"

    def markdown(self) -> str:
        """The conversation for people; thinking is quoted."""
        blocks = [f"# {self._oracle.name}"]
        for exchange in self.exchanges:
            blocks += ["## Question", exchange.question.strip()]
            if exchange.thinking:
                blocks += ["### Thinking", "\n".join(f"> {line}".rstrip() for line in exchange.thinking.splitlines())]
            blocks += ["### Answer", exchange.raw.strip() if exchange.output is None else exchange.output]
        return "\n\n".join(blocks) + "\n"

    async def _answer(self, before: list[Exchange], question: str) -> AsyncGenerator[Part | Answered]:
        turns = [turn for exchange in before for turn in exchange.sent]
        # An engine for each answer: one that the model has failed for good would not ask again.
        engine = Engine(self._oracle, Forgetful(), Pace(self._oracle.concurrency or _AT_ONCE, patience=_PATIENCE))
        self._engine = engine
        asked = answer([*turns, Message("user", question)], engine, self.settings, sample=self._draw)
        async with aclosing(asked) as events:
            async for event in events:
                if isinstance(event, Answered):
                    self.exchanges = [*before, _exchange(question, event)]
                yield event


def _exchange(question: str, answered: Answered) -> Exchange:
    return Exchange(
        question=question,
        **{name: getattr(answered, name) for name in Exchange.model_fields if name != "question"},
    )
