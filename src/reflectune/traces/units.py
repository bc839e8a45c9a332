"""Units of measure, and which of them are easily taken for one another."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

_FAMILIES: tuple[tuple[tuple[str, str, Fraction], ...], ...] = (
    (
        ("second", "seconds", Fraction(1)),
        ("minute", "minutes", Fraction(60)),
        ("hour", "hours", Fraction(3_600)),
        ("day", "days", Fraction(86_400)),
        ("week", "weeks", Fraction(604_800)),
        ("month", "months", Fraction(2_629_746)),
        ("year", "years", Fraction(31_556_952)),
    ),
    (
        ("inch", "inches", Fraction(254, 10_000)),
        ("foot", "feet", Fraction(3_048, 10_000)),
        ("yard", "yards", Fraction(9_144, 10_000)),
        ("mile", "miles", Fraction(1_609_344, 1_000)),
    ),
    (
        ("millimeter", "millimeters", Fraction(1, 1_000)),
        ("centimeter", "centimeters", Fraction(1, 100)),
        ("meter", "meters", Fraction(1)),
        ("kilometer", "kilometers", Fraction(1_000)),
    ),
    (("mm", "mm", Fraction(1, 1_000)), ("cm", "cm", Fraction(1, 100)), ("m", "m", Fraction(1))),
    (("ounce", "ounces", Fraction(1)), ("pound", "pounds", Fraction(16)), ("ton", "tons", Fraction(32_000))),
    (("gram", "grams", Fraction(1)), ("kilogram", "kilograms", Fraction(1_000))),
    (("g", "g", Fraction(1)), ("kg", "kg", Fraction(1_000))),
    (("cup", "cups", Fraction(1)), ("pint", "pints", Fraction(2)), ("quart", "quarts", Fraction(4))),
    (("quart", "quarts", Fraction(4)), ("gallon", "gallons", Fraction(16))),
    (("milliliter", "milliliters", Fraction(1, 1_000)), ("liter", "liters", Fraction(1))),
    (("cent", "cents", Fraction(1, 100)), ("dollar", "dollars", Fraction(1))),
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as it is written.

    Attributes:
        word: The word, in the singular or the plural.
        size: How large it is beside others of its family.
    """

    word: str
    size: Fraction


def confusable(word: str) -> tuple[Unit, tuple[Unit, ...]] | None:
    """A unit, and those next to it that it might be taken for, in the same number; `None` where the word is no unit."""
    for family in _FAMILIES:
        for place, (one, many, size) in enumerate(family):
            if word.lower() not in {one, many}:
                continue
            plural = word.lower() == many
            beside = [family[other] for other in (place - 1, place + 1) if 0 <= other < len(family)]
            others = tuple(Unit(pair[plural], factor) for *pair, factor in beside)
            return Unit(word, size), others
    return None
