"""From rows of data to conversations that are learnt from, and the mistakes that are marked in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reflectune.formats.source import Row
from reflectune.records import Example

TRACE = "trace"
"""The column of a trace that says where its mistakes are."""
Span = tuple[int, int]
"""Characters of a text, as (begin, end)."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of which those of the assistant are learnt from.

    Attributes:
        id: The row's id.
        turns: The messages, oldest first: `role`, `content`, and of a user's the `input` where it stands apart.
        mistakes: The characters of the last turn that are a mistake; `None` where nobody marked them.
    """

    id: str
    turns: tuple[dict[str, str], ...]
    mistakes: tuple[Span, ...] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a row is not learnt from.

    Attributes:
        id: The row's id.
        reason: A short name that can be counted: `template`, `too-long`, `no-trainable-token`, `trace`, ...
        detail: One sentence for a person.
    """

    id: str
    reason: str
    detail: str


def conversation_of(row: Row, *, takes_input: bool) -> Conversation | Refused:
    """What a row of data says.

    Args:
        row: The row, as it was read.
        takes_input: Whether the template has a place of its own for the input.
    """
    if row.example is None:
        failure = row.failure
        return Refused(failure.id, failure.reason, failure.detail) if failure else Refused("", "read", "it is empty")
    example = row.example
    if not example.response.strip():
        return Refused(example.id, "no-response", "its response is empty")
    try:
        mistakes = _mistakes(row.raw.get(TRACE), example.response)
    except ValueError as fault:
        return Refused(example.id, "trace", f"row {row.number}: {fault}")
    return Conversation(_id(row, example), _turns(example, takes_input=takes_input), mistakes)


def _turns(example: Example, *, takes_input: bool) -> tuple[dict[str, str], ...]:
    turns = [{"role": "system", "content": example.system}] if example.system else []
    turns += [{"role": turn.role, "content": turn.content} for turn in example.history]
    if takes_input and example.input.strip():
        turns.append({"role": "user", "content": example.instruction, "input": example.input})
    else:
        turns.append({"role": "user", "content": example.question})
    return (*turns, {"role": "assistant", "content": example.response})


def _id(row: Row, example: Example) -> str:
    """The id that the row has in the run that wrote it, or its own."""
    origin = row.raw.get("reflectune")
    own = origin.get("id") if isinstance(origin, dict) else None
    return own if isinstance(own, str) else example.id


def _mistakes(trace: Any, response: str) -> tuple[Span, ...] | None:
    if trace is None:
        return None
    if not isinstance(trace, Mapping) or not isinstance(trace.get("mistakes"), list):
        raise ValueError(f"its column {TRACE} does not say where the mistakes are")  # noqa: TRY004 - it is data
    spans = []
    for span in trace["mistakes"]:
        if not (isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)):  # noqa: PLR2004
            raise ValueError(f"a mistake is written [begin, end], and this is {span!r}")
        begin, end = span
        if not 0 <= begin < end <= len(response):
            raise ValueError(f"the mistake {span} lies beyond the {len(response):,} characters of the answer")
        spans.append((begin, end))
    return tuple(spans)
