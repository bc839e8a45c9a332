"""Numbers that somebody might write by mistake for another one."""

from __future__ import annotations

from collections.abc import Iterator

from reflectune.answers.numbers import number_of

_SMALL = 20


def slips(number: str) -> list[str]:
    """What a number might become by a slip, written as the number is: none of them equals it, and none is 0.

    Small numbers are counted wrong; in larger ones a digit is off by one, as by a lost carry, or two change places.

    Args:
        number: As it is written: digits, perhaps with commas and a point.
    """
    digits = "".join(character for character in number if character.isdigit())
    value = number_of(number)
    found = [_as_written(number, slip) for slip in dict.fromkeys(_slips(digits))]
    return [slip for slip in found if number_of(slip) not in {value, 0}]


def _slips(digits: str) -> Iterator[str]:
    if int(digits) <= _SMALL:
        yield from (str(int(digits) + off).zfill(len(digits)) for off in (-2, -1, 1, 2) if int(digits) + off > 0)
        return
    for place in range(len(digits)):
        for off in (-1, 1):
            digit = int(digits[place]) + off
            if 0 <= digit <= 9 and (place or digit):  # noqa: PLR2004 - a digit
                yield digits[:place] + str(digit) + digits[place + 1 :]
        swapped = digits[:place] + digits[place : place + 2][::-1] + digits[place + 2 :]
        if swapped[0] != "0":
            yield swapped


def _as_written(number: str, digits: str) -> str:
    """Other digits with the point of a number, and with commas where it has some."""
    places = len(number.partition(".")[2])
    whole, rest = (digits[:-places], digits[-places:]) if places else (digits, "")
    whole = f"{int(whole):,}" if "," in number else whole
    return f"{whole}.{rest}" if rest else whole
