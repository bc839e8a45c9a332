"""Prompts of a data set, whether or not its rows have answers: test sets, instruction data, conversations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from reflectune.errors import InputError
from reflectune.formats.source import Names, reader_of
from reflectune.formats.turns import ROLE_KEYS, TEXT_KEYS
from reflectune.records import Failure, Message, Role, digest

__all__ = ["Asked", "read_prompts"]

STAGE = "read"
_INSTRUCTIONS = ("instruction", "prompt", "question", "query", "problem", "text")
_INPUTS = ("input", "context")
_TURNS = ("messages", "conversations", "conversation", "turns")
_ROLES: dict[str, Role] = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_LONGEST_RAW = 2_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A row's prompt.

    Attributes:
        id: The row's own id, else a hash of its content.
        instruction: What is asked last.
        input: The material that it works on; empty where there is none.
        system: The row's system prompt.
        history: Earlier turns.
        raw: The row as it was read.
    """

    id: str
    instruction: str
    input: str
    system: str
    history: tuple[Message, ...]
    raw: dict[str, Any]

    @property
    def question(self) -> str:
        """The instruction with its input, as one text."""
        return f"{self.instruction}\n\n{self.input}" if self.input.strip() else self.instruction

    def messages(self, system: str = "") -> tuple[Message, ...]:
        """The conversation that a model is to go on with.

        Args:
            system: A system prompt that goes before the row's own.
        """
        said = "\n\n".join(text for text in (system, self.system) if text.strip())
        opening = (Message("system", said),) if said else ()
        return (*opening, *self.history, Message("user", self.question))


def read_prompts(source: str, limit: int | None = None) -> list[Asked | Failure]:
    """The prompts of a data set, in order; a row that holds none is a failure.

    Prompts are looked for in columns named as instruction data and published test sets name them, whatever their case:
    instruction, prompt, question, query, problem or text, with input or context beside it; `instances` of seed tasks;
    messages, conversations or turns, of which the last user turn is asked and what follows it is left out. Of a list of
    bare user turns, as MT-Bench has them, the first is asked.

    Args:
        source: A file of any container, or a data set of the hub.
        limit: Take only so many rows.

    Raises:
        InputError: The file is missing or broken, no row holds a prompt, or two rows have the same id of their own.
    """
    names = Names(source)
    rows: list[Asked | Failure] = []
    columns: list[str] = []
    for number, raw in enumerate(islice(reader_of(source)(), limit), start=1):
        columns = columns or list(raw)
        rows.append(_read(raw, names.name(raw, number, digest(str(raw))), number))
    if not any(isinstance(row, Asked) for row in rows):
        raise InputError(
            f"{source}: no row holds a prompt among its columns: {', '.join(map(repr, columns)) or 'none'}",
            mend=f"Name the column one of {', '.join(_INSTRUCTIONS)}, or messages.",
        )
    return rows


def _read(raw: dict[str, Any], name: str, number: int) -> Asked | Failure:
    columns = {str(column).casefold(): column for column in raw}
    system = _text(raw, columns, ("system", "system_prompt"))
    instruction = _text(raw, columns, _INSTRUCTIONS)
    history: list[Message] = []
    if not instruction:
        instruction, history = _last_turn(raw, columns)
    if history and history[0].role == "system":
        system = "\n\n".join(text for text in (system, history.pop(0).content) if text)
    if not instruction.strip():
        told = f"row {number}: it holds no text that asks for anything"
        return Failure(id=name, stage=STAGE, reason="empty", detail=told, raw=str(raw)[:_LONGEST_RAW])
    given = _text(raw, columns, _INPUTS) or _instance(raw)
    return Asked(name, instruction, "" if given == instruction else given, system, tuple(history), raw)


def _last_turn(raw: dict[str, Any], columns: dict[str, str]) -> tuple[str, list[Message]]:
    """The last user turn of a row's conversation, and the turns before it."""
    turns = next((raw[columns[name]] for name in _TURNS if name in columns), None)
    if isinstance(turns, str):
        return turns, []
    if not isinstance(turns, list) or not turns:
        return "", []
    if all(isinstance(turn, str) for turn in turns):
        return str(turns[0]), []
    said = [turn for turn in map(_turn, turns) if turn is not None]
    last = max((place for place, turn in enumerate(said) if turn.role == "user"), default=None)
    return ("", []) if last is None else (said[last].content, said[:last])


def _turn(turn: Any) -> Message | None:
    if not isinstance(turn, dict):
        return None
    role = str(next((turn[key] for key in ROLE_KEYS if turn.get(key)), "user")).casefold()
    text = next((turn[key] for key in TEXT_KEYS if isinstance(turn.get(key), str)), None)
    return None if text is None else Message("system" if role == "system" else _ROLES.get(role, "user"), text)


def _instance(raw: dict[str, Any]) -> str:
    instances = raw.get("instances")
    first = instances[0] if isinstance(instances, list) and instances else None
    found = first.get("input") if isinstance(first, dict) else None
    return found if isinstance(found, str) else ""


def _text(raw: dict[str, Any], columns: dict[str, str], names: tuple[str, ...]) -> str:
    found = (raw[columns[name]] for name in names if name in columns)
    return next((text for text in found if isinstance(text, str) and text.strip()), "")
