"""What a reply is made of while it is being written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Part", "PartKind", "Runs"]

PartKind = Literal["thinking", "reflection", "output", "text"]
"""`text` is what stands in no tag: all of a plain model's reply."""


@dataclass(frozen=True, slots=True)
class Part:
    """More of a reply.

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


class Runs:
    """Makes parts of texts and tags: what belongs together is a run, without the white space around it.

    White space is held back until it is known whether more of the run follows.

    Args:
        kind: What the first run is.
    """

    def __init__(self, kind: PartKind = "text") -> None:
        self._kind: PartKind = kind
        self._last: PartKind | None = None  # whatever has no run of its own goes with the one that began last
        self._begun = False
        self._empty = True
        self._white: list[str] = []

    def say(self, text: str) -> list[Part]:
        """More of the run."""
        raw = text.rstrip()
        if not raw:
            if text:
                self._white.append(text)
            return []
        white = text[len(raw) :]
        if self._white:
            raw = self._release() + raw
        if white:
            self._white.append(white)
        if not self._empty:
            return [Part(self._kind, raw, raw)]
        part = Part(self._kind, raw.lstrip(), raw, begins=not self._begun)
        self._begun, self._empty, self._last = True, False, self._kind
        return [part]

    def opens(self, kind: PartKind, tag: str) -> Part:
        """A run begins with a tag."""
        raw = self._release() + tag
        self._kind = self._last = kind
        self._begun = self._empty = True
        return Part(kind, "", raw, begins=True)

    def closes(self, tag: str, then: PartKind) -> Part:
        """A run ends with a tag; what comes then may be a run of another kind."""
        part = Part(self._last or self._kind, "", self._release() + tag)
        self.turns(then)
        return part

    def turns(self, kind: PartKind) -> None:
        """What comes now is a run of another kind, if anything comes."""
        self._kind = kind
        self._begun, self._empty = False, True

    def end(self, rest: str = "") -> list[Part]:
        """What is held back, at the end of the reply.

        Args:
            rest: More of the run.
        """
        parts = self.say(rest)
        if raw := self._release():
            parts.append(Part(self._last or self._kind, "", raw, begins=self._last is None))
        return parts

    def _release(self) -> str:
        white, self._white = "".join(self._white), []
        return white
