"""Rows in another shape than they came in."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from itertools import groupby
from typing import Any, Literal, get_args

from reflectune.errors import SettingsError
from reflectune.formats.mapping import did_you_mean
from reflectune.records import Example, Message, Version

ShapeTo = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]
SHAPES_TO: tuple[str, ...] = get_args(ShapeTo)
"""What `convert` can write."""
_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def convert(
    example: Example, version: Version, to: str, *, others: AnyMapping[str, Any] | None = None
) -> dict[str, Any]:
    """A version of an example as a row of the named shape, with the example's system prompt and history.

    alpaca and prompt-completion hold them in columns `system` and `history`, where there are any; since that history is
    pairs of question and answer, neighbouring turns of one side are joined there. In the other two they are turns.

    Args:
        example: The row as it was read: gives the system prompt and the history.
        version: What to write.
        to: One of `SHAPES_TO`.
        others: Further columns to keep (`Mapping.other_columns`); a name that the shape needs becomes `NAME_original`.

    Raises:
        SettingsError: There is no such shape.
    """
    if to not in SHAPES_TO:
        raise SettingsError(f"unknown format {to!r} to write", mend=did_you_mean(to, SHAPES_TO))
    question = f"{version.instruction}\n\n{version.input}" if version.input.strip() else version.instruction
    system = [Message("system", example.system)] if example.system else []
    turns = [*system, *example.history, Message("user", question), Message("assistant", version.response)]
    row: dict[str, Any]
    if to == "messages":
        row = {"messages": [{"role": turn.role, "content": turn.content} for turn in turns]}
    elif to == "sharegpt":
        row = {"conversations": [{"from": _SHAREGPT[turn.role], "value": turn.content} for turn in turns]}
    elif to == "alpaca":
        row = {
            "instruction": version.instruction,
            "input": version.input,
            "output": version.response,
            **_context(example),
        }
    else:
        row = {"prompt": question, "completion": version.response, **_context(example)}
    return row | {(f"{name}_original" if name in row else name): value for name, value in (others or {}).items()}


def _context(example: Example) -> dict[str, Any]:
    context: dict[str, Any] = {"system": example.system} if example.system else {}
    if example.history:
        context["history"] = _pairs(example.history)
    return context


def _pairs(history: tuple[Message, ...]) -> list[list[str]]:
    """Turns as pairs of what was asked and what was answered."""
    pairs: list[list[str]] = []
    for asks, turns in groupby(history, key=lambda turn: turn.role in {"user", "system"}):
        text = "\n\n".join(turn.content for turn in turns)
        if asks:
            pairs.append([text, ""])
        elif pairs:
            pairs[-1][1] = text
        else:
            pairs.append(["", text])
    return pairs
