"""From lessons to conversations, as a chat template takes them."""

from __future__ import annotations

from dataclasses import dataclass

from reflectune.lessons import Lesson, Span
from reflectune.recipe.train import LossOn
from reflectune.records import Failure

STAGE = "train"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of which those of the assistant are learnt from.

    Attributes:
        id: The row's id.
        turns: The messages, oldest first: `role`, `content`, and of a user's the `input` where it stands apart.
        silent: The characters of the last turn that carry no loss.
    """

    id: str
    turns: tuple[dict[str, str], ...]
    silent: tuple[Span, ...] = ()

    def refused(self, reason: str, detail: str) -> Failure:
        """Say why it is not learnt from."""
        return Failure(id=self.id, stage=STAGE, reason=reason, detail=detail)


def conversation_of(lesson: Lesson, loss_on: LossOn, *, takes_input: bool) -> Conversation:
    """A lesson as turns.

    Args:
        lesson: The lesson.
        loss_on: Which tokens of its answer carry loss.
        takes_input: Whether the template has a place of its own for the input.
    """
    example = lesson.example
    turns = [{"role": "system", "content": example.system}] if example.system else []
    turns += [{"role": turn.role, "content": turn.content} for turn in example.history]
    if takes_input and example.input.strip():
        turns.append({"role": "user", "content": example.instruction, "input": example.input})
    else:
        turns.append({"role": "user", "content": example.question})
    turns.append({"role": "assistant", "content": example.response})
    return Conversation(lesson.id, tuple(turns), lesson.silent(loss_on))
