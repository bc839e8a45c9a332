"""Mistakes that are planted into a worked solution by rule, each with the reflection that corrects it.

    arithmetic          the result of one calculation is wrong
    dropped-condition   a quantity that the question gives is left out of a calculation
    wrong-unit          a result has the wrong unit
    misread-question    a number of the question is misread, or an intermediate result is given as the answer

A mistake goes no further than its own step: the reflection gives that step as it should be, and the rest is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import TypeVar

from reflectune.answers.numbers import NUMBER, calculate, number_of, shown
from reflectune.recipe.traces import MistakeKind
from reflectune.traces.questions import Question
from reflectune.traces.slips import slips
from reflectune.traces.solutions import Calculation
from reflectune.traces.units import confusable
from reflectune.traces.wording import CONCLUSIONS, corrected

T = TypeVar("T")

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_FLAT = re.compile(rf"\s*(?:{NUMBER})(?:(?:\s|[-+*/x×÷·$]|\\cdot|\\times|\\div)+(?:{NUMBER}))+\s*")
_AFTER = re.compile(r"(?P<gap>[\s-]+)(?P<word>[A-Za-z]+)")
_WORDS = {
    **dict.fromkeys(("half", "halves", "twice", "double", "doubled", "two"), 2),
    **dict.fromkeys(("three", "triple", "thrice"), 3),
    **dict.fromkeys(("four", "quarter", "quarters"), 4),
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "dozen": 12,
}
_FRACTION = re.compile(r"\d+\s*/\s*\d+")
_PROSE = re.compile(r"[A-Za-z]{2,}\W.*[A-Za-z]{2,}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in a worked solution.

    Attributes:
        kind: What went wrong.
        before: How many steps of the solution come before it.
        step: The wrong step.
        reflection: What corrects it, the right step included.
        after: With which step of the solution the reasoning goes on.
        stated: The value that the wrong step states, in the smallest unit where units differ.
        true: The value that it should have stated.
    """

    kind: MistakeKind
    before: int
    step: str
    reflection: str
    after: int
    stated: Fraction
    true: Fraction


def planted(question: Question, kinds: Iterable[MistakeKind], rng: Random) -> Mistake | None:
    """A mistake of one of these kinds, drawn at random among those that the solution has room for."""
    plants = _IN_FORMULAS if question.form == "math" else _PLANTS
    order = [kind for kind in kinds if kind in plants]
    rng.shuffle(order)
    for kind in order:
        places = list(_places(question))
        rng.shuffle(places)
        for plant in plants[kind] if rng.random() < _FIRST else reversed(plants[kind]):
            for place in places:
                if (mistake := plant(place, rng)) is not None:
                    return mistake
    return None


@dataclass(frozen=True, slots=True)
class _Place:
    """The last calculation of a step, where a mistake may be planted."""

    question: Question
    index: int
    text: str
    calculation: Calculation

    @property
    def again(self) -> re.Pattern[str]:
        """Finds the result wherever it is said."""
        return re.compile(rf"(?<![\d.,]){re.escape(self.result)}(?!\d|[.,]\d)")

    @property
    def result(self) -> str:
        return self.text[slice(*self.calculation.result)]

    def with_result(self, result: str, *, written: str | None = None) -> str:
        """The step with another result, wherever it is said again, and with another sum before it."""
        begin, end = self.calculation.result
        first, last = self.calculation.written or (begin, begin)
        sum_ = self.text[first:last] if written is None else written
        before, after = (
            self.again.sub(lambda _: result, self.text[:first]),
            self.again.sub(lambda _: result, self.text[end:]),
        )
        return before + sum_ + self.text[last:begin] + result + after

    def mistake(self, kind: MistakeKind, step: str, reflection: str, values: tuple[Fraction, Fraction]) -> Mistake:
        return Mistake(kind, self.index, step, reflection, self.index + 1, *values)


def _places(question: Question) -> Iterator[_Place]:
    for index, step in enumerate(question.steps):
        if not step.calculations or step.wrong:
            continue
        place = _Place(question, index, step.text, step.calculations[-1])
        begin, end = place.calculation.written or (0, place.calculation.result[0])
        # What follows in a formula may rest on the result in ways that are not seen here.
        follows = question.form == "math" and re.search(r"\d", step.text[place.calculation.result[1] :])
        if not place.again.search(step.text[begin:end]) and not follows:
            yield place


def _arithmetic(place: _Place, rng: Random) -> Mistake | None:
    wrong = rng.choice(slips(place.result))
    stated = number_of(wrong) or Fraction(0)
    values = {"sum": _sum(place), "right": place.result, "wrong": wrong, "step": place.text}
    reflection = corrected("arithmetic", rng, **values)
    return place.mistake("arithmetic", place.with_result(wrong), reflection, (stated, place.calculation.value))


def _dropped(place: _Place, rng: Random) -> Mistake | None:
    """Leave a number of the question out of a sum."""
    given = _given(place) | _in_words(place)
    drops = [drop for drop in _drops(place) if number_of(drop[0]) in given]
    rng.shuffle(drops)
    for missing, rest in drops:
        stated = calculate(rest)
        wrong = shown(stated) if stated else None
        if stated is None or wrong is None or stated == place.calculation.value:
            continue
        if number_of(rest.strip("$ ")) is None:
            step = place.with_result(wrong, written=rest)
        else:  # a single number is left, which is said outright
            step = _without_sum(place, rest, wrong)
        if not _PROSE.search(step):
            continue
        values = {"missing": missing, "wrong": wrong, "step": place.text}
        reflection = corrected("dropped-condition", rng, **values)
        return place.mistake("dropped-condition", step, reflection, (stated, place.calculation.value))
    return None


def _unit(place: _Place, rng: Random) -> Mistake | None:
    """Give a result another unit of the same kind."""
    begin, end = place.calculation.result
    value, found = place.calculation.value, _AFTER.match(place.text, end)
    if place.text[:begin].endswith("$"):
        begin, word = begin - 1, "dollars"
    elif found is not None:
        end, word = found.end(), found["word"]
    else:
        return None
    units = confusable(word)
    if units is None or not value or place.again.search(place.text[:begin]):
        return None
    unit, other = units[0], rng.choice(units[1])
    right, wrong = place.text[begin:end], f"{place.result} {other.word}"
    step = place.text[:begin] + wrong + place.text[end:]
    reflection = corrected("wrong-unit", rng, right=right, wrong=wrong, step=place.text)
    return place.mistake("wrong-unit", step, reflection, (value * other.size, value * unit.size))


def _misread_number(place: _Place, rng: Random) -> Mistake | None:
    """Use another number than the question gives."""
    if place.calculation.written is None:
        return None
    given, sum_ = _given(place), place.text[slice(*place.calculation.written)]
    for found in _shuffled(re.finditer(NUMBER, sum_), rng):
        if number_of(found[0]) not in given:
            continue
        for read in _shuffled((slip for slip in slips(found[0]) if number_of(slip) not in given), rng):
            written = sum_[: found.start()] + read + sum_[found.end() :]
            stated = calculate(written)
            wrong = shown(stated) if stated else None
            whole = place.calculation.value.denominator == 1
            if stated and wrong and stated != place.calculation.value and whole == (stated.denominator == 1):
                step = place.with_result(wrong, written=written)
                reflection = corrected("misread-number", rng, right=found[0], wrong=read, step=place.text)
                values = (stated, place.calculation.value)
                return place.mistake("misread-question", step, reflection, values)
    return None


def _misread_asked(place: _Place, rng: Random) -> Mistake | None:
    """Give an intermediate result as the answer."""
    question, value = place.question, place.calculation.value
    asked = [sentence for sentence in _SENTENCE.split(question.text) if sentence.endswith("?")]
    answer = number_of(question.answer or "")
    if place.index + 1 >= len(question.steps) or not asked or answer is None or answer == value:
        return None
    step = rng.choice(CONCLUSIONS).format(value=place.result)
    follows = question.steps[place.index + 1].text
    reflection = corrected("misread-asked", rng, asked=asked[-1], wrong=place.result, step=follows)
    return Mistake("misread-question", place.index + 1, step, reflection, place.index + 2, value, answer)


_Plant = Callable[[_Place, Random], Mistake | None]
_PLANTS: dict[MistakeKind, tuple[_Plant, ...]] = {
    "arithmetic": (_arithmetic,),
    "dropped-condition": (_dropped,),
    "wrong-unit": (_unit,),
    "misread-question": (_misread_number, _misread_asked),
}
_IN_FORMULAS: dict[MistakeKind, tuple[_Plant, ...]] = {
    "arithmetic": (_arithmetic,),
    "misread-question": (_misread_asked,),
}
"""What can be planted into formulas without reading them whole."""
_FIRST = 0.5
"""How often the first of two ways to make a mistake is tried first."""


def _sum(place: _Place) -> str:
    """The sum as the step writes it, else as it is calculated."""
    if place.calculation.written is not None:
        begin, end = place.calculation.written
        if place.question.form == "math":
            return f"${place.text[begin:end]}$"
        return place.text[begin - place.text[:begin].endswith("$") : end]
    return re.sub(r"\s*([-+*/])\s*", r" \1 ", place.calculation.sum).strip()


def _drops(place: _Place) -> Iterator[tuple[str, str]]:
    """Each number of a plain sum that can be left out, and the sum without it."""
    if place.calculation.written is None:
        return
    sum_ = place.text[slice(*place.calculation.written)]
    if not _FLAT.fullmatch(sum_):
        return
    numbers = [found.span() for found in re.finditer(NUMBER, sum_)]
    for one, other in pairwise(numbers):
        yield sum_[slice(*other)], sum_[: one[1]] + sum_[other[1] :]
    first, second = numbers[0], numbers[1]
    if not set(sum_[first[1] : second[0]]) & set("-/÷"):
        yield sum_[slice(*first)], sum_[second[0] :]


def _without_sum(place: _Place, rest: str, wrong: str) -> str:
    """The step with a bare number in place of its sum and result."""
    assert place.calculation.written is not None  # or there were nothing to drop
    begin, end = place.calculation.written[0], place.calculation.result[1]
    money = "$" in place.text[begin:end] and not place.text[:begin].endswith("$")
    bare = f"${rest.strip('$ ')}" if money else rest.strip("$ ")
    return place.text[:begin] + bare + place.again.sub(lambda _: wrong, place.text[end:])


def _given(place: _Place) -> set[Fraction]:
    """The numbers of the question, but for parts of fractions and those that are also results of earlier steps."""
    numbers = re.findall(NUMBER, _FRACTION.sub(" ", place.question.text))
    return {value for number in numbers if (value := number_of(number)) is not None} - _earlier(place)


def _in_words(place: _Place) -> set[Fraction]:
    """The numbers that the question gives in words."""
    words = set(re.findall(r"[a-z]+", place.question.text.lower()))
    return {Fraction(number) for word, number in _WORDS.items() if word in words} - _earlier(place)


def _earlier(place: _Place) -> set[Fraction]:
    steps = place.question.steps[: place.index]
    return {calculation.value for step in steps for calculation in step.calculations}


def _shuffled(items: Iterable[T], rng: Random) -> list[T]:
    listed = list(items)
    rng.shuffle(listed)
    return listed
