"""The breaker opens when everything fails, and not when a few requests do."""

from __future__ import annotations

import pytest

from reflectune.oracles.breaker import Breaker


def worked(ceiling: int) -> Breaker:
    """A breaker that has seen a success."""
    breaker = Breaker(ceiling)
    breaker.well("good")
    return breaker


def fail(breaker: Breaker, keys: range | list[str], reason: str = "server-error", now: float = 10.0) -> None:
    for key in keys:
        breaker.fault(str(key), reason, now)


def test_several_requests_in_a_row_open_it() -> None:
    breaker = worked(32)
    fail(breaker, range(7))
    assert breaker.down_since is None
    fail(breaker, range(7, 8), now=12.0)
    assert (breaker.down_since, breaker.next_try) == (10.0, 13.0)


def test_one_success_in_between_keeps_it_closed() -> None:
    breaker = worked(32)
    for start in range(0, 100, 7):
        fail(breaker, range(start, start + 7))
        breaker.well("good")
    assert breaker.down_since is None


@pytest.mark.parametrize("ceiling", [1, 2, 8, 256])
def test_one_request_alone_never_opens_it(ceiling: int) -> None:
    breaker = worked(ceiling)
    fail(breaker, ["poison"] * 100)
    assert breaker.down_since is None


def test_requests_that_failed_while_others_succeeded_do_not_open_it() -> None:
    breaker = worked(32)
    poison = [f"poison {number}" for number in range(20)]
    for key in poison:
        breaker.fault(key, "server-error", 0.0)
        breaker.well("good")
    fail(breaker, poison * 3)
    assert breaker.down_since is None
    fail(breaker, ["a", "b"])
    assert breaker.down_since is not None


def test_a_suspect_that_succeeds_is_none_any_more() -> None:
    breaker = worked(4)
    keys = [str(number) for number in range(5)]
    for key in keys:
        breaker.fault(key, "timeout", 0.0)
        breaker.well("good")
    for key in keys:
        breaker.well(key)
    fail(breaker, keys)
    assert breaker.down_since is not None


def test_tries_become_rarer_up_to_one_a_minute() -> None:
    breaker, now, waits = worked(1), 0.0, []
    fail(breaker, range(2), now=now)
    for _ in range(9):
        waits.append(breaker.next_try - now)
        now = breaker.next_try
        breaker.fault("x", "connection", now, probe=True)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (breaker.down_since, breaker.probes) == (0.0, 9)


def test_what_was_in_flight_before_it_opened_changes_nothing_when_it_fails() -> None:
    breaker = worked(1)
    fail(breaker, range(2), now=0.0)
    fail(breaker, range(50), now=0.5)
    assert (breaker.next_try, breaker.probes) == (1.0, 0)


def test_any_success_closes_it() -> None:
    breaker = worked(1)
    fail(breaker, range(2))
    breaker.well("late")
    assert breaker.down_since is None
    fail(breaker, range(2), now=99.0)
    assert breaker.down_since == 99.0


def test_refusals_open_it_only_after_a_while() -> None:
    breaker = worked(32)
    fail(breaker, range(40), "rate-limit", now=0.0)
    fail(breaker, range(40, 80), "rate-limit", now=19.0)
    assert breaker.down_since is None
    fail(breaker, [80], "rate-limit", now=21.0)
    assert (breaker.down_since, breaker.reason) == (0.0, "rate-limit")
    breaker.fault("80", "rate-limit", 22.0, asked=20.0, probe=True)
    assert breaker.next_try == 42.0


def test_refusals_do_not_make_a_fault_of_another_kind() -> None:
    breaker = worked(32)
    fail(breaker, range(40), "rate-limit")
    fail(breaker, ["late"], "timeout")
    assert breaker.down_since is None


def test_an_endpoint_that_refuses_is_up() -> None:
    breaker = worked(1)
    fail(breaker, range(2), "connection")
    breaker.fault("0", "rate-limit", 11.0, probe=True)
    assert breaker.down_since is None


def test_before_the_first_success_one_fault_opens_it_and_a_refusal_does_not() -> None:
    breaker = Breaker(32)
    fail(breaker, ["a"], "rate-limit")
    assert breaker.down_since is None
    fail(breaker, ["a"])
    assert breaker.down_since is not None
