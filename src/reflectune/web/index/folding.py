"""What text is searched for, and how it is compared.

A question is a list of words, or of phrases in double quotes; a row answers it where each of them stands in one of its
texts, small or capital. Text is looked up by its trigrams, so that Chinese, which has no spaces, is found too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["GAP", "folded", "joined", "phrase", "sought"]

GAP = "\x1f\x1f"
"""Stands behind every text: no word reaches over it, and the last two characters of a text begin trigrams too."""
_NOT_KEPT = re.compile("[\x00\x1f\ud800-\udfff]")
_SOUGHT = re.compile(r'"([^"]*)"?|([^\s"]+)')


def folded(text: str) -> str:
    """A text as it is compared: without capitals, and with a stand-in for what the index cannot hold."""
    return _NOT_KEPT.sub("\ufffd", text).casefold()


def joined(texts: Iterable[str]) -> str:
    """The different texts of a row as one, folded."""
    return "".join(folded(text) + GAP for text in dict.fromkeys(texts) if text)


def sought(question: str) -> list[str]:
    """The words and phrases of a question, folded."""
    found = (folded(match[1] if match[1] is not None else match[2]) for match in _SOUGHT.finditer(question))
    return list(dict.fromkeys(word for word in found if word))


def phrase(text: str) -> str:
    """A text as a phrase of the full-text search's language."""
    return '"' + text.replace('"', '""') + '"'
