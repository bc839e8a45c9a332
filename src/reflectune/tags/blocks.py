"""What the tags of a text enclose, and what is not as it should be."""

from __future__ import annotations

from dataclasses import dataclass

from reflectune.tags.scanner import Scanner, Span, Tag, TagName

__all__ = ["Block", "Nesting", "Parsed", "parse", "reflect", "write"]


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
    nesting = Nesting()
    for tag in Scanner().tags(text):
        nesting.take(tag)
    return nesting.end(text)


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


@dataclass(frozen=True, slots=True)
class _Closed:
    """A block that came to its end at a place, by its closing tag or for want of one."""

    opening: Tag
    place: int
    closing: Tag | None
    inside: bool


class Nesting:
    """Which tags open and close blocks: the rules, tag by tag.

    Attributes:
        open: The blocks that are open, the outermost first.
    """

    def __init__(self) -> None:
        self.open: list[TagName] = []
        self._opening: list[Tag] = []
        self._closed: list[_Closed] = []
        self._faults: dict[str, None] = {}
        self._seen: set[TagName] = set()

    @property
    def answered(self) -> bool:
        """Whether the answer has begun."""
        return "output" in self._seen

    def take(self, tag: Tag) -> bool:
        """Take the next tag, and say whether it opens or closes a block; else it is text like any other.

        While an answer is open only its own close counts.
        """
        if self.open == ["output"] and not (tag.closing and tag.name == "output"):
            return self._fault("misplaced")
        if not tag.closing:
            return self._opens(tag)
        if tag.name not in self.open:
            return self._fault("stray")
        while self.open[-1] != tag.name:
            self._close(tag.span[0], None)
        self._close(tag.span[0], tag)
        return True

    def end(self, text: str) -> Parsed:
        """The blocks, at the end of the text."""
        while self.open:
            self._close(len(text), None)
        for name in ("thinking", "output"):
            if name not in self._seen:
                self._fault(f"no-{name}")
        blocks = sorted((_block(text, closed) for closed in self._closed), key=lambda block: block.whole[0])
        return Parsed(tuple(blocks), tuple(self._faults))

    def _opens(self, tag: Tag) -> bool:
        if "reflection" in self.open or (self.open and tag.name != "reflection"):
            return self._fault("misplaced")
        if tag.name != "reflection" and tag.name in self._seen:
            self._fault(f"second-{tag.name}")
        elif self.answered:
            self._fault("order")
        self._seen.add(tag.name)
        self._opening.append(tag)
        self.open.append(tag.name)
        return True

    def _close(self, place: int, closing: Tag | None) -> None:
        self.open.pop()
        opening = self._opening.pop()
        if closing is None:
            self._fault(f"unclosed-{opening.name}")
        self._closed.append(_Closed(opening, place, closing, inside=bool(self.open)))

    def _fault(self, name: str) -> bool:
        self._faults[name] = None
        return False


def _block(text: str, closed: _Closed) -> Block:
    opening, closing = closed.opening, closed.closing
    inner = text[opening.span[1] : closed.place]
    stripped = inner.strip()
    begin = opening.span[1] + (len(inner) - len(inner.lstrip()) if stripped else 0)
    return Block(
        name=opening.name,
        text=stripped,
        span=(begin, begin + len(stripped)),
        whole=(opening.span[0], closing.span[1] if closing else closed.place),
        closed=closing is not None,
        inside=closed.inside,
    )
