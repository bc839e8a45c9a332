"""The rates that govern: set, stated and learned."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.oracles.allowance import Allowance
from reflectune.oracles.rates import Appetite, Rates, Schedule, Stated
from reflectune.records import Message, Reply, Request, Sampling


def request_of(characters: int, most: int = 1000) -> Request:
    return Request((Message("user", "x" * characters),), Sampling(max_tokens=most))


@given(st.lists(st.floats(0, 5), max_size=50), st.floats(0.1, 20), st.floats(0, 1))
def test_a_schedule_never_runs_ahead(pauses: list[float], per_second: float, slack: float) -> None:
    schedule, now, sent = Schedule(slack), 0.0, []
    for pause in pauses:
        now = max(now + pause, schedule.due)
        schedule.take(1, per_second, now)
        sent.append(now)
    for number, moment in enumerate(sent):
        assert len(sent) - number <= 1 + (now - moment + slack) * per_second + 1e-6


def test_a_late_timer_is_made_up_for_and_a_pause_is_not() -> None:
    schedule = Schedule(slack=0.02)
    schedule.take(1, 10, 0.0)
    schedule.take(1, 10, 0.11)
    assert schedule.due == pytest.approx(0.2)
    schedule.take(1, 10, 5.0)
    assert schedule.due == pytest.approx(5.1)


def test_the_least_statement_of_the_last_minute_counts() -> None:
    stated = Stated()
    assert stated.per_minute is None
    stated.note(600, 0, sure=True)
    stated.note(36000, 30, sure=True)
    assert stated.per_minute == 600
    stated.note(1200, 100, sure=True)
    stated.note(1200, 190, sure=True)
    assert stated.per_minute == 1200


def test_what_is_sure_outdoes_what_is_not() -> None:
    stated = Stated()
    stated.note(10, 0, sure=False)
    assert stated.per_minute == 10
    stated.note(600, 1, sure=True)
    stated.note(10, 2, sure=False)
    assert stated.per_minute == 600


def test_the_least_of_all_rates_governs() -> None:
    rates = Rates(rpm=1000)
    assert rates.rpm == pytest.approx(980)
    rates.state(Allowance(rpm=600), 0.0)
    assert rates.rpm == pytest.approx(588)
    assert rates.describe() == "at 600 requests/min (the endpoint's limit)"
    first, _ = rates.take(None, 1.0)
    rates.refused(first, 1.0)
    assert rates.rpm == pytest.approx(588 * 0.97)
    assert rates.describe().endswith("(found by trying)")


def test_without_any_limit_nothing_is_due() -> None:
    rates = Rates()
    assert (rates.rpm, rates.limited, rates.describe()) == (None, False, "")
    rates.take(request_of(10), 5.0)
    assert rates.due < 0


def test_tokens_are_estimated_and_then_corrected() -> None:
    rates = Rates(tpm=60_000 / 0.98)  # a thousand a second
    asked = request_of(1000, most=700)
    _, needed = rates.take(asked, 0.0)
    assert needed == pytest.approx(1000 * 0.3 + 700)
    assert rates.due == pytest.approx(1.0)
    rates.answered(asked, needed, Reply(text="", prompt_tokens=250, completion_tokens=50))
    assert rates.due == pytest.approx(0.3)
    _, needed = rates.take(asked, 0.3)
    assert needed == pytest.approx(300)
    rates.failed(needed)
    assert rates.due == pytest.approx(0.3)
    assert "tokens/min" in rates.describe()


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 3000), st.integers(0, 3000)), min_size=1, max_size=30))
def test_an_estimate_stays_within_what_was_seen(seen: list[tuple[int, int, int]]) -> None:
    appetite = Appetite()
    for characters, prompt, completion in seen:
        appetite.learn(request_of(characters), Reply(text="", prompt_tokens=prompt, completion_tokens=completion))
    ratios, completions = [p / c for c, p, _ in seen], [c for _, _, c in seen]
    assert min(ratios) * 100 + min(completions) - 1e-6 <= appetite.estimate(request_of(100))
    assert appetite.estimate(request_of(100)) <= max(ratios) * 100 + max(completions) + 1e-6
