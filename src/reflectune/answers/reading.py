"""The answer that a reply gives, where nobody told the model how to mark it.

Nothing is guessed: a reply that states two answers, or none, has none.
"""

from __future__ import annotations

import re

from reflectune.answers.numbers import NUMBER, number_of
from reflectune.answers.rules import boxed, is_answer
from reflectune.recipe.traces import TraceForm

__all__ = ["answer_in", "last_number", "stated_letter"]

LETTERS = "ABCDEFGHIJ"

_SIGNED = re.compile(rf"(?<![\w.,])(?:(?<![\d)\]}}\s])[-−]|(?:(?<=\s)|^)[-−](?=[\d.$]))?\s?\$?\s?(?:{NUMBER})(?:/\d+)?")
_MARK = "####"
_STATED = re.compile(
    r"""(?:answer|option|choice)(?:\s+(?:here|choice|option|letter))?\W{0,4}
        (?:\s*(?:is|would\s+be|must\s+be|should\s+be|:|=))\W{0,4}
        (?:(?:the\s+)?(?:option|choice|letter|answer)\W{0,4}\s*)?
        (?:\\(?:text|mathrm|mathbf|boxed)\{)?\(?(?P<letter>[A-J])(?![A-Za-z'’])
        (?P<more>\W{0,4}\s*(?:or|and|/)\W{0,3}\(?[A-J](?![A-Za-z'’]))?""",
    re.VERBOSE | re.IGNORECASE,
)
_CALLED = re.compile(
    r"""(?<![\w'’])\(?(?P<letter>[A-J])(?![A-Za-z'’])\W{0,3}\s*
        (?:is|would\s+be|must\s+be)\s+(?:the\s+)?(?:only\s+|most\s+)?
        (?:correct|right|best|(?:final\s+)?answer)\b(?P<more>)""",
    re.VERBOSE,
)
_FORMS = (
    re.compile(r"\*\*\(?(?P<letter>[A-J])(?![A-Za-z'’])[^*\n]*\*\*"),
    re.compile(r"^\W{0,3}\(?(?P<letter>[A-J])\)?[.:)]?\W{0,3}$", re.MULTILINE),
    re.compile(r"^\W{0,3}\(?(?P<letter>[A-J])[).:](?=\s)", re.MULTILINE),
    re.compile(r"\((?P<letter>[A-J])\)"),
)
_SAID = re.compile(r"(?:answer|result)\s*(?:is|:|=)\s*:?\s*(?P<said>[^\n]+)", re.IGNORECASE)
_DELIMITERS = re.compile(r"(?<!\\)\$\$?|\\[()\[\]]")


def answer_in(form: TraceForm, text: str) -> str | None:
    """The answer that a text in free words gives; `None` where it gives none that can be read.

    Args:
        form: What kind of answer the question has.
        text: What the model said.
    """
    if form == "choice":
        return stated_letter(text)
    if form == "gsm8k":
        return _number_in(text)
    if form == "math":
        return _formula_in(text)
    return text.strip() or None


def last_number(text: str) -> str | None:
    """The last number of a text as it is written; a minus counts as its sign where nothing is subtracted."""
    found = [match[0] for match in _SIGNED.finditer(text)]
    return found[-1].strip() if found else None


def stated_letter(text: str) -> str | None:
    """The letter of the option that a text decides for; `None` where it names none, or more than one.

    A sentence that says what the answer is goes before letters that merely stand there, and a later one before an
    earlier one, as a text may change its mind.
    """
    stripped = text.strip()
    box = boxed(text)
    if box is not None and (inner := re.fullmatch(r"\W*(?:\\text\{)?\W*([A-J])\b\W*.*", box, re.DOTALL)):
        return inner[1]
    said = [match for form in (_STATED, _CALLED) for match in form.finditer(text) if match["letter"].isupper()]
    if said:
        last = max(said, key=lambda match: match.start("letter"))
        return None if last["more"] else last["letter"]
    if len(stripped.splitlines()) == 1 and is_answer("choice", stripped):
        return next(letter for letter in stripped if letter in LETTERS)
    for form in _FORMS:
        if letters := {match["letter"] for match in form.finditer(text)}:
            return letters.pop() if len(letters) == 1 else None
    return None


def _number_in(text: str) -> str | None:
    """The number after the last `####`, else in the last box, else the last of all."""
    _, mark, after = text.rpartition(_MARK)
    if mark and (found := _SIGNED.search(after)) is not None:
        return found[0].strip()
    box = boxed(text)
    if box is not None:
        return box if number_of(box) is not None else last_number(box) or last_number(text)
    return last_number(text)


def _formula_in(text: str) -> str | None:
    """What is in the last box, else what the last sentence about the answer says, else the text where it is one."""
    if (box := boxed(text)) is not None:
        return box
    said = [match["said"] for match in _SAID.finditer(text)]
    candidate = _DELIMITERS.sub("", said[-1] if said else text).strip().rstrip(".").strip()
    return candidate if is_answer("math", candidate) else None
