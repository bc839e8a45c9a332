"""IFD and the ratio of losses: the formulas, and what is no number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.ifd import ifd, loss_ratio

LOSSES = st.floats(1e-3, 50)


@pytest.mark.parametrize(
    ("conditioned", "alone", "expected"),
    [(1.0, 1.0, 1.0), (1.0, 2.0, math.exp(-1)), (2.5, 2.0, math.exp(0.5)), (0.0, 0.0, 1.0), (0.0, 700.0, 1e-304)],
)
def test_ifd_is_the_ratio_of_two_perplexities(conditioned: float, alone: float, expected: float) -> None:
    assert ifd(conditioned, alone) == pytest.approx(expected, rel=1e-2 if expected < 1e-300 else 1e-12)


@pytest.mark.parametrize(("conditioned", "alone", "expected"), [(1.0, 2.0, 0.5), (3.0, 1.5, 2.0), (0.7, 0.7, 1.0)])
def test_the_older_form_is_the_ratio_of_the_losses(conditioned: float, alone: float, expected: float) -> None:
    assert loss_ratio(conditioned, alone) == pytest.approx(expected)


@given(LOSSES, LOSSES)
def test_both_forms_agree_on_whether_the_instruction_helps(conditioned: float, alone: float) -> None:
    assert math.log(ifd(conditioned, alone)) == pytest.approx(conditioned - alone, abs=1e-9)
    assert loss_ratio(conditioned, alone) * alone == pytest.approx(conditioned)
    if abs(conditioned - alone) > 1e-9:
        assert (ifd(conditioned, alone) < 1) == (loss_ratio(conditioned, alone) < 1) == (conditioned < alone)


@given(LOSSES, LOSSES, st.floats(1e-3, 10))
def test_a_response_that_is_harder_given_its_instruction_has_a_higher_ifd(
    conditioned: float, alone: float, more: float
) -> None:
    assert ifd(conditioned + more, alone) > ifd(conditioned, alone)
    assert ifd(conditioned, alone + more) < ifd(conditioned, alone)


@pytest.mark.parametrize(
    ("conditioned", "alone"),
    [
        (1000.0, 1.0),  # overflows
        (1.0, 1000.0),  # underflows to 0
        (math.inf, 1.0),
        (1.0, math.inf),
        (math.inf, math.inf),
        (math.nan, 1.0),
        (1.0, math.nan),
    ],
)
def test_an_ifd_that_is_no_finite_positive_number_is_refused(conditioned: float, alone: float) -> None:
    with pytest.raises(ValueError, match="The ratio of the losses is"):
        ifd(conditioned, alone)


@pytest.mark.parametrize(
    ("conditioned", "alone"),
    [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (-1.0, 1.0), (1.0, math.nan), (math.inf, 1.0), (1.0, math.inf), (1e300, 1e-9)],
)
def test_a_ratio_of_losses_that_is_no_finite_positive_number_is_refused(conditioned: float, alone: float) -> None:
    with pytest.raises(ValueError, match="The ratio of the losses is"):
        loss_ratio(conditioned, alone)
