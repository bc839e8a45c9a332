"""One reply to one question of a benchmark, scored: what tables, comparisons and pages of benchmarks are made of."""

from __future__ import annotations

from pydantic import Field

from reflectune.evaluate.scores import Arm
from reflectune.records import Failure, Record

__all__ = ["Item"]


class Item(Record):
    """One reply to one question, scored.

    Attributes:
        benchmark: Which benchmark, such as `gsm8k`.
        id: Which question; the same question has the same id for every model and arm.
        model: The model, as a person names it.
        arm: How it was asked.
        question: What it was asked, without the system prompt.
        gold: The right answer, where one text is.
        text: The raw reply.
        scored: The part of it that was scored.
        finish_reason: Why the reply ended: `stop`, `length`, ...
        marks: Whether it is right, by metric; several marks where one reply answers several things, as IFEval's
            instructions are.
        draft: Whether the first answer in its `<thinking>` is right; `None` where it has none.
        tokens: Tokens of the reply, reasoning included.
        prompt_tokens: Tokens of the prompt.
        reflections: `<reflection>` blocks in it.
        without_output: Whether it lacks an `<output>`; `None` where none was asked for.
        failure: Why there is no reply; its marks are then empty, and it is in no figure.
    """

    benchmark: str
    id: str
    model: str
    arm: Arm
    question: str = ""
    gold: str | None = None
    text: str = ""
    scored: str = ""
    finish_reason: str = "stop"
    marks: dict[str, tuple[bool, ...]] = Field(default_factory=dict)
    draft: bool | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    reflections: int = 0
    without_output: bool | None = None
    failure: Failure | None = None
