"""Numbers and sums as they are written in prose, calculated exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
"""A number without a sign, as a regular expression; thousands may be set off by commas."""

_LONGEST = 200
_PLACES = 4
_TOKEN = re.compile(rf"\s*({NUMBER}|[-+*/()%])")
_SIGNS = (("\\cdot", "*"), ("\\times", "*"), ("\\div", "/"), ("×", "*"), ("·", "*"), ("÷", "/"), ("x", "*"), ("X", "*"))


def number_of(text: str) -> Fraction | None:
    """The value of a number as it is written, such as `$1,200.50`, `15%` or `3/4`; `None` where it is none."""
    plain = text.strip().strip("$").rstrip(".").strip().replace("−", "-")
    sign, plain = (-1, plain[1:].lstrip(" $")) if plain.startswith("-") else (1, plain)
    parts = [part.strip() for part in plain.removesuffix("%").split("/")]
    if not 1 <= len(parts) <= 2 or not all(re.fullmatch(NUMBER, part) for part in parts):  # noqa: PLR2004
        return None
    values = [Fraction(part.replace(",", "")) for part in parts]
    if len(values) == 1:
        return sign * values[0]
    return sign * values[0] / values[1] if values[1] else None


def calculate(text: str) -> Fraction | None:
    """The value of a sum such as `20%*(48 - 2)/2`; `None` where the text is none."""
    if len(text) > _LONGEST:
        return None
    for written, sign in _SIGNS:
        text = text.replace(written, sign)
    tokens: list[str] = []
    place, text = 0, text.replace("$", " ").rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        tokens.append(found[1])
        place = found.end()
    try:
        return _Sum(tokens).value()
    except (ValueError, ZeroDivisionError):
        return None


def shown(value: Fraction) -> str | None:
    """A value as it would be written; `None` where it is negative or takes more than four places."""
    scaled = value * 10**_PLACES
    if value < 0 or scaled.denominator != 1:
        return None
    whole, rest = divmod(scaled.numerator, 10**_PLACES)
    return f"{whole}.{rest:0{_PLACES}d}".rstrip("0").rstrip(".")


class _Sum:
    """Reads the tokens of a sum from left to right.

    Raises:
        ValueError: They make no sum.
        ZeroDivisionError: It divides by 0.
    """

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._place = 0

    def value(self) -> Fraction:
        value = self._sum()
        if self._next:
            raise ValueError(f"{self._next!r} comes after the end")
        return value

    @property
    def _next(self) -> str:
        return self._tokens[self._place]

    def _take(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]

    def _sum(self) -> Fraction:
        return self._chain(self._product, {"+": Fraction.__add__, "-": Fraction.__sub__})

    def _product(self) -> Fraction:
        return self._chain(self._factor, {"*": Fraction.__mul__, "/": Fraction.__truediv__})

    def _chain(
        self, part: Callable[[], Fraction], signs: dict[str, Callable[[Fraction, Fraction], Fraction]]
    ) -> Fraction:
        value = part()
        while self._next in signs:
            value = signs[self._take()](value, part())
        return value

    def _factor(self) -> Fraction:
        part = self._take()
        if part == "-":
            return -self._factor()
        if part == "(":
            value = self._sum()
            if self._take() != ")":
                raise ValueError("a parenthesis is left open")
        elif part and (part[0].isdigit() or part[0] == "."):
            value = Fraction(part.replace(",", ""))
        else:
            raise ValueError(f"{part!r} is no number")
        if self._next == "%":
            self._take()
            value /= 100
        return value
