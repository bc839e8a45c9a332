"""The texts of a row: where one lies, what it says, and the row with another in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from reflectune.records import Message

Path = tuple[str | int, ...]
"""The keys and indices that lead from a row to one of its texts."""

REASONING_PARTS = frozenset({"reasoning", "thinking", "reasoning_content"})
CALL_PARTS = frozenset({"tool_call", "tool_calls", "tool_use", "function_call"})
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableRow(Exception):  # noqa: N818 - a state of the data, not a fault of the program
    """A row that holds no usable pair: becomes a `Failure`.

    Args:
        reason: A short name that can be counted, such as `no-response`.
        detail: One sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Pair:
    """What a row says and where: the texts of its pair with their paths, and what comes before it.

    Attributes:
        instruction_path: Where the instruction is.
        instruction: Its text.
        response_path: Where the response is.
        response: Its text.
        input_path: Where the input is, or would be; `None` where the shape has none.
        input: Its text; empty where there is none or a placeholder for none.
        system: The system prompt.
        history: Earlier turns, oldest first.
    """

    instruction_path: Path
    instruction: str
    response_path: Path
    response: str
    input_path: Path | None = None
    input: str = ""
    system: str = ""
    history: tuple[Message, ...] = ()

    def check(self) -> None:
        """Find what makes the pair useless.

        Raises:
            UnreadableRow: A text is missing, blank, or no proper text.
        """
        if not self.instruction.strip():
            raise UnreadableRow("no-instruction", f"{dotted(self.instruction_path)} is missing or blank")
        if not self.response.strip():
            raise UnreadableRow("no-response", f"{dotted(self.response_path)} is missing or blank")
        for text in (
            self.instruction,
            self.response,
            self.input,
            self.system,
            *(turn.content for turn in self.history),
        ):
            if "\0" in text:
                raise UnreadableRow("control-characters", "a text of the row holds a NUL character")
            if not text.isascii() and _SURROGATE.search(text):
                raise UnreadableRow(
                    "not-text", "a text of the row holds half of a surrogate pair, which is no character"
                )


def dotted(path: Path) -> str:
    """A path as people write it: `conversations.0.value`."""
    return ".".join(str(step) for step in path)


def path_in(row: dict[str, Any], name: str) -> Path:
    """The path that a name stands for: a column of exactly this name, else one dotted step per level."""
    return (name,) if name in row else split_path(name)


@lru_cache(maxsize=256)
def split_path(name: str) -> Path:
    """Split `conversations.-1.value` into keys and indices."""
    first, *rest = name.split(".")
    return (first, *(int(step) if step.lstrip("-").isdecimal() else step for step in rest))


def find(value: Any, path: Path) -> Any:
    """What lies at the path; `None` where it leads nowhere."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step if isinstance(step, str) else str(step))
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def replaced(value: Any, path: Path, text: str) -> Any:
    """A copy of the value with another text at the path; what is off the path is shared, the original is untouched."""
    if not path:
        return _with_text(value, text)
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        copy = list(value)
        copy[int(step)] = replaced(copy[int(step)], rest, text)
        return copy
    key = str(step)
    return {**value, key: replaced(value.get(key), rest, text)}


def text_of(value: Any, where: str) -> str:
    """The text of a value: a string as it is, a number's digits, nothing for null, the text parts of a list.

    Args:
        value: A JSON value.
        where: What the value is, for the error.

    Raises:
        UnreadableRow: The value is no text.
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - NaN is how tables spell a missing text
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "\n".join(text for part in value if (text := _part_text(part, where)) is not None)
    raise UnreadableRow("not-text", f"{where} holds {_kind(value)}, not text")


def call_text(parts: Sequence[Any]) -> str:
    """Function calls as text, one JSON value a line."""
    return "\n".join(part if isinstance(part, str) else json.dumps(part, ensure_ascii=False) for part in parts)


def part_type(part: dict[str, Any]) -> str:
    """The kind of a content part: `text` where it does not say and holds a text."""
    return str(part.get("type") or ("text" if "text" in part else "unknown"))


def _part_text(part: dict[str, Any], where: str) -> str | None:
    kind = part_type(part)
    if kind in REASONING_PARTS or kind in CALL_PARTS:
        return None
    text = part.get(_text_key(part))
    if kind == "text" and isinstance(text, str):
        return text
    raise UnreadableRow("not-text", f"{where} holds a part of the type {kind}, not text")


def _text_key(part: dict[str, Any]) -> str:
    return "text" if "text" in part or "value" not in part else "value"


def _with_text(value: Any, text: str) -> Any:
    if not isinstance(value, list):
        return text
    # Several text parts are read as one text, so the first takes the new one and the others go.
    first = next((place for place, part in enumerate(value) if part_type(part) == "text"), None)
    if first is None:
        return [*value, {"type": "text", "text": text}]
    head = {**value[first], _text_key(value[first]): text}
    return [*value[:first], head, *(part for part in value[first + 1 :] if part_type(part) != "text")]


def _kind(value: Any) -> str:
    names = {bool: "true or false", dict: "an object", list: "a list"}
    return names.get(type(value), f"a value of the type {type(value).__name__}")
