"""Which of several drafts is best: by rule where their answers can be compared, else by the model's choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from reflectune.answers.letters import stated_letter
from reflectune.answers.numbers import NUMBER, number_of
from reflectune.answers.reading import last_number
from reflectune.answers.rules import boxed, is_answer

__all__ = ["Majority", "counted", "majority"]

_OPTION = re.compile(r"^\W{0,3}([A-J])\s*[.):：、]\s*\S", re.MULTILINE)
_NUMBER = re.compile(NUMBER)
_ASKS = re.compile(
    r"\d|\bhow (?:many|much|old|long|far|often)\b|\bwhat (?:number|share|percentage)\b|多少|几", re.IGNORECASE
)
_WHITE = re.compile(r"\s+")
_MARK = "####"
_LINE = 200
_SHORT = 60
_FEWEST_OPTIONS = 2
Key = tuple[str, str | Fraction]


@dataclass(frozen=True, slots=True)
class Majority:
    """The answer that more drafts give than any other.

    Attributes:
        place: The first draft that gives it, from 0.
        count: How many give it.
        answer: The answer, as that draft writes it.
    """

    place: int
    count: int
    answer: str


def majority(question: str, drafts: Sequence[str]) -> Majority | None:
    """The answer that most drafts agree on; `None` where they cannot be compared by rule, or two are tied.

    Args:
        question: What is asked: it says whether there are options.
        drafts: The answers.
    """
    read = [counted(question, draft) for draft in drafts]
    counts = Counter(found[0] for found in read if found is not None)
    if 2 * counts.total() <= len(drafts):  # most of them say what cannot be compared
        return None
    (key, count), *others = counts.most_common(2)
    if others and others[0][1] == count:
        return None
    place = next(place for place, found in enumerate(read) if found is not None and found[0] == key)
    found = read[place]
    assert found is not None
    return Majority(place, count, found[1])


def counted(question: str, draft: str) -> tuple[Key, str] | None:
    """What a draft answers, by value and as it is written; `None` where no rule can tell."""
    letters = sorted(set(_OPTION.findall(question)))
    if len(letters) >= _FEWEST_OPTIONS and letters == [chr(ord("A") + place) for place in range(len(letters))]:
        letter = stated_letter(draft, len(letters))
        return (("letter", letter), letter) if letter else None
    box = boxed(draft)
    if box is not None:
        value = number_of(box)
        return (("formula", _WHITE.sub("", box)) if value is None else ("number", value)), box
    written = _number(question, draft)
    value = number_of(written) if written is not None else None
    if written is not None and value is not None:
        return ("number", value), written
    text = " ".join(draft.split()).rstrip(".。!！").casefold()
    return (("text", text), draft.strip()) if text and len(text) <= _SHORT else None


def _number(question: str, draft: str) -> str | None:
    """The number that a draft gives: after `####` at its end, by itself, or the only one of a single line.

    A line tells of a number only where the question asks for one, and only where that was not in the question.
    """
    last = draft.strip().rpartition("\n")[2]
    if last.startswith(_MARK):
        return last.removeprefix(_MARK).strip()
    if is_answer("gsm8k", draft):
        return last_number(draft)
    numbers = _NUMBER.findall(last)
    if last != draft.strip() or len(last) > _LINE or len(numbers) != 1 or not _ASKS.search(question):
        return None
    return None if numbers[0] in _NUMBER.findall(question) else last_number(last)
