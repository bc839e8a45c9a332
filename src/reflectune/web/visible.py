"""Make marks that cannot be seen visible: they can turn a text around, or hide a part of it."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["visible"]

_SHOWN_AS_THEY_ARE = "\n\t"
_HIDDEN = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """A text whose invisible marks are written out, as `[U+202E]`; a carriage return is dropped before a newline.

    Joiners stay as they are, without which emoji and some scripts fall apart.
    """
    return _HIDDEN.sub(_written, text.replace("\r\n", "\n"))


def _written(mark: re.Match[str]) -> str:
    character = mark[0]
    if character in _SHOWN_AS_THEY_ARE:
        return character
    name = unicodedata.name(character, "")
    return f"[U+{ord(character):04X}{' ' + name if name else ''}]"
