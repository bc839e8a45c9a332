"""Which tags of a text count: those that no fenced code block hides."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

__all__ = ["Scanner", "Span", "Tag", "TagName"]

TagName = Literal["thinking", "reflection", "output"]
Span = tuple[int, int]
"""Characters of a text, as (begin, end)."""

_TAG = r"<(?P<closing>/?)(?P<name>thinking|reflection|output)>"
_ANY_CASE = re.IGNORECASE | re.ASCII
_A_TAG = re.compile(_TAG, _ANY_CASE)
_TAG_OR_END = re.compile(rf"{_TAG}|\n", _ANY_CASE)
_TAG_OR_END_OR_TICK = re.compile(rf"{_TAG}|[\n`]", _ANY_CASE)
_BLANKS = re.compile(r"[ \t\n]*")
_WHITE = re.compile(r"[^\S\n]*")
_MARKS = {mark: re.compile(f"{mark}*") for mark in "`~"}
_FEWEST_MARKS = 3
_WHOLE = tuple(f"<{slash}{name}>" for slash in ("", "/") for name in ("thinking", "reflection", "output"))
_BEGUN = frozenset(tag[:length] for tag in _WHOLE for length in range(1, len(tag)))
_LONGEST_BEGUN = max(map(len, _BEGUN))


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


class Scanner:
    """Finds the tags that count in a text that may still be growing.

    A code block opens with three or more marks at the beginning of a line or after a tag, unless a tag follows in the
    same line, or a backtick after backticks. It closes with a line of as many marks or more, after which a tag may
    follow at once. Whatever the pieces are in which the text comes, the tags are the same.

    Attributes:
        held: How many of the last characters may still become a tag.
        passing: Whether more text without `<` and line breaks changes nothing but the place: then `skip` will do.
    """

    def __init__(self) -> None:
        self.held = 0
        self.passing = False
        self._rest = ""
        self._begin = 0
        self._fence = ""
        self._opening = ""
        self._mark = ""
        self._count = 0
        self._found: list[Tag] = []
        self._waits = False
        self._read: Callable[[Scanner, str, int], int] = Scanner._at_edge

    def tags(self, chunk: str) -> list[Tag]:
        """The tags that more of the text brings to their end."""
        text = self._rest + chunk
        self._found, self._waits = [], False
        place, length = 0, len(text)
        while place < length and not self._waits:
            place = self._read(self, text, place)
        self._rest, self.held = text[place:], length - place
        self._begin += place
        read, plain = self._read, self._opening[:1] != "`"
        self.passing = not self._rest and (read is Scanner._in_code or (read is Scanner._in_line and plain))
        return self._found

    def skip(self, count: int) -> None:
        """Take note of so many characters that change nothing."""
        self._begin += count

    # Each of these reads on from a place and says how far it came; it may hand over to another one, or wait for more.

    def _at_edge(self, text: str, place: int) -> int:
        """Where a code block may open or close: blanks, in which lines may end, then marks."""
        place = _blank_to(_BLANKS, text, place)
        if place == len(text):
            return place
        if text[place] in _MARKS:
            self._mark, self._count = text[place], 0
            self._read = Scanner._in_marks
        else:
            self._read = Scanner._in_code if self._fence else Scanner._in_line
        return self._read(self, text, place)

    def _in_marks(self, text: str, place: int) -> int:
        end = _blank_to(_MARKS[self._mark], text, place)
        self._count += end - place
        if end == len(text):
            return end
        if not self._fence:
            self._opening = self._mark * self._count if self._count >= _FEWEST_MARKS else ""
            self._read = Scanner._in_line
        elif self._mark == self._fence[0] and self._count >= len(self._fence):
            self._read = Scanner._after_closing_marks
        else:
            self._read = Scanner._in_code
        return end

    def _in_line(self, text: str, place: int) -> int:
        """Outside of code, where tags count; perhaps in the line that opens a code block."""
        pattern = _TAG_OR_END_OR_TICK if self._opening[:1] == "`" else _TAG_OR_END
        found = pattern.search(text, place)
        if found is None:
            place = _begun(text, place)
            self._waits = place < len(text)
            return place
        if found["name"] is not None:
            self._take(found)
        elif found[0] == "\n":
            self._fence, self._opening = self._opening, ""
            self._read = Scanner._at_edge
        else:
            self._opening = ""
        return found.end()

    def _in_code(self, text: str, place: int) -> int:
        end = text.find("\n", place)
        if end < 0:
            return len(text)
        self._read = Scanner._at_edge
        return end + 1

    def _after_closing_marks(self, text: str, place: int) -> int:
        found = _A_TAG.match(text, place)
        if found is not None:
            self._fence = ""
            self._take(found)
            return found.end()
        self._waits = text[place] == "<" and _begun(text, place) == place
        if not self._waits:
            self._read = Scanner._after_the_block
        return place

    def _after_the_block(self, text: str, place: int) -> int:
        """In what must be white if the block is to be closed."""
        place = _blank_to(_WHITE, text, place)
        if place == len(text):
            return place
        if text[place] != "\n":
            self._read = Scanner._in_code
            return place
        self._fence = ""
        self._read = Scanner._at_edge
        return place + 1

    def _take(self, found: re.Match[str]) -> None:
        span = (self._begin + found.start(), self._begin + found.end())
        self._found.append(Tag(cast("TagName", found["name"].lower()), bool(found["closing"]), span))
        self._opening = ""
        self._read = Scanner._at_edge


def _blank_to(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where what a pattern that may match nothing matches comes to its end."""
    found = pattern.match(text, place)
    return found.end() if found else place


def _begun(text: str, place: int) -> int:
    """Where a tag begins that the end of the text breaks off; the end, where there is none."""
    last = text.rfind("<", max(place, len(text) - _LONGEST_BEGUN))
    return last if last >= 0 and text[last:].lower() in _BEGUN else len(text)
