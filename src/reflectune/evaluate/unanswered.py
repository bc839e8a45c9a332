"""What a row of answers asks whose answer is missing, so that its counterpart elsewhere is not called lost as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reflectune.formats import Mapping
from reflectune.formats.text import UnreadableRow, find, path_in
from reflectune.formats.turns import TEXT_KEYS
from reflectune.records import Example

__all__ = ["Unanswered", "unanswered"]

_PRESENT = "."
"""Stands for the missing answer while its question is read."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that has no answer to show, or an empty one.

    Attributes:
        question: What was asked; its response stands for nothing.
        said: What the row has for an answer: an empty text where the model said nothing; `None` where it is no text.
    """

    question: Example
    said: str | None


def unanswered(raw: dict[str, Any], mapping: Mapping) -> Unanswered | None:
    """The question of a row that holds no usable answer; `None` where that cannot be read either.

    Args:
        raw: The row as it was read.
        mapping: Which columns hold what.
    """
    for row, said in _answered(raw, mapping):
        try:
            question = mapping.read(row)
        except UnreadableRow:
            continue
        return Unanswered(question, said if isinstance(said, str) else None)
    return None


def _answered(raw: dict[str, Any], mapping: Mapping) -> Iterator[tuple[dict[str, Any], Any]]:
    """The row with an answer in the places where it may be missing, each with what stood there."""
    columns = mapping.columns
    turn = {"role": "assistant", "content": _PRESENT}
    if column := columns.get("response"):
        yield {**raw, column: _PRESENT}, find(raw, path_in(raw, column))
    elif isinstance(turns := raw.get(columns.get("turns", "")), list) and turns:
        yield {**raw, columns["turns"]: [*turns, turn]}, None
        yield {**raw, columns["turns"]: [*turns[:-1], turn]}, _said(turns[-1])
    elif isinstance(tree := raw.get(columns.get("tree", "")), dict) and not tree.get("replies"):
        yield {**raw, columns["tree"]: {**tree, "replies": [turn]}}, None


def _said(turn: Any) -> Any:
    return next((turn[key] for key in TEXT_KEYS if key in turn), None) if isinstance(turn, dict) else turn
