"""The tags that models write around their reasoning: one grammar for training, evaluation, chat and pages.

    <thinking> ... <reflection> ... </reflection> ... </thinking> <output> ... </output>

Tags are told in any case, and none inside a fenced code block. `<reflection>` counts inside `<thinking>` and, leniently
so, beside it. The answer is the first `<output>` that stands in nothing else, to its close or to the end of the text. A
`<thinking>` that is never closed goes on to the end, so that there is no answer. Other tags are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

__all__ = ["Block", "Parsed", "Scanner", "Span", "Tag", "TagName", "parse", "reflect", "split_think", "write"]

TagName = Literal["thinking", "reflection", "output"]
Span = tuple[int, int]
"""Characters of a text, as (begin, end)."""

_TAG = re.compile(r"<(?P<closing>/?)(?P<name>thinking|reflection|output)>", re.IGNORECASE)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"[ \t]*(?P<marks>`{3,}|~{3,})")
_OPEN = re.compile(r"\s*<think>", re.IGNORECASE)
_CLOSE = re.compile(r"</think>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that counts.

    Attributes:
        name: Which.
        closing: Whether it closes.
        span: Where it stands.
    """

    name: TagName
    closing: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between an opening tag and its closing one.

    Attributes:
        name: The tag.
        text: The text in it, without the white space around.
        span: Where that text stands.
        whole: The same with the tags.
        closed: Whether it has a closing tag of its own.
        inside: Whether it stands in another block.
    """

    name: TagName
    text: str
    span: Span
    whole: Span
    closed: bool
    inside: bool


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text with its blocks.

    Attributes:
        blocks: Every block, in the order of their opening tags.
        faults: What is not as it should be, as short names that can be counted, each once: `no-thinking`, `no-output`,
            `unclosed-thinking`, `unclosed-reflection`, `unclosed-output`, `second-thinking`, `second-output`,
            `order` (a block after the answer), `misplaced` (an opening tag where it does not count), `stray` (a closing
            tag without an opening one).
    """

    blocks: tuple[Block, ...]
    faults: tuple[str, ...]

    @property
    def thinking_block(self) -> Block | None:
        """The first `<thinking>`."""
        return self._first("thinking")

    @property
    def reflection_blocks(self) -> tuple[Block, ...]:
        """Every `<reflection>`."""
        return tuple(block for block in self.blocks if block.name == "reflection")

    @property
    def output_block(self) -> Block | None:
        """The first `<output>`."""
        return self._first("output")

    @property
    def thinking(self) -> str | None:
        """The text of the first `<thinking>`, reflections included; `None` where there is none."""
        return self.thinking_block.text if self.thinking_block else None

    @property
    def reflections(self) -> tuple[str, ...]:
        """The text of every `<reflection>`."""
        return tuple(block.text for block in self.reflection_blocks)

    @property
    def output(self) -> str | None:
        """The answer; `None` where there is none."""
        return self.output_block.text if self.output_block else None

    @property
    def well_formed(self) -> bool:
        """Whether it thinks once and answers once, in that order, and closes all that it opens."""
        return not self.faults

    def _first(self, name: TagName) -> Block | None:
        return next((block for block in self.blocks if block.name == name), None)


def parse(text: str) -> Parsed:
    """Find the blocks of an answer."""
    reader = _Reader(text)
    scanner = Scanner()
    for line in _LINE.findall(text):
        for tag in scanner.tags(line):
            reader.take(tag)
    return reader.end()


def reflect(text: str) -> str:
    """A text as a `<reflection>`."""
    return f"<reflection>\n{text}\n</reflection>"


def write(thinking: str, output: str) -> str:
    """Compose an answer.

    Args:
        thinking: The reasoning. What it corrects stands in it as `reflect` writes that.
        output: The answer proper.

    Raises:
        ValueError: A text holds tags that do not belong there, or a code block that is left open.
    """
    text = f"<thinking>\n{thinking}\n</thinking>\n<output>\n{output}\n</output>"
    parsed = parse(text)
    if not parsed.well_formed or (parsed.thinking, parsed.output) != (thinking.strip(), output.strip()):
        raise ValueError(f"the parts make no answer: {', '.join(parsed.faults) or 'they hold tags of their own'}")
    return text


class Scanner:
    """Finds the tags that count, line by line, so that a text may still be growing."""

    def __init__(self) -> None:
        self._fence = ""
        self._begin = 0

    def tags(self, line: str) -> Iterator[Tag]:
        """The tags of the next line, which ends with its newline unless the text ends there.

        A code block opens at the beginning of a line or after a tag, and closes with a line of as many marks or more,
        after which a tag may follow at once.
        """
        begin, self._begin = self._begin, self._begin + len(line)
        place = self._after_fence(line) if self._fence else 0
        while place is not None:
            if marks := _opens(line, place):
                self._fence = marks
                return
            found = _TAG.search(line, place)
            if found is None:
                return
            place = found.end()
            name = cast("TagName", found["name"].lower())
            yield Tag(name, bool(found["closing"]), (begin + found.start(), begin + place))

    def _after_fence(self, line: str) -> int | None:
        """Where the line goes on after the end of the code block; `None` where the block does not end in it."""
        found = _FENCE.match(line)
        if found is None or not found["marks"].startswith(self._fence):
            return None
        if line[found.end() :].strip() and not _TAG.match(line, found.end()):
            return None
        self._fence = ""
        return found.end()


def _opens(line: str, place: int) -> str:
    """The marks of the code block that opens at a place of a line; nothing where none does."""
    found = _FENCE.match(line, place)
    if found is None:
        return ""
    rest = line[found.end() :]
    plain = _TAG.search(rest) is None and not (found["marks"][0] == "`" and "`" in rest)
    return found["marks"] if plain else ""


class _Reader:
    """Makes blocks of tags."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[Tag] = []
        self._blocks: list[Block] = []
        self._faults: list[str] = []
        self._seen: set[TagName] = set()

    def take(self, tag: Tag) -> None:
        """Take the next tag. While an answer is open only its own close counts."""
        names = [opened.name for opened in self._open]
        if names == ["output"] and not (tag.closing and tag.name == "output"):
            self._fault("misplaced")
        elif not tag.closing:
            self._opening(tag, names)
        elif tag.name not in names:
            self._fault("stray")
        else:
            while self._open[-1].name != tag.name:
                self._close(tag.span[0], None)
            self._close(tag.span[0], tag)

    def end(self) -> Parsed:
        """The blocks, at the end of the text."""
        while self._open:
            self._close(len(self._text), None)
        for name in ("thinking", "output"):
            if name not in self._seen:
                self._fault(f"no-{name}")
        self._blocks.sort(key=lambda block: block.whole[0])
        return Parsed(tuple(self._blocks), tuple(self._faults))

    def _opening(self, tag: Tag, names: list[TagName]) -> None:
        if "reflection" in names or (names and tag.name != "reflection"):
            self._fault("misplaced")
            return
        if tag.name != "reflection" and tag.name in self._seen:
            self._fault(f"second-{tag.name}")
        elif "output" in self._seen:
            self._fault("order")
        self._seen.add(tag.name)
        self._open.append(tag)

    def _close(self, place: int, closing: Tag | None) -> None:
        opened = self._open.pop()
        if closing is None:
            self._fault(f"unclosed-{opened.name}")
        inner = self._text[opened.span[1] : place]
        text = inner.strip()
        begin = opened.span[1] + (len(inner) - len(inner.lstrip()) if text else 0)
        self._blocks.append(
            Block(
                name=opened.name,
                text=text,
                span=(begin, begin + len(text)),
                whole=(opened.span[0], closing.span[1] if closing else place),
                closed=closing is not None,
                inside=bool(self._open),
            )
        )

    def _fault(self, name: str) -> None:
        if name not in self._faults:
            self._faults.append(name)


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
