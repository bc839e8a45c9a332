"""What a model is sent of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from reflectune.records import Message
from reflectune.tags import parse, split_think

__all__ = ["history", "opening", "without_thinking"]

_NOTHING = "..."
"""What an assistant is shown to have said who only thought: most chat templates take no empty turn."""


def history(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation without old thinking: of what an assistant said before only the answers are kept.

    Tags are looked for in the assistant's turns alone.
    """
    return tuple(
        Message(turn.role, without_thinking(turn.content)) if turn.role == "assistant" else turn for turn in messages
    )


def without_thinking(text: str) -> str:
    """The answer in a reply, or what of it stands in no tag where it has none."""
    thought, rest = split_think(text)
    parsed = parse(rest)
    if parsed.output is not None:
        return parsed.output or _NOTHING
    outer = [block for block in parsed.blocks if not block.inside]
    if thought is None and not outer:
        return text if text.strip() else _NOTHING
    begins = [0, *(block.whole[1] for block in outer)]
    ends = [*(block.whole[0] for block in outer), len(rest)]
    said = (rest[begin:end].strip() for begin, end in zip(begins, ends, strict=True))
    return "\n\n".join(filter(None, said)) or _NOTHING


def opening(messages: Sequence[Message], *systems: str) -> tuple[Message, ...]:
    """A conversation with one system prompt in front: many chat templates take no other.

    Args:
        messages: The conversation; what its own system prompts say goes after the others.
        systems: System prompts, in their order; empty ones are left out.
    """
    said = [*systems, *(turn.content for turn in messages if turn.role == "system")]
    system = "\n\n".join(text.strip() for text in said if text.strip())
    turns = [turn for turn in messages if turn.role != "system"]
    return (Message("system", system), *turns) if system else tuple(turns)
