"""What changed between two texts, word by word; in Chinese and Japanese character by character."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["LONGEST", "Piece", "difference"]

Kind = Literal["same", "removed", "added"]
LONGEST = 20_000
"""Texts of more characters are not compared."""
_MOST = 6_000
"""So many tokens are compared at most; the time grows with the product of both counts."""
_ALIKE = 0.2
"""Texts that share less are two texts, and marks on nearly every word would tell nothing."""
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003134f]|[^\W_]+(?:['’][^\W_]+)?|\s+|.", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of two texts.

    Attributes:
        kind: `same`: it stands in both; `removed`: in the old one only; `added`: in the new one only.
        text: The part.
    """

    kind: Kind
    text: str


def difference(old: str, new: str) -> list[Piece] | None:
    """What changed from one text to another.

    The pieces that are not `added` are together the old text, those that are not `removed` the new one.

    Returns:
        The pieces, in order; `None` where the texts are too long to compare, or have next to nothing in common.
    """
    from rapidfuzz.distance import Indel

    if old == new:
        return [Piece("same", new)] if new else []
    if max(len(old), len(new)) > LONGEST:
        return None
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    if max(len(before), len(after)) > _MOST:
        return None
    steps = Indel.opcodes(before, after)
    shared = sum(len("".join(before[step.src_start : step.src_end]).strip()) for step in steps if step.tag == "equal")
    if old and new and shared < _ALIKE * min(len(old), len(new)):
        return None
    pieces: list[Piece] = []
    for step in steps:
        if step.tag == "equal":
            pieces.append(Piece("same", "".join(before[step.src_start : step.src_end])))
        else:  # Indel knows no replacement: a step removes or adds
            pieces.append(Piece("removed", "".join(before[step.src_start : step.src_end])))
            pieces.append(Piece("added", "".join(after[step.dest_start : step.dest_end])))
    return _joined(pieces)


def _joined(pieces: list[Piece]) -> list[Piece]:
    """The pieces with what was removed and what was added in between put together, also over single spaces."""
    done: list[Piece] = []
    removed = added = ""
    for place, piece in enumerate(pieces):
        if piece.kind == "removed":
            removed += piece.text
        elif piece.kind == "added":
            added += piece.text
        elif removed and added and piece.text.isspace() and place + 1 < len(pieces) and "\n" not in piece.text:
            removed += piece.text
            added += piece.text
        else:
            done += [Piece("removed", removed)] if removed else []
            done += [Piece("added", added)] if added else []
            done.append(piece)
            removed = added = ""
    done += [Piece("removed", removed)] if removed else []
    done += [Piece("added", added)] if added else []
    return done
