"""The answer that a reply gives, where nobody told the model how to mark it.

Nothing is guessed: a reply that states two answers, or none, has none.
"""

from __future__ import annotations

import re

from reflectune.answers.letters import LETTERS, stated_letter
from reflectune.answers.numbers import NUMBER, number_of
from reflectune.answers.rules import boxed, is_answer
from reflectune.recipe.traces import TraceForm

__all__ = ["LETTERS", "answer_in", "last_number", "stated_letter"]

_SIGNED = re.compile(rf"(?<![\w.,])(?:(?<![\d)\]}}\s])[-−]|(?:(?<=\s)|^)[-−](?=[\d.$]))?\s?\$?\s?(?:{NUMBER})(?:/\d+)?")
_MARK = "####"
_LINE = 120
_BEFORE = re.compile(r"\W*(?:(?:the\s+)?(?:final\s+)?answer(?:\s+is)?|(?:最终)?答案[是为]?)?\W*", re.IGNORECASE)
_HEADING = re.compile(r"\s*[-–—.:)]\W*\w")
"""What makes a number that of a heading: `2. Adding up`."""
_WORD = r"[^\W\d_]+"
_UNIT = re.compile(
    rf"[^\w\n(=×+÷<>≈]*(?:{_WORD}(?:[^\w\n(=×+÷<>≈]+{_WORD}){{0,3}})?[^\w\n(=×+÷<>≈]*(?:\([^\n]*\)?)?\W*"
)
"""What may stand between a number and the end of its line: signs, a unit, something in parentheses."""
_SAID = re.compile(r"(?:answer|result)\s*(?:is|:|=)\s*:?\s*(?P<said>[^\n]+)", re.IGNORECASE)
_DELIMITERS = re.compile(r"(?<!\\)\$\$?|\\[()\[\]]")


def answer_in(form: TraceForm, text: str, options: int | None = None) -> str | None:
    """The answer that a text in free words gives; `None` where it gives none that can be read.

    Args:
        form: What kind of answer the question has.
        text: What the model said.
        options: How many options the question has, where it has options; `None` where that is not known.
    """
    if form == "choice":
        return stated_letter(text, options)
    if form == "gsm8k":
        return _number_in(text)
    if form == "math":
        return _formula_in(text)
    return text.strip() or None


def last_number(text: str) -> str | None:
    """The last number of a text as it is written; a minus counts as its sign where nothing is subtracted."""
    found = [match[0] for match in _SIGNED.finditer(text)]
    return found[-1].strip() if found else None


def _number_in(text: str) -> str | None:
    """The number that the last `####` marks, else that in the last box, else the last of all."""
    if (marked := _marked(text)) is not None:
        return marked
    box = boxed(text)
    if box is not None:
        return box if number_of(box) is not None else last_number(box) or last_number(text)
    return last_number(text)


def _marked(text: str) -> str | None:
    """The number alone on a line after `####`, which begins headings too."""
    for line in reversed(text.splitlines()):
        _, mark, after = line.rpartition(_MARK)
        if not mark or len(after) > _LINE or (found := _SIGNED.search(after)) is None:
            continue
        rest = after[found.end() :]
        if _BEFORE.fullmatch(after[: found.start()]) and not _HEADING.match(rest) and _UNIT.fullmatch(rest):
            return found[0].strip()
    return None


def _formula_in(text: str) -> str | None:
    """What is in the last box, else what the last sentence about the answer says, else the text where it is one."""
    if (box := boxed(text)) is not None:
        return box
    said = [match["said"] for match in _SAID.finditer(text)]
    candidate = _DELIMITERS.sub("", said[-1] if said else text).strip().rstrip(".").strip()
    return candidate if is_answer("math", candidate) else None
