"""What a row teaches: its turns, and the characters of its answer that carry no loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reflectune.formats import Row
from reflectune.recipe.train import LossOn
from reflectune.records import Example, Failure
from reflectune.tags import parse

TRACE = "trace"
"""The column of a trace that says where its mistakes are."""
Span = tuple[int, int]
"""Characters of a text, as (begin, end)."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row that is learnt from.

    Attributes:
        example: What it says, by the id that the row has in the run that wrote it.
        number: Its place in the data, from 1.
        mistakes: The characters of the response that are a mistake; `None` where nobody marked them.
    """

    example: Example
    number: int
    mistakes: tuple[Span, ...] | None = None

    @property
    def id(self) -> str:
        """The row's id."""
        return self.example.id

    def left_out(self, stage: str, reason: str, detail: str) -> Failure:
        """The same row as one that is left out."""
        return Failure(id=self.id, stage=stage, reason=reason, detail=f"row {self.number}: {detail}")

    def silent(self, loss_on: LossOn) -> tuple[Span, ...]:
        """The characters of the response that carry no loss.

        Tags are looked for in the response alone, so a system prompt that names them changes nothing.

        Args:
            loss_on: `whole`: all of it carries loss. `after-reflection`: what follows the first `<reflection>` does, as
                in the second copy of each row of Reflection 70B; an answer without one, whole. `mistake-masked`: all
                but the marked mistakes; where nobody marked them, all but what is thought before the first reflection.
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


def lesson_of(row: Row, stage: str) -> Lesson | Failure:
    """A row of data as a lesson, or why it is none.

    Args:
        row: The row, as it was read.
        stage: What it is read for, for the failure.
    """
    if row.example is None:
        return row.failure or Failure(id="", stage="read", reason="empty", detail=f"row {row.number}: it is empty")
    lesson = Lesson(replace(row.example, id=_id(row, row.example)), row.number)
    if not row.example.response.strip():
        return lesson.left_out(stage, "no-response", "its response is empty")
    try:
        return replace(lesson, mistakes=_mistakes(row.raw.get(TRACE), row.example.response))
    except ValueError as fault:
        return lesson.left_out(stage, "trace", str(fault))


def _id(row: Row, example: Example) -> str:
    origin = row.raw.get("reflectune")
    own = origin.get("id") if isinstance(origin, dict) else None
    return own if isinstance(own, str) else example.id


def _mistakes(trace: Any, response: str) -> tuple[Span, ...] | None:
    match trace:
        case {"mistakes": list(spans)}:
            return tuple(_span(span, len(response)) for span in spans)
        case {"mistakes": _}:
            pass
        case _:  # a column that others call so too
            return None
    raise ValueError(f"its column {TRACE} does not say where the mistakes are")


def _span(span: Any, length: int) -> Span:
    match span:
        case [int(begin), int(end)] if 0 <= begin < end <= length:
            return begin, end
    raise ValueError(f"a mistake is written [begin, end] within the {length:,} characters of the answer, not {span!r}")
