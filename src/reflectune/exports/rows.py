"""What a row teaches: its turns, and the characters of its answer that carry no loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reflectune.formats import Row
from reflectune.recipe.train import LossOn
from reflectune.records import Example, Failure
from reflectune.tags import parse

STAGE = "export"
TRACE = "trace"
"""The column of a trace that says where its mistakes are."""
Span = tuple[int, int]
"""Characters of a text, as (begin, end)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row that is learnt from.

    Attributes:
        example: What it says.
        number: Its place in the data, from 1.
        mistakes: The characters of the response that are a mistake; `None` where nobody marked them.
    """

    example: Example
    number: int
    mistakes: tuple[Span, ...] | None = None

    def left_out(self, reason: str, detail: str) -> Failure:
        """The same row as one that is left out."""
        return Failure(id=self.example.id, stage=STAGE, reason=reason, detail=f"row {self.number}: {detail}")

    def silent(self, loss_on: LossOn) -> tuple[Span, ...]:
        """The characters of the response that carry no loss.

        Args:
            loss_on: Which tokens carry loss: all; what follows the first reflection; or all but the marked mistakes,
                and where nobody marked them, all but what is thought before the first reflection.
        """
        if loss_on == "whole":
            return ()
        if loss_on == "mistake-masked" and self.mistakes is not None:
            return self.mistakes
        parsed = parse(self.example.response)
        if not parsed.reflection_blocks:
            return ()
        first = parsed.reflection_blocks[0]
        if loss_on == "after-reflection":
            return ((0, first.span[0]),)
        begins = parsed.thinking_block.span[0] if parsed.thinking_block else 0
        return ((min(begins, first.whole[0]), first.whole[0]),)


def lesson_of(row: Row) -> Lesson | Failure:
    """A row of data as a lesson, or why it is none."""
    if row.example is None:
        return row.failure or Failure(id="", stage="read", reason="empty", detail=f"row {row.number}: it is empty")
    plain = Lesson(row.example, row.number)
    if not row.example.response.strip():
        return plain.left_out("no-response", "its response is empty")
    try:
        return Lesson(row.example, row.number, _mistakes(row.raw.get(TRACE), row.example.response))
    except ValueError as fault:
        return plain.left_out("trace", str(fault))


def _mistakes(trace: Any, response: str) -> tuple[Span, ...] | None:
    if trace is None:
        return None
    match trace:
        case {"mistakes": list(spans)}:
            return tuple(_span(span, len(response)) for span in spans)
    raise ValueError(f"its column {TRACE} does not say where the mistakes are")


def _span(span: Any, length: int) -> Span:
    match span:
        case [int(begin), int(end)] if 0 <= begin < end <= length:
            return begin, end
    raise ValueError(f"a mistake is written [begin, end] within the answer, and this is {span!r}")
