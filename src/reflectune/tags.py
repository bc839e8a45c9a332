"""Tags that models write around their reasoning."""

from __future__ import annotations

import re

__all__ = ["split_think"]

_OPEN = re.compile(r"\s*<think>", re.IGNORECASE)
_CLOSE = re.compile(r"</think>", re.IGNORECASE)


def split_think(text: str) -> tuple[str | None, str]:
    """Split a leading `<think>` block off a reply.

    Only a block that the reply begins with counts: the tag anywhere else is text like any other.

    Args:
        text: The reply.

    Returns:
        The reasoning, `None` where there is no such block, and the text after it. A block that is never closed is all
        reasoning: the text is then empty.
    """
    opening = _OPEN.match(text)
    if opening is None:
        return None, text
    closing = _CLOSE.search(text, opening.end())
    if closing is None:
        return text[opening.end() :].strip(), ""
    return text[opening.end() : closing.start()].strip(), text[closing.end() :].lstrip()
