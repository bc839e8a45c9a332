"""What an answer is made of, as it streams."""

from __future__ import annotations

from dataclasses import dataclass

from reflectune.tags import Part, PartKind

__all__ = ["Answered", "Part", "PartKind"]


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
