"""Who may go, and when; and the whole of it against a token bucket, in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from bucket import Behaviour, fare
from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.pacing import Pace, Stopped, delay_before
from reflectune.records import Reply
from virtual_time import run

REFUSED = OracleBusy("full", reason="rate-limit", retry_after=20.0)
DOWN = OracleBusy("down", reason="connection")


def now() -> float:
    return asyncio.get_running_loop().time()


async def use(pace: Pace, seconds: float = 0.0, key: str = "") -> float:
    """Hold a slot for a while; when it was taken."""
    async with pace.slot(key) as turn:
        await asyncio.sleep(seconds)
        return turn.asked_at


async def working(ceiling: int) -> Pace:
    """A pace whose oracle has answered once."""
    pace = Pace(ceiling)
    async with pace.slot() as turn:
        pace.well(turn, Reply(text=""))
    return pace


async def fail(pace: Pace, busy: OracleBusy, key: str) -> None:
    async with pace.slot(key) as turn:
        pace.fault(turn, busy)


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
        waiting = asyncio.create_task(use(pace))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), pace.slot():
        assert pace.in_flight == 1
    assert pace.in_flight == 0


async def test_a_wait_that_is_cancelled_as_it_ends_leaks_no_slot() -> None:
    pace = Pace(1)
    async with pace.slot():
        waiting = asyncio.create_task(use(pace))
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pace.in_flight == 0


async def test_a_smaller_limit_is_kept_while_slots_drain() -> None:
    pace = Pace(4)
    release = asyncio.Event()
    began = 0

    async def hold() -> None:
        nonlocal began
        async with pace.slot() as turn:
            began += 1
            await release.wait()
            if began <= 4:
                pace.fault(turn, OracleBusy("slow", reason="timeout"))
            assert pace.in_flight <= 4

    tasks = [asyncio.create_task(hold()) for _ in range(8)]
    await asyncio.sleep(0)
    assert began == 4
    release.set()
    await asyncio.gather(*tasks)
    assert (pace.in_flight, pace.limit) == (0, 2)


async def test_a_refusal_halves_only_while_no_rate_is_known() -> None:
    pace = Pace(16)
    await fail(pace, OracleBusy("full", reason="rate-limit"), "a")
    assert pace.limit == 8
    assert pace.state(now()) == "slowed down to 8 at once (rate-limit)"
    pace.heed(Allowance(rpm=6000))
    assert pace.limit == 16
    await fail(pace, OracleBusy("full", reason="rate-limit"), "a")
    assert pace.limit == 16
    await fail(pace, OracleBusy("slow", reason="timeout"), "a")
    assert pace.limit == 8


@pytest.mark.parametrize("attempt", range(1, 12))
def test_the_delay_grows_with_jitter_up_to_a_minute(attempt: int) -> None:
    busy = OracleBusy("full", reason="rate-limit")
    longest = min(60.0, 2.0 ** (attempt - 1))
    assert all(longest / 2 <= delay_before(attempt, busy) <= longest for _ in range(100))


def test_what_the_oracle_asks_of_one_request_is_obeyed() -> None:
    assert delay_before(1, OracleBusy("full", reason="server-error", retry_after=90.0)) == 90.0


def test_what_it_asks_when_it_refuses_holds_up_everybody() -> None:
    async def scene() -> None:
        pace = Pace(8)
        began = now()
        await fail(pace, REFUSED, "a")
        assert pace.state(now()) == "waiting 20 s as the endpoint asked"
        assert [await use(pace, key=key) - began for key in "bc"] == pytest.approx([20, 20])
        assert pace.state(now()) == "slowed down to 4 at once (rate-limit)"

    run(scene())


def test_no_more_than_an_hour_is_waited_at_a_time() -> None:
    async def scene() -> float:
        pace = Pace(8)
        await fail(pace, OracleBusy("full", reason="rate-limit", retry_after=1e9), "a")
        return await use(pace) - 1000

    assert run(scene()) == pytest.approx(3600)


def test_requests_are_evenly_spaced() -> None:
    async def scene() -> list[float]:
        pace = Pace(8, rpm=60 / 0.98)
        times = await asyncio.gather(*(use(pace, 0.5) for _ in range(20)))
        assert pace.state(now()) == "at 61 requests/min (as you set it)"
        assert pace.rate == pytest.approx(60)
        return sorted(times)

    times = run(scene())
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([1.0] * 19)


def test_tokens_are_spent_at_their_rate() -> None:
    fared = fare(Behaviour(rpm=1e6, capacity=1e6, latency=1.0, tokens=200), tpm=60_000)
    assert 0.95 <= len(fared.oracle.answered) * 200 / 60_000 / 3 <= 1.0


def test_an_oracle_that_is_down_is_tried_by_one_request_at_a_time() -> None:
    async def scene() -> None:
        pace = await working(4)
        began = now()
        await asyncio.gather(*(fail(pace, DOWN, str(number)) for number in range(5)))
        assert pace.down
        assert pace.state(now()) == "endpoint down for 0:00, next try in 1 s"
        order: list[tuple[str, float]] = []

        async def ask(key: str) -> None:
            async with pace.slot(key) as turn:
                order.append((key, now() - began))
                await asyncio.sleep(0.5)
                if len(order) < 3:
                    pace.fault(turn, DOWN)
                else:
                    pace.well(turn, Reply(text=""))

        await asyncio.gather(*(ask(key) for key in "abcd"))
        assert order == [("a", 1.0), ("b", 3.5), ("c", 8.0), ("d", 8.5)]
        assert not pace.down

    run(scene())


def test_patience_ends() -> None:
    async def scene() -> float:
        pace = Pace(1, patience=3600)

        async def insist() -> None:
            for number in range(1000):
                await fail(pace, DOWN, str(number))

        with pytest.raises(OracleError, match="down for 1:0") as caught:
            await insist()
        assert "same command" in caught.value.mend
        assert pace.state(now()).startswith("endpoint down for 1:0")
        return now() - 1000

    assert 3600 <= run(scene()) < 3700


def test_a_try_that_is_cancelled_makes_room_for_another() -> None:
    async def scene() -> float:
        pace = await working(1)
        for key in "ab":
            await fail(pace, DOWN, key)
        hung = asyncio.create_task(use(pace, 1e6))
        waiting = asyncio.create_task(use(pace))
        await asyncio.sleep(10)
        hung.cancel()
        return await waiting - 1000

    assert run(scene()) == pytest.approx(10)


def test_stop_wakes_everybody_who_waits() -> None:
    async def scene() -> None:
        full, paced, held, down = Pace(1), Pace(9, rpm=1), Pace(9), await working(1)
        await fail(held, REFUSED, "a")
        for key in "ab":
            await fail(down, DOWN, key)
        await use(paced)
        running = asyncio.create_task(use(full, 5.0))
        await asyncio.sleep(0)
        began = now()
        waiting = [asyncio.create_task(use(pace)) for pace in (full, paced, held, down) for _ in range(3)]
        resting = asyncio.create_task(full.rest(1e6))
        await asyncio.sleep(0)
        for pace in (full, paced, held, down):
            pace.stop()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        await resting
        assert all(isinstance(end, Stopped) for end in ends)
        assert now() == began
        await running
        assert full.in_flight == 0
        with pytest.raises(Stopped):
            await use(full)
        await full.rest(1e6)
        assert now() == began + 5.0

    run(scene())


LATENCIES = (0.005, 0.2, 2.0)
CAPACITIES = (1, 10, 100, 600)


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_rate_that_is_set_is_used_and_kept(capacity: int, latency: float) -> None:
    fared = fare(Behaviour(capacity=capacity, latency=latency), rpm=600)
    assert fared.share >= 0.95
    assert not fared.oracle.refused
    assert not fared.reasons


@pytest.mark.parametrize(
    ("headers", "retry_after"), [("openai", "exact"), ("openai", ""), ("plain", "whole"), ("ietf", "whole")]
)
@pytest.mark.parametrize("latency", [0.005, 2.0])
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_rate_that_headers_state_is_used_and_kept(
    capacity: int, latency: float, headers: str, retry_after: str
) -> None:
    fared = fare(Behaviour(capacity=capacity, latency=latency, headers=headers, retry_after=retry_after))
    assert fared.share >= 0.95
    assert fared.refused < 0.01
    assert not fared.reasons
    assert fared.oracle.most_in_flight <= 32


@pytest.mark.parametrize("retry_after", ["exact", "whole", ""])
@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_rate_is_learned_from_refusals(capacity: int, latency: float, retry_after: str) -> None:
    fared = fare(Behaviour(capacity=capacity, latency=latency, retry_after=retry_after))
    assert fared.share >= 0.85
    assert fared.refused < 0.03
    assert not fared.reasons
    assert fared.oracle.most_in_flight <= 32


@pytest.mark.parametrize("retry_after", ["exact", "whole", ""])
def test_a_rate_is_learned_where_latency_varies_and_many_ask(retry_after: str) -> None:
    fared = fare(Behaviour(capacity=10, latency=1.0, spread=0.9, retry_after=retry_after), ceiling=256)
    assert fared.share >= 0.85
    assert fared.refused < 0.03
    assert not fared.reasons


@pytest.mark.parametrize("latency", [0.02, 0.2])
def test_stray_refusals_do_not_bring_the_rate_to_nothing(latency: float) -> None:
    fared = fare(Behaviour(rpm=1e7, capacity=1e7, latency=latency, stray=0.02), ceiling=16)
    late = [moment for moment in fared.oracle.answered if moment >= 120]
    assert len(late) / 60 >= 40
    assert not fared.reasons


@pytest.mark.parametrize("retry_after", ["exact", ""])
def test_a_rate_is_learned_beside_stray_refusals(retry_after: str) -> None:
    fared = fare(Behaviour(stray=0.01, retry_after=retry_after))
    assert fared.share >= 0.8
    assert fared.refused < 0.05
