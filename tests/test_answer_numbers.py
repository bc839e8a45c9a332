"""Numbers, sums, slips and units, and the steps of worked solutions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.answers.numbers import calculate, number_of, shown
from reflectune.traces.slips import slips
from reflectune.traces.solutions import steps_of
from reflectune.traces.units import confusable


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("72", Fraction(72)),
        (" $1,200.50 ", Fraction("1200.5")),
        ("15%", Fraction(15)),
        ("-3", Fraction(-3)),
        ("−$3", Fraction(-3)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("72.", Fraction(72)),
        ("3/0", None),
        ("1,20", None),
        ("3/4/5", None),
        ("twelve", None),
        ("", None),
        ("12 apples", None),
    ],
)
def test_a_number_is_read_as_it_is_written(text: str, value: Fraction | None) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("48/2", Fraction(24)),
        ("100 - 50 - 30 - 15", Fraction(5)),
        ("2+3*4", Fraction(14)),
        ("(2+3) x 4", Fraction(20)),
        ("20%*(48 - 2)", Fraction("9.2")),
        ("-3 + 5", Fraction(2)),
        ("$1,000 × $.2", Fraction(200)),
        (r"3 \cdot 4 \div 2", Fraction(6)),
        ("3/0", None),
        ("3 +", None),
        ("(3", None),
        ("3) + 4", None),
        ("3 4", None),
        ("2^3", None),
        ("a + 1", None),
        ("", None),
        ("1+" * 200 + "1", None),
    ],
)
def test_a_sum_is_calculated_exactly(text: str, value: Fraction | None) -> None:
    assert calculate(text) == value


@given(st.integers(0, 10**9), st.integers(0, 4))
def test_what_is_shown_is_read_back(digits: int, places: int) -> None:
    value = Fraction(digits, 10**places)
    text = shown(value)
    assert text is not None
    assert number_of(text) == value
    assert not text.endswith(".")


@pytest.mark.parametrize("value", [Fraction(1, 3), Fraction(-1), Fraction(1, 10**5)])
def test_what_would_be_written_otherwise_is_not_shown(value: Fraction) -> None:
    assert shown(value) is None


@given(st.integers(1, 10**9), st.integers(0, 3), st.booleans())
def test_a_slip_is_another_number_written_alike(digits: int, places: int, commas: bool) -> None:
    whole, rest = divmod(digits, 10**places)
    number = (f"{whole:,}" if commas else str(whole)) + (f".{rest:0{places}d}" if places else "")
    if not number_of(number):
        return
    found = slips(number)
    assert found
    for slip in found:
        assert number_of(slip) not in {None, number_of(number), 0}
        assert len(slip.partition(".")[2]) == places
        assert ("," in slip) is (commas and (number_of(slip) or 0) >= 1000)


def test_small_numbers_are_counted_wrong_and_large_ones_written_wrong() -> None:
    assert set(slips("5")) == {"3", "4", "6", "7"}
    assert {"36", "53", "25", "34"} <= set(slips("35"))
    assert "1,203" in slips("1,230")


@pytest.mark.parametrize(
    ("word", "others"),
    [
        ("hours", {"minutes", "days"}),
        ("inch", {"foot"}),
        ("dollars", {"cents"}),
        ("Feet", {"inches", "yards"}),
        ("kg", {"g"}),
    ],
)
def test_units_are_taken_for_their_neighbours(word: str, others: set[str]) -> None:
    found = confusable(word)
    assert found is not None
    assert {unit.word for unit in found[1]} == others
    assert all(unit.size != found[0].size for unit in found[1])


def test_a_word_that_is_no_unit() -> None:
    assert confusable("apples") is None


def test_marks_are_taken_out_and_their_sums_found_in_the_text() -> None:
    first, second = steps_of("Ann has 2*3 = $<<2*3=6>>6.\n\nShe gives half away: <<6/2=3>>3 are left.\n")
    assert first.text == "Ann has 2*3 = $6."
    [sum_] = first.calculations
    assert (sum_.sum, sum_.value) == ("2*3", 6)
    assert first.text[slice(*sum_.result)] == "6"
    assert sum_.written is not None
    assert first.text[slice(*sum_.written)] == "2*3"
    assert second.text == "She gives half away: 3 are left."
    assert second.calculations[0].written is None


@pytest.mark.parametrize(
    ("step", "sums"),
    [
        ("So 20 + 22 = 42 bags", ["20 + 22"]),
        ("The box 3 x 4 = 12 wide", ["3 x 4"]),
        ("3+4 = 7 and 7*2 = 14", ["3+4", "7*2"]),
        ("2+2 = 5", []),
        ("3x = 45", []),
        ("x + 2 + 3 = 5", []),
        ("y^2+3=5", []),
        ("m2+3=5", []),
        ("there are 5 = 5", []),
        ("half of 1/2 + 1/2 = 1/2 + 1/2", []),
        ("2 + 3 = 5x", []),
        (r"$f(2)=2\cdot 3 = 6$", [r"2\cdot 3"]),
        (r"$2 + 4 = 6 \cdot 1$", []),
        ("from 10 to 3-7+4=0", ["3-7+4"]),
    ],
)
def test_sums_without_marks_count_where_nothing_else_belongs_to_them(step: str, sums: list[str]) -> None:
    assert [calculation.sum for calculation in steps_of(step)[0].calculations] == sums


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("It is <<100/3=33>>33 each", ""),
        ("It is <<1000/3=333.3>>333.3 each", ""),
        ("It is <<10*3=35>>35 each", "10*3 = 35"),
        ("It is <<10*a=35>>35 each", ""),
    ],
)
def test_only_a_result_that_no_rounding_explains_is_wrong(step: str, wrong: str) -> None:
    [found] = steps_of(step)
    assert found.wrong == wrong
    assert not found.calculations


def test_sentences_are_steps_where_asked_for_and_formulas_stay_whole() -> None:
    text = "We add. [asy]draw(a. B);[/asy] Then $a = 3. B = 4$ holds.\nSo\n\\[x. Y\\]\nis it."
    assert [step.text for step in steps_of(text, sentences=True)] == [
        "We add.",
        "Then $a = 3.\nB = 4$ holds.",
        "So",
        "\\[x.\nY\\]",
        "is it.",
    ]
