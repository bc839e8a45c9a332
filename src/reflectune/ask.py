"""Ask an engine for a typed value: as one JSON value, or one field per turn of a conversation.

Nothing is fished out of free text. In the structured way validation is the parser; in a dialogue a turn's whole text
is the field. So text that holds brackets, tags or JSON of its own is harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from reflectune.criteria import longest_reply, schema_of
from reflectune.oracles.engine import Answer, Engine, Rejected, Unacceptable
from reflectune.oracles.replies import json_text
from reflectune.records import Message, Reply, Request, Sampling, Schema

Messages = tuple[Message, ...]
T = TypeVar("T")
Value = TypeVar("Value", bound=BaseModel)

_NUMBER_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Manner:
    """How to ask.

    Attributes:
        engine: Who asks.
        sampling: How tokens are drawn.
        retries: How often to ask again after a reply that was not accepted.
        again: The conversation for that, made of the opening and of what was rejected so far.
        sample: Which draw of the same request this is.
        heat: What is added to the temperature each time that it is asked again.
    """

    engine: Engine
    sampling: Sampling
    retries: int
    again: Callable[[Messages, Sequence[Rejected]], Messages] = lambda opening, _: opening
    sample: int = 0
    heat: float = 0.0


async def ask_value(
    manner: Manner, opening: Sequence[Message], model: type[Value], check: Callable[[Value], None]
) -> tuple[Answer[Value] | Rejected, int]:
    """Ask for one JSON value of a type.

    Args:
        manner: How to ask.
        opening: The conversation up to the request.
        model: The type of the value; the reply must be valid JSON of it.
        check: Raises `Unacceptable` where a valid value cannot be used.

    Returns:
        The value or why there is none, and how many replies it took.
    """
    limit = manner.engine.oracle.text_limit
    schema = schema_of(model, text_limit=limit)
    if limit is not None:  # the grammar ends the reply in time; a limit on its tokens would only break it
        room = max(manner.sampling.max_tokens, longest_reply(schema))
        manner = replace(manner, sampling=replace(manner.sampling, max_tokens=room))

    def read(reply: Reply) -> Value:
        refuse_unfinished(reply)
        value = _parsed(model, reply.text)
        check(value)
        return value

    return await _insist(manner, opening, schema, read)


def _parsed(model: type[Value], text: str) -> Value:
    """The value that a text is, or that its only code fence holds.

    Raises:
        Unacceptable: It is none.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        fenced = json_text(text)
        if fenced == text:
            raise Unacceptable("invalid", _first_fault(error)) from None
    return _parsed(model, fenced)


async def ask_text(
    manner: Manner, opening: Sequence[Message], check: Callable[[str, Reply], None]
) -> tuple[Answer[str] | Rejected, int]:
    """Ask for one text: the whole reply, without the white space around it.

    Args:
        manner: How to ask.
        opening: The conversation up to the request.
        check: Raises `Unacceptable` where the text cannot be used; it is given the reply as well.

    Returns:
        The text or why there is none, and how many replies it took.
    """

    def read(reply: Reply) -> str:
        text = reply.text.strip()
        check(text, reply)
        return text

    return await _insist(manner, opening, None, read)


async def ask_number(manner: Manner, opening: Sequence[Message], highest: int) -> Answer[int] | Rejected:
    """Ask for a whole number from 1 to `highest`, which a grammar enforces where the oracle has one."""
    numbers = list(range(1, highest + 1))

    def read(reply: Reply) -> int:
        text = reply.text.strip()
        if not text.isdecimal() or int(text) not in numbers:
            raise Unacceptable("invalid", f"Expected a number from 1 to {highest}, got {text[:40]!r}.")
        return int(text)

    brief = replace(manner, sampling=replace(manner.sampling, max_tokens=_NUMBER_TOKENS))
    outcome, _ = await _insist(brief, opening, Schema("number", {"type": "integer", "enum": numbers}), read)
    return outcome


def refuse_unfinished(reply: Reply) -> None:
    """Refuse a reply that the oracle did not finish.

    Raises:
        Unacceptable: It was cut off by length, or withheld by a content filter.
    """
    if reply.finish_reason == "length":
        raise Unacceptable("truncated", f"The reply was cut off after {reply.completion_tokens} tokens.")
    if reply.finish_reason in ("content_filter", "refusal"):
        raise Unacceptable("refusal", f"The oracle withheld its reply: {reply.text[:120] or reply.finish_reason}")


async def _insist(
    manner: Manner, opening: Sequence[Message], schema: Schema | None, read: Callable[[Reply], T]
) -> tuple[Answer[T] | Rejected, int]:
    """Ask, and ask again with the reason after a reply that was not accepted."""
    messages = opening = tuple(opening)
    sampling = manner.sampling
    rejected: list[Rejected] = []
    while True:
        outcome = await manner.engine.ask(Request(messages, sampling, schema, manner.sample), read)
        attempts = len(rejected) + 1
        if isinstance(outcome, Answer) or outcome.reply is None or attempts > manner.retries:
            return outcome, attempts
        rejected.append(outcome)
        messages = manner.again(opening, rejected)
        if sampling.temperature is not None:
            sampling = replace(sampling, temperature=min(2.0, sampling.temperature + manner.heat))


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    return f"{where}: {fault['msg']}" if where else str(fault["msg"])
