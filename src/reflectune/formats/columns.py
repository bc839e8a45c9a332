"""Rows whose instruction and response are columns of their own: alpaca, prompt and completion, seed tasks, `--map`."""

from __future__ import annotations

import json
import re
from typing import Any

from reflectune.formats.text import Pair, Path, UnreadableRow, dotted, find, path_in, text_of
from reflectune.formats.turns import Turn, read_turns
from reflectune.records import Message

_NO_INPUT = frozenset({"noinput", "noinputrequired", "noinputneeded", "none", "无输入", "没有输入", "无需输入"})
_NOT_LETTERS = re.compile(r"&lt;|&gt;|[\W_]+")
_LONGEST_PLACEHOLDER = 40


def is_placeholder(text: str) -> bool:
    """Whether an input says that there is none: `<noinput>`, `No input.`, `<无输入>` and the like."""
    return len(text) <= _LONGEST_PLACEHOLDER and _NOT_LETTERS.sub("", text).casefold() in _NO_INPUT


def locate_columns(row: dict[str, Any], columns: dict[str, str]) -> Pair:
    """Find the pair of a row in its columns.

    Args:
        row: The row as it was read.
        columns: Which column (or dotted path) holds `instruction`, `response`, and where mapped `input`, `system`,
            `history`.

    Raises:
        UnreadableRow: A column holds no text.
    """
    instruction_path = path_in(row, columns["instruction"])
    response_path = path_in(row, columns["response"])
    input_path = path_in(row, columns["input"]) if "input" in columns else None
    given = _text(row, input_path) if input_path else ""
    turns: list[Turn] = []
    if "history" in columns:
        turns = _history(row, path_in(row, columns["history"]), instruction_path)
    system = _text(row, path_in(row, columns["system"])) if "system" in columns else ""
    if not system and turns and turns[0].role == "system":
        system = turns.pop(0).text
    return Pair(
        instruction_path=instruction_path,
        instruction=_text(row, instruction_path),
        response_path=response_path,
        response=_text(row, response_path),
        input_path=input_path,
        input="" if is_placeholder(given) else given,
        system=system,
        history=tuple(Message(turn.role, turn.text) for turn in turns),
    )


def _text(row: dict[str, Any], path: Path) -> str:
    return text_of(find(row, path), dotted(path))


def _history(row: dict[str, Any], path: Path, instruction: Path) -> list[Turn]:
    """Earlier turns: pairs of question and answer, or a conversation up to the instruction's own turn."""
    value = find(row, path)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)  # a table has no lists, so its cell holds JSON
        except (ValueError, RecursionError) as fault:
            raise UnreadableRow("not-text", f"the history is neither a list nor JSON: {fault}") from fault
    if not value:
        return []
    if not isinstance(value, list):
        raise UnreadableRow("not-text", "the history is not a list of question and answer pairs")
    if isinstance(value[0], dict):
        own = instruction[len(path)] if instruction[: len(path)] == path and len(instruction) > len(path) else None
        return read_turns(value[:own] if isinstance(own, int) else value, path)
    return [turn for number, pair in enumerate(value) for turn in _exchange(pair, (*path, number))]


def _exchange(pair: Any, path: Path) -> tuple[Turn, Turn]:
    match pair:
        case [question, answer]:
            where = dotted(path)
            return Turn("user", text_of(question, where), (*path, 0)), Turn(
                "assistant", text_of(answer, where), (*path, 1)
            )
    raise UnreadableRow("not-text", "the history is not a list of question and answer pairs")
