"""Worked solutions: their steps, and the calculations in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from reflectune.answers.numbers import NUMBER, calculate, number_of
from reflectune.tags import Span

_MARK = re.compile(r"<<([^<>]*)=([^<>=]*)>>")
_SUM = r"(?:[\d.,$%()\s+*/x×÷·-]|\\cdot|\\times|\\div)+"
_WRITTEN = re.compile(rf"(?P<sum>{_SUM})=\s*\$?\s*$")
_EQUATION = re.compile(rf"(?P<sum>{_SUM})=\s*\$?(?=(?P<result>{NUMBER}))")
_RESULT = re.compile(rf"\s*\$?\s*(?P<result>{NUMBER})")
_SIGN = re.compile(r"[-+*/x×÷·]|\\cdot|\\times|\\div")
_GOES_ON = re.compile(r"[\w^{(\\%]|\s*(?:[-+*/×÷·]|\\cdot|\\times|\\div)|\s*x\s*\d")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")
_FIGURE = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_ROUNDED = Fraction(1, 50)


@dataclass(frozen=True, slots=True)
class Calculation:
    """A sum in a step, with its result.

    Attributes:
        sum: What is calculated, as `48/2`.
        value: What it comes to, exactly.
        result: Where the result stands in the step's text.
        written: Where the sum stands in it; `None` where the text says it in other words.
    """

    sum: str
    value: Fraction
    result: Span
    written: Span | None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a solution.

    Attributes:
        text: What it says, without calculator marks.
        calculations: The sums in it whose result is as it should be, in order.
        wrong: A sum whose result is not, even allowing for rounding; nothing where there is none.
    """

    text: str
    calculations: tuple[Calculation, ...]
    wrong: str = ""


def steps_of(solution: str, *, sentences: bool = False) -> tuple[Step, ...]:
    """The steps of a worked solution.

    Args:
        solution: Its text, which may hold calculator marks such as `<<48/2=24>>`.
        sentences: Whether each sentence is a step, rather than each line; figures in it are then left out.
    """
    pieces = _sentences(_FIGURE.sub(" ", solution)) if sentences else solution.split("\n")
    return tuple(_step(piece.strip()) for piece in pieces if piece.strip())


def _step(line: str) -> Step:
    text, place = "", 0
    marks: list[tuple[int, str, Fraction | None]] = []
    for mark in _MARK.finditer(line):
        text += line[place : mark.start()]
        marks.append((len(text), mark[1].strip(), number_of(mark[2])))
        place = mark.end()
    text += line[place:]
    if not marks:
        return Step(text, tuple(_equations(text)))
    found: list[Calculation] = []
    wrong = ""
    for at, sum_, claimed in marks:
        value, result = calculate(sum_), _RESULT.match(text, at)
        if value is None or claimed is None or result is None:
            continue
        if number_of(result["result"]) == value == claimed:
            found.append(Calculation(sum_, value, result.span("result"), _written(text, at, value)))
        elif abs(claimed - value) > max(abs(value) * _ROUNDED, Fraction(1)):
            wrong = f"{sum_} = {mark_text(claimed)}"
    return Step(text, tuple(found), wrong)


def mark_text(value: Fraction) -> str:
    """A value for a message."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"


def _written(text: str, at: int, value: Fraction) -> Span | None:
    """Where the sum stands whose result begins at a place of the text."""
    found = _WRITTEN.search(text[:at])
    span = _trimmed(text, found.span("sum")) if found else None
    return span if span and calculate(text[slice(*span)]) == value else None


def _equations(text: str) -> Iterator[Calculation]:
    """The sums of a text without marks that have their right result after them."""
    for found in _EQUATION.finditer(text):
        span = _trimmed(text, found.span("sum"))
        if span is None or _GOES_ON.match(text, found.end("result")):
            continue
        sum_ = text[slice(*span)]
        value = calculate(sum_) if _SIGN.search(sum_) else None
        if value is not None and value == number_of(found["result"]):
            yield Calculation(sum_, value, found.span("result"), span)


def _trimmed(text: str, span: Span) -> Span | None:
    """A sum without what surrounds it; `None` where something before it belongs to it."""
    begin, end = span
    while begin < end and (text[begin].isspace() or text[begin] in ",.$x"):
        if text[begin] == "x" and not text[begin - 1 : begin].isalpha():
            return None
        begin += 1
    while end > begin and text[end - 1].isspace():
        end -= 1
    before = text[begin - 1 : begin]
    if begin == end or not (text[begin].isdigit() or text[begin] == "("):
        return None
    return None if before.isalnum() or before in {"^", "_", "}", "\\", ")"} else (begin, end)


def _sentences(text: str) -> list[str]:
    """The sentences of a text; formulas are not cut."""
    found: list[str] = []
    for piece in (part for part in _SENTENCE.split(text) if part.strip()):
        if found and _inside_formula(found[-1]):
            found[-1] += f"\n{piece}"
        else:
            found.append(piece)
    return found


def _inside_formula(text: str) -> bool:
    dollars = len(re.findall(r"(?<!\\)\$", text)) % 2
    brackets = text.count("\\[") > text.count("\\]") or text.count("\\begin") > text.count("\\end")
    return bool(dollars) or brackets
