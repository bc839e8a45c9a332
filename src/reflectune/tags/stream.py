"""A reply that is still being written, as parts: the grammar of `parse`, piece by piece."""

from __future__ import annotations

from reflectune.tags.blocks import Nesting, Parsed
from reflectune.tags.parts import Part, PartKind, Runs
from reflectune.tags.scanner import Scanner, Tag
from reflectune.tags.think import Think

__all__ = ["Stream"]


class Stream:
    """Reads a reply while it is being written.

    Whatever the pieces are in which it comes, the parts say the same, and what `parse` says of the whole reply. Only
    what may become a tag, and white space that may be the end of a part, is held back. The parts of the kind `output`
    are the answer: of a second `<output>` the text is `text`.

    Args:
        think: Whether the reply may begin with a `<think>` block, which then is thinking; `parsed` tells of what
            follows it.
    """

    def __init__(self, *, think: bool = False) -> None:
        self._think = Think() if think else None
        self._scanner = Scanner()
        self._nesting = Nesting()
        self._runs = Runs()
        self._read: list[str] = []
        self._held = ""
        self._begin = 0
        self._skipped = 0
        self._parsed: Parsed | None = None

    @property
    def parsed(self) -> Parsed:
        """What `parse` says of the reply, once it has ended."""
        assert self._parsed is not None, "the reply has not ended"
        return self._parsed

    def feed(self, chunk: str) -> list[Part]:
        """More of the reply."""
        if self._scanner.passing and "<" not in chunk and "\n" not in chunk:  # most of the pieces of most replies
            self._read.append(chunk)
            self._skipped += len(chunk)
            return self._runs.say(chunk)
        if self._think is None:
            return self._more(chunk)
        parts = self._after_thinking(self._think.feed(chunk))
        if self._think.over:
            self._think = None
        return parts

    def end(self) -> list[Part]:
        """What is held back, at the end of the reply."""
        parts = self._after_thinking(self._think.end()) if self._think is not None else []
        parts += self._runs.end(self._held)
        self._held = ""
        self._parsed = self._nesting.end("".join(self._read))
        return parts

    def _after_thinking(self, split: list[Part]) -> list[Part]:
        """Parts of a reply that may begin with a `<think>` block: those of the text after it are found here."""
        parts = []
        for part in split:
            parts += [part] if part.kind == "thinking" else self._more(part.raw)
        return parts

    def _more(self, chunk: str) -> list[Part]:
        self._read.append(chunk)
        if self._skipped:
            self._scanner.skip(self._skipped)
            self._begin += self._skipped
            self._skipped = 0
        tags = self._scanner.tags(chunk)
        text = self._held + chunk
        parts: list[Part] = []
        place = 0
        for tag in tags:
            first, after = (at - self._begin for at in tag.span)
            answered = self._nesting.answered
            if not self._nesting.take(tag):
                continue
            parts += self._runs.say(text[place:first])
            kind: PartKind = "text" if tag.name == "output" and answered else tag.name
            parts.append(self._turn(tag, kind, text[first:after]))
            place = after
        end = len(text) - self._scanner.held
        self._held = text[end:]
        self._begin += end
        return [*parts, *self._runs.say(text[place:end])]

    def _turn(self, tag: Tag, kind: PartKind, raw: str) -> Part:
        if not tag.closing:
            return self._runs.opens(kind, raw)
        return self._runs.closes(raw, self._nesting.open[-1] if self._nesting.open else "text")
