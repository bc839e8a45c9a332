"""Talk to a model: once, or in a conversation."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer

from reflectune.cli.chat_screen import Folding, Screen, console, told
from reflectune.cli.conversing import Prompter
from reflectune.errors import SettingsError
from reflectune.generation import open_model
from reflectune.inference import Answered, Conversation
from reflectune.oracles.naming import Address
from reflectune.recipe import ChatSettings

__all__ = ["Asked", "carry_out"]

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        model: The model's name.
        settings: How it is talked to.
        address: Where an endpoint is.
        resume: A conversation to go on with.
        show: Whether the thinking is shown; `None` where the place decides.
    """

    model: str
    settings: ChatSettings
    address: Address
    resume: Path | None = None
    show: bool | None = None


def carry_out(asked: Asked, question: str | None, *, as_json: bool) -> None:
    """Answer once, or hold a conversation.

    Raises:
        InputError: There is no conversation in the file to go on with.
        OracleError: The model cannot be used, or did not answer the one question.
        SettingsError: Nothing is asked.
    """
    once = _one_question(question)
    if once is None and as_json:
        raise SettingsError("--json answers one question, and there is none.", mend="Give it, or pipe it in.")
    oracle = open_model(asked.model, asked.address)
    conversation = Conversation(oracle, asked.settings)
    with asyncio.Runner() as runner:
        try:
            if asked.resume is not None:
                conversation.load(asked.resume)
            if once is None:
                prompter = Prompter(conversation, runner, oracle.name, shown=asked.show is not False)
                code = prompter.converse()
            else:
                code = _answer_once(asked, conversation, runner, once, as_json=as_json)
        finally:
            runner.run(oracle.aclose())
    if code:
        raise typer.Exit(code)


def _one_question(question: str | None) -> str | None:
    """The only question that is asked; `None` where there is to be a conversation.

    Raises:
        SettingsError: It is empty.
    """
    piped = question == "-" or (question is None and not sys.stdin.isatty())
    if piped:
        question = sys.stdin.buffer.read().decode("utf-8", "replace")
    if question is not None and not question.strip():
        raise SettingsError("The question is empty.", mend="Write one, or none for a conversation.")
    return question and question.strip()


def _answer_once(
    asked: Asked, conversation: Conversation, runner: asyncio.Runner, question: str, *, as_json: bool
) -> int:
    began = time.monotonic()
    tagged = asked.settings.reflecting != "off" or asked.settings.rounds > 0 or asked.settings.best_of > 1
    folding: Folding = "shown" if asked.show else "silent"
    screen = Screen(console(), console(stderr=True), folding, holds_text=tagged)
    try:
        shown = None if as_json else screen
        answered = runner.run(told(conversation.ask(question), shown, lambda: conversation.waiting))
    except KeyboardInterrupt:
        screen.close()
        return _INTERRUPTED
    if as_json:
        said = _plain(asked.model, question, answered)
        typer.echo(orjson.dumps(said | {"seconds": round(time.monotonic() - began, 3)}).decode())
    return 0


def _plain(model: str, question: str, answered: Answered) -> dict[str, Any]:
    return {
        "model": model,
        "question": question,
        "output": answered.output,
        "thinking": answered.thinking,
        "reflections": answered.reflections,
        "faults": answered.faults,
        "finish_reason": answered.finish_reason,
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "raw": answered.raw,
    }
