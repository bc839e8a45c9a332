"""What an answer is made of, as it streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PartKind = Literal["thinking", "reflection", "output", "text"]
"""`text` is what stands in no tag: all of a plain model's reply."""


@dataclass(frozen=True, slots=True)
class Part:
    """More of an answer.

    Attributes:
        kind: What it belongs to.
        text: The text itself, without tags.
        raw: The same as the model wrote it, tags included. The `raw` of all parts together is the whole reply.
        begins: Whether a new part begins with it; of two reflections in a row each begins.
    """

    kind: PartKind
    text: str
    raw: str
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A whole answer.

    Attributes:
        raw: The reply as the model wrote it, tags included. Where we made it reflect, the same in the same tags.
        output: What is the answer: what stands in `<output>`, or all of a plain model's reply; `None` where a model
            that was to answer in tags did not.
        thinking: Its reasoning, reflections included; nothing where there is none.
        reflections: The text of each reflection.
        faults: What is not as it should be in its tags, as `tags.Parsed` has it; none for a plain model.
        finish_reason: `stop`, `length`, or whatever else the model says.
        prompt_tokens: Tokens that were sent, over all requests that the answer took.
        completion_tokens: Tokens that were written, likewise.
    """

    raw: str
    output: str | None
    thinking: str
    reflections: tuple[str, ...]
    faults: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
