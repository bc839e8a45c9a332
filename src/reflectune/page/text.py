"""Texts of strangers on a page: whole or cut, with nothing in them that hides or turns round what stands beside it."""

from __future__ import annotations

import re
from html import escape

__all__ = ["cut", "shown", "visible"]

_NO_CHARACTERS = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
_UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ud800-\udfff"
    f"{_NO_CHARACTERS}]"
)
"""Control characters but tab and line feed, what turns the direction of writing, what takes no room, half characters,
which no file can hold, and numbers that stand for no character, of which XML forbids some."""


def visible(text: str) -> str:
    """A text in which characters that cannot be seen stand as their numbers, such as `[U+202E]`."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, with a note of how many were left out."""
    return text if len(text) <= most else f"{text[:most]} … [{len(text) - most:,} more characters]"


def shown(text: str) -> str:
    """A text as HTML: escaped, with marks in place of what cannot be seen."""
    plain = text.replace("\r\n", "\n")
    parts, end = [], 0
    for found in _UNSEEN.finditer(plain):
        parts += [escape(plain[end : found.start()]), f"<span class=unseen>U+{ord(found[0]):04X}</span>"]
        end = found.end()
    return "".join([*parts, escape(plain[end:])])
