"""A rate is learned from refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.oracles.refusals import Learned


def burst(learned: Learned, now: float, granted: int) -> None:
    """Send so many and one more, which is refused, without a pace."""
    sent = [learned.sent(now, math.inf) for _ in range(granted + 1)]
    learned.refused(sent[-1], now)


def test_what_was_granted_between_two_refusals_is_the_rate() -> None:
    learned = Learned()
    burst(learned, 0.0, 600)
    assert learned.per_second is None
    burst(learned, 2.0, 20)
    assert learned.per_second == pytest.approx(9.7)


def test_those_in_flight_together_count_once() -> None:
    learned = Learned()
    burst(learned, 0.0, 5)
    sent = [learned.sent(2.0, math.inf) for _ in range(40)]
    for refused in sent[20:]:
        learned.refused(refused, 2.1)
    assert learned.per_second == pytest.approx(9.7)


def test_too_little_time_teaches_nothing() -> None:
    learned = Learned()
    burst(learned, 0.0, 5)
    burst(learned, 0.05, 1)
    assert learned.per_second is None
    burst(learned, 1.0, 9)
    assert learned.per_second == pytest.approx(0.97 * 10)


def test_a_refused_rate_bounds_what_is_found() -> None:
    learned = Learned()
    learned.refused(learned.sent(0.0, 5.0), 0.0)
    assert learned.per_second == pytest.approx(0.97 * 5)
    sent = [learned.sent(1 + number / 5, 5.0) for number in range(20)]
    learned.refused(sent[-1], 5.0)
    assert learned.per_second == pytest.approx(0.97 * math.sqrt(19 / 4.8 * 5))


def test_a_quota_that_is_spent_brings_the_rate_down_and_its_renewal_up() -> None:
    learned = Learned()
    now = 0.0
    burst(learned, now, 3)
    for _ in range(8):
        now += 1 / (learned.per_second or 1)
        burst(learned, now, 0)
    assert learned.per_second == pytest.approx(4 / 60)
    seconds = 0.0
    while learned.per_second < 10:
        seconds += 1 / learned.per_second
        learned.grow(now + seconds)
        assert seconds < 90
    assert seconds > 10


@given(st.floats(1, 50), st.floats(1.1, 10))
def test_growth_slows_down_towards_what_was_refused(per_second: float, times: float) -> None:
    learned = Learned()
    learned.refused(learned.sent(0.0, per_second * times), 0.0)
    learned._learn(int(per_second * 100) + 1, 100.0, per_second * times)
    before = learned.per_second
    assert before is not None
    assert 0.95 * per_second < before < per_second * times
    learned.grow(1.0)
    assert before * 1.0019 <= learned.per_second <= max(before * 1.0021, per_second * times)
