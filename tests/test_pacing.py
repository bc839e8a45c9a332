from __future__ import annotations

import asyncio

import pytest

from reflectune.errors import OracleBusy
from reflectune.oracles.pacing import Pace, delay_before


async def test_never_more_in_flight_than_the_limit() -> None:
    pace = Pace(5)
    most = 0

    async def hold() -> None:
        nonlocal most
        async with pace.slot():
            most = max(most, pace.in_flight)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(hold() for _ in range(50)))
    assert most == 5
    assert pace.in_flight == 0


async def test_a_cancelled_wait_leaks_no_slot() -> None:
    pace = Pace(1)
    async with pace.slot():
        waiting = asyncio.create_task(anext_slot(pace))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), pace.slot():
        assert pace.in_flight == 1
    assert pace.in_flight == 0


async def anext_slot(pace: Pace) -> None:
    async with pace.slot():
        pass


async def test_overload_halves_once_per_round_trip_and_grows_back() -> None:
    pace = Pace(16)
    async with pace.slot() as first, pace.slot() as second:
        pace.overloaded(first)
        pace.overloaded(second)
    assert pace.limit == 8
    async with pace.slot() as later:
        pace.overloaded(later)
    assert pace.limit == 4
    for _ in range(4):
        pace.well()
    assert 4.5 < pace.limit < 5.1
    for _ in range(1000):
        pace.well()
    assert pace.limit == 16


async def test_a_smaller_limit_is_kept_while_slots_drain() -> None:
    pace = Pace(4)
    release = asyncio.Event()
    running = 0

    async def hold() -> None:
        nonlocal running
        async with pace.slot():
            running += 1
            await release.wait()
            running -= 1

    tasks = [asyncio.create_task(hold()) for _ in range(8)]
    await asyncio.sleep(0)
    assert running == 4
    pace.limit = 1.0
    release.set()
    await asyncio.gather(*tasks)
    assert pace.in_flight == 0


@pytest.mark.parametrize("attempt", range(1, 12))
def test_the_delay_grows_with_jitter_up_to_a_minute(attempt: int) -> None:
    busy = OracleBusy("full", reason="rate-limit")
    longest = min(60.0, 2.0 ** (attempt - 1))
    assert all(longest / 2 <= delay_before(attempt, busy) <= longest for _ in range(100))


def test_what_the_oracle_asks_for_is_obeyed() -> None:
    assert delay_before(1, OracleBusy("full", reason="rate-limit", retry_after=90.0)) == 90.0
