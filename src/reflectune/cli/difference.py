"""Two texts as one coloured difference, word by word, or character by character where there are no spaces."""

from __future__ import annotations

import difflib
import re

from rich.text import Text

_PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|\w+|\s+|[^\w\s]")
_ALIKE = 0.4
_LONGEST = 700


def difference(old: str, new: str) -> Text:
    """What went and what came: red and struck through, then green.

    Texts that have little in common are shown one after the other. Where there is no colour, `-` and `+` lines stand
    in.
    """
    old, new = _shortened(old), _shortened(new)
    before, after = _PIECE.findall(old), _PIECE.findall(new)
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    if matcher.ratio() < _ALIKE:
        return both(old, new)
    shown = Text()
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind == "equal":
            shown.append("".join(before[start:end]))
            continue
        shown.append("".join(before[start:end]), style="red strike")
        shown.append("".join(after[new_start:new_end]), style="green")
    return shown


def both(old: str, new: str) -> Text:
    """The old text on lines that begin with `-`, the new one on lines that begin with `+`."""
    lines = [(f"- {line}\n", "red") for line in _shortened(old).splitlines()]
    lines += [(f"+ {line}\n", "green") for line in _shortened(new).splitlines()]
    return Text.assemble(*lines)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
