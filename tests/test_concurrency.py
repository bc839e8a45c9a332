from __future__ import annotations

from reflectune.oracles.concurrency import Concurrency


def test_overload_halves_once_per_round_trip_and_grows_back_by_one_a_round() -> None:
    slots = Concurrency(16)
    slots.fault("timeout", asked_at=1.0, now=2.0)
    slots.fault("timeout", asked_at=1.5, now=2.1)
    assert (slots.limit, slots.reason) == (8, "timeout")
    slots.fault("timeout", asked_at=2.5, now=3.0)
    assert slots.limit == 4
    for _ in range(4):
        slots.grow()
    assert 4.5 < slots.limit < 5.1
    for _ in range(1000):
        slots.grow()
    assert (slots.limit, slots.reason) == (16, "")


def test_after_a_refusal_it_doubles_with_every_round() -> None:
    slots = Concurrency(64)
    slots.fault("rate-limit", asked_at=0.0, now=0.0)
    slots.fault("rate-limit", asked_at=1.0, now=1.0)
    for _ in range(16):
        slots.grow()
    assert slots.limit == 32


def test_there_is_always_one() -> None:
    slots = Concurrency(8)
    for moment in range(100):
        slots.fault("connection", moment, moment)
    assert slots.limit == 1


def test_a_fault_now_and_then_is_no_overload() -> None:
    slots = Concurrency(64)
    for moment in range(1000):
        slots.fault("server-error", moment, moment) if moment % 8 == 7 else slots.grow()
    assert slots.limit == 64
    for moment in range(1000, 1040):
        slots.fault("server-error", moment, moment)
    assert slots.limit == 1
