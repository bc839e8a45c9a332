"""The `<think>` block that some models begin with."""

from __future__ import annotations

import re

from reflectune.tags.parts import Part, Runs

__all__ = ["Think", "split_think"]

_OPEN = "<think>"
_CLOSE = "</think>"
_CLOSING = re.compile(_CLOSE, re.IGNORECASE | re.ASCII)


class Think:
    """Splits a leading `<think>` block off a reply that is still being written.

    Only a block that the reply begins with counts: the tag anywhere else is text like any other.

    Attributes:
        found: Whether there is such a block.
        over: Whether it is known that there is none, or it is at its end: from then on everything is text.
    """

    def __init__(self) -> None:
        self.found = False
        self.over = False
        self._held: list[str] = []
        self._runs = Runs("thinking")
        self._begun = False

    def feed(self, chunk: str) -> list[Part]:
        """More of the reply: `thinking` is what stands in the block, `text` what follows it.

        The text begins after the white space that follows a block. Where there is no block it is the whole reply.
        """
        if self.over:
            return self._text(chunk)
        if self.found:
            return self._inside(chunk)
        if not (chunk.strip() or (self._held and self._held[-1].strip())):  # joined once there is something to see
            self._held.append(chunk)
            return []
        reply = "".join([*self._held, chunk])
        begun = reply.lstrip()
        if not begun[: len(_OPEN)].lower().startswith(_OPEN[: len(begun)]):
            self._held, self.over = [], True
            return self._text(reply)
        if len(begun) < len(_OPEN):
            self._held = [reply]
            return []
        self._held, self.found = [], True
        first = len(reply) - len(begun) + len(_OPEN)
        return [self._runs.opens("thinking", reply[:first]), *self._inside(reply[first:])]

    def end(self) -> list[Part]:
        """What is held back, at the end of the reply. A block that is never closed is all thinking."""
        rest = "".join(self._held)
        if self.over:
            return []
        if self.found:
            return self._runs.end(rest)
        return [Part("text", rest, rest, begins=True)] if rest else []

    def _inside(self, chunk: str) -> list[Part]:
        if not self._held and "<" not in chunk:
            return self._runs.say(chunk)
        text = "".join([*self._held, chunk])
        found = _CLOSING.search(text)
        if found is None:
            last = text.rfind("<", max(0, len(text) - len(_CLOSE) + 1))
            safe = last if last >= 0 and _CLOSE.startswith(text[last:].lower()) else len(text)
            self._held = [text[safe:]] if safe < len(text) else []
            return self._runs.say(text[:safe])
        self._held, self.over = [], True
        parts = [*self._runs.say(text[: found.start()]), self._runs.closes(found[0], "text")]
        return [*parts, *self._text(text[found.end() :])]

    def _text(self, chunk: str) -> list[Part]:
        if not chunk:
            return []
        shown = chunk if self._begun or not self.found else chunk.lstrip()
        begins = bool(shown) and not self._begun
        self._begun = self._begun or bool(shown)
        return [Part("text", shown, chunk, begins)]


def split_think(text: str) -> tuple[str | None, str]:
    """Split a leading `<think>` block off a reply.

    Args:
        text: The reply.

    Returns:
        The reasoning, `None` where there is no such block, and the text after it. A block that is never closed is all
        reasoning: the text is then empty.
    """
    think = Think()
    parts = [*think.feed(text), *think.end()]
    thought = "".join(part.text for part in parts if part.kind == "thinking")
    return thought if think.found else None, "".join(part.text for part in parts if part.kind == "text")
