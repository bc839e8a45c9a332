"""Plain messages: one JSON object a line, with `id` and `messages`, and nothing else."""

from __future__ import annotations

from typing import Any

from reflectune.exports.kit import Asked, Kit, counted
from reflectune.exports.wording import messages
from reflectune.lessons import Lesson


def kit(asked: Asked) -> Kit:
    """What is written: the turns of each row, as any trainer reads them."""
    survey, notes = asked.survey, []
    if survey.marked:
        notes.append(
            f"{counted(survey.marked, 'row')} (row {survey.first_marked} is the first) with a marked mistake: messages "
            "cannot mark it, so a trainer that reads them has the student learn the mistakes too."
        )
    return Kit(rows=_rows, command="", train="messages.jsonl", notes=tuple(notes))


def _rows(lesson: Lesson) -> list[dict[str, Any]]:
    return [{"id": lesson.example.id, "messages": messages(lesson)}]
