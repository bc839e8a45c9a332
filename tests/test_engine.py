from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

import pytest

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import engine as engine_module
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Answer, Engine, Rejected, Stopped, Unacceptable
from reflectune.oracles.pacing import Pace
from reflectune.oracles.prices import Price
from reflectune.records import Message, Reply, Request, Sampling
from reflectune.testing import MemoryStore, ScriptedOracle
from virtual_time import run


def request(text: str = "hello", sample: int = 0, tokens: int = 2048) -> Request:
    return Request((Message("user", text),), Sampling(max_tokens=tokens), sample=sample)


def text_of(reply: Reply) -> str:
    if reply.text == "bad":
        raise Unacceptable("bad", "The reply is bad.")
    return reply.text


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "delay_before", lambda attempt, busy: 0.0)


async def test_a_reply_is_asked_for_once_and_then_served_from_the_store() -> None:
    oracle, store = ScriptedOracle(["one"]), MemoryStore()
    first = await Engine(oracle, store).ask(request(), text_of)
    engine = Engine(oracle, store)
    second = await engine.ask(request(), text_of)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.value == second.value == "one"
    assert len(oracle.requests) == 1
    assert (engine.usage.requests, engine.usage.cached) == (0, 1)


async def test_equal_requests_in_flight_are_asked_once() -> None:
    oracle = ScriptedOracle(["one"])
    engine = Engine(oracle, MemoryStore())
    answers = await asyncio.gather(*(engine.ask(request(), text_of) for _ in range(20)))
    assert {answer.value for answer in answers if isinstance(answer, Answer)} == {"one"}
    assert len(oracle.requests) == 1


async def test_another_sample_of_the_same_request_is_another_request() -> None:
    oracle = ScriptedOracle(["one", "two"])
    engine = Engine(oracle, MemoryStore())
    await engine.ask(request(sample=0), text_of)
    answer = await engine.ask(request(sample=1), text_of)
    assert isinstance(answer, Answer)
    assert answer.value == "two"


async def test_a_rejected_reply_is_kept_with_its_reason_and_never_becomes_an_answer() -> None:
    oracle, store = ScriptedOracle(["bad"]), MemoryStore()
    first = await Engine(oracle, store).ask(request(), text_of)
    again = await Engine(oracle, store).ask(request(), text_of)
    assert isinstance(first, Rejected)
    assert isinstance(again, Rejected)
    assert first.reason == again.reason == "bad"
    assert [reply.rejected for reply in store.replies.values()] == ["bad"]
    assert len(oracle.requests) == 1


@pytest.mark.usefixtures("no_waiting")
async def test_a_busy_oracle_is_asked_again_and_slows_the_pace() -> None:
    oracle = ScriptedOracle([OracleBusy("full", reason="rate-limit"), OracleBusy("full", reason="rate-limit"), "one"])
    engine = Engine(oracle, MemoryStore(), Pace(8))
    answer = await engine.ask(request(), text_of)
    assert isinstance(answer, Answer)
    assert engine.usage.retried == 2
    assert engine.pace.limit < 8


def test_a_record_fails_when_the_retry_budget_is_spent() -> None:
    oracle = ScriptedOracle(lambda _: OracleBusy("down", reason="server-error"))
    outcome = run(Engine(oracle, MemoryStore()).ask(request(), text_of))
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reply) == ("server-error", None)
    assert len(oracle.requests) == 10


def test_an_address_that_never_answered_stops_the_run() -> None:
    oracle = ScriptedOracle(lambda _: OracleBusy("no route", reason="connection", mend="Check the address."))
    with pytest.raises(OracleError, match="no route") as caught:
        run(Engine(oracle, MemoryStore()).ask(request(), text_of))
    assert caught.value.mend == "Check the address."
    assert len(oracle.requests) == 3


async def test_a_refused_request_fails_only_its_record() -> None:
    oracle = ScriptedOracle([RequestRefused("too long", reason="context-overflow"), "one"])
    engine = Engine(oracle, MemoryStore())
    outcome = await engine.ask(request("a"), text_of)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "context-overflow"
    assert isinstance(await engine.ask(request("b"), text_of), Answer)


class SlowStore(MemoryStore):
    """Takes its time to commit, and notes how many requests were begun meanwhile."""

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:
        await asyncio.sleep(0.01)
        await super().keep_reply(key, request, oracle, reply)


async def test_a_slot_is_held_until_its_reply_is_durable() -> None:
    store = SlowStore()
    begun_undurable: list[int] = []

    def say(_: Request) -> str:
        begun_undurable.append(len(oracle.requests) - len(store.replies))
        return "one"

    oracle = ScriptedOracle(say)
    engine = Engine(oracle, store, Pace(3))
    await asyncio.gather(*(engine.ask(request(str(number)), text_of) for number in range(30)))
    assert max(begun_undurable) == 3


async def test_work_yields_every_result_once() -> None:
    oracle = ScriptedOracle(lambda asked: asked.messages[-1].content)
    engine = Engine(oracle, MemoryStore(), Pace(4))

    async def do(number: int) -> str:
        answer = await engine.ask(request(str(number)), text_of)
        assert isinstance(answer, Answer)
        return answer.value

    results = [result async for result in engine.work(range(100), do)]
    assert sorted(results, key=int) == [str(number) for number in range(100)]


async def test_work_takes_items_only_as_fast_as_they_are_done() -> None:
    taken = 0

    def items() -> object:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    engine = Engine(ScriptedOracle(lambda _: "one"), MemoryStore(), Pace(4))

    async def do(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async for _ in engine.work(items(), do):  # type: ignore[arg-type]
        assert taken <= 1000
        break
    assert taken < 20


async def test_stop_finishes_what_is_in_flight_and_begins_nothing_more() -> None:
    asked = asyncio.Event()
    store = MemoryStore()

    class Slow(ScriptedOracle):
        async def complete(self, request: Request) -> Reply:
            asked.set()
            await asyncio.sleep(0.02)
            return await super().complete(request)

    oracle = Slow(lambda _: "one")
    engine = Engine(oracle, store, Pace(2))

    async def do(number: int) -> int:
        await engine.ask(request(f"{number} first"), text_of)
        await engine.ask(request(f"{number} second"), text_of)
        return number

    async def stop_soon() -> None:
        await asked.wait()
        engine.stop()

    stopper = asyncio.create_task(stop_soon())
    results = [result async for result in engine.work(range(50), do)]
    await stopper
    assert results == []
    assert len(oracle.requests) == len(store.replies) == 2


async def test_an_error_is_raised_after_what_is_in_flight_was_kept() -> None:
    store = MemoryStore()
    asked: list[str] = []

    class Failing(ScriptedOracle):
        async def complete(self, request: Request) -> Reply:
            asked.append(request.messages[-1].content)
            await asyncio.sleep(0.01)
            if request.messages[-1].content == "0":
                raise OracleError("wrong key")
            await asyncio.sleep(0.02)
            return await super().complete(request)

    oracle = Failing(lambda _: "one")
    oracle.concurrency = None  # so that further rows wait for a slot
    engine = Engine(oracle, store, Pace(4))

    async def do(number: int) -> None:
        await engine.ask(request(str(number)), text_of)

    with pytest.raises(OracleError, match="wrong key"):
        async for _ in engine.work(range(50), do):
            pass
    assert asked == ["0", "1", "2", "3"], "another request took the place of the one that failed"
    assert len(store.replies) == 3


async def test_nothing_is_begun_after_a_reply_that_does_not_say_what_it_costs() -> None:
    store = MemoryStore()
    begun = 0

    class Silent(ScriptedOracle):
        async def complete(self, request: Request) -> Reply:
            nonlocal begun
            begun += 1
            await asyncio.sleep(0.001 * begun)  # they land one after the other
            reply = await super().complete(request)
            return reply.model_copy(update={"prompt_tokens": 0, "completion_tokens": 0})

    oracle = Silent(lambda _: "one")
    oracle.concurrency = None  # so that further rows wait for a slot
    engine = Engine(oracle, store, Pace(4), budget=Budget(1.0, Price(input=1, output=1)))

    async def do(number: int) -> None:
        await engine.ask(request(str(number)), text_of)

    with pytest.raises(OracleError, match="how many tokens"):
        async for _ in engine.work(range(50), do):
            pass
    assert begun == len(store.replies) == 4


async def test_a_stopped_engine_still_serves_what_it_has() -> None:
    store = MemoryStore()
    engine = Engine(ScriptedOracle(["one"]), store)
    await engine.ask(request(), text_of)
    engine.stop()
    assert isinstance(await engine.ask(request(), text_of), Answer)
    with pytest.raises(Stopped):
        await engine.ask(request("new"), text_of)


async def test_a_fault_of_the_reader_does_not_lose_the_reply() -> None:
    def faulty(reply: Reply) -> str:
        raise ZeroDivisionError

    store = MemoryStore()
    with pytest.raises(ZeroDivisionError):
        await Engine(ScriptedOracle(["one"]), store).ask(request(), faulty)
    assert [reply.text for reply in store.replies.values()] == ["one"]


class Endpoint(ScriptedOracle):
    """An oracle in virtual time: `fate(seconds, request)` is what becomes of a request, by when it is sent."""

    def __init__(self, fate: Callable[[float, str], Exception | str], latency: float = 0.5) -> None:
        super().__init__([])
        self.concurrency = None
        self.fate, self.latency = fate, latency
        self.asked: list[tuple[float, str]] = []
        self.most_in_flight = self.in_flight = 0

    async def complete(self, request: Request) -> Reply:
        text = request.messages[-1].content
        said = self.fate(clock(), text)
        self.asked.append((clock(), text))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.latency)
        self.in_flight -= 1
        if isinstance(said, Exception):
            raise said
        return Reply(text=said, prompt_tokens=10, cached_tokens=4, completion_tokens=10)


def clock() -> float:
    """Virtual seconds since the scene began."""
    return asyncio.get_running_loop().time() - 1000


def busy(reason: str, retry_after: float | None = None) -> OracleBusy:
    return OracleBusy(reason, reason=reason, retry_after=retry_after)


async def all_of(engine: Engine, rows: int) -> tuple[int, dict[str, str]]:
    """Ask for so many rows: how many came through, and why the others did not."""
    failed: dict[str, str] = {}
    done = 0

    async def do(number: int) -> tuple[str, Answer[str] | Rejected]:
        return str(number), await engine.ask(request(str(number)), text_of)

    async for name, outcome in engine.work(range(rows), do):
        done += isinstance(outcome, Answer)
        if isinstance(outcome, Rejected):
            failed[name] = outcome.reason
    return done, failed


@pytest.mark.parametrize("reason", ["connection", "server-error", "timeout", "bad-reply"])
@pytest.mark.parametrize("ceiling", [1, 4, 32])
def test_an_outage_of_hours_fails_no_row(reason: str, ceiling: int) -> None:
    async def scene() -> None:
        back = 10 + 3 * 3600
        oracle = Endpoint(lambda now, text: busy(reason) if 10 <= now < back else text)
        engine = Engine(oracle, MemoryStore(), Pace(ceiling))
        rows = 40 * ceiling
        assert await all_of(engine, rows) == (rows, {})
        during = [now for now, _ in oracle.asked if 30 <= now < back]
        assert len(during) < 200
        assert min(later - earlier for earlier, later in itertools.pairwise(during)) > 1
        assert next(now for now, _ in oracle.asked if now >= back) < back + 61
        assert oracle.most_in_flight <= ceiling

    run(scene())


@pytest.mark.parametrize("loading", ["server-error", "connection"])
def test_a_server_that_loads_for_minutes_is_waited_for(loading: str) -> None:
    def fate(now: float, text: str) -> Exception | str:
        if now < 5:
            return busy("server-error")
        return busy(loading) if now < 400 else text

    async def scene() -> None:
        engine = Engine(Endpoint(fate, latency=0.01), MemoryStore(), Pace(8))
        assert await all_of(engine, 50) == (50, {})

    run(scene())


@pytest.mark.parametrize("ceiling", [1, 32])
def test_an_address_that_never_answered_is_told_within_seconds(ceiling: int) -> None:
    async def scene() -> float:
        engine = Engine(Endpoint(lambda _, __: busy("connection"), latency=0.01), MemoryStore(), Pace(ceiling))
        with pytest.raises(OracleError, match="connection"):
            await all_of(engine, 100)
        return clock()

    assert run(scene()) < 10


@pytest.mark.parametrize("ceiling", [1, 2, 32])
def test_a_poisonous_row_fails_alone(ceiling: int) -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda _, text: busy("server-error") if text in {"7", "8"} else text)
        pace = Pace(ceiling)
        engine = Engine(oracle, MemoryStore(), pace)
        rows = 40 * ceiling
        assert await all_of(engine, rows) == (rows - 2, {"7": "server-error", "8": "server-error"})
        assert {name: sum(text == name for _, text in oracle.asked) for name in "78"} == {"7": 10, "8": 10}

    run(scene())


def test_a_quota_that_is_spent_fails_no_row() -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda now, text: busy("rate-limit") if 5 <= now < 7200 else text)
        engine = Engine(oracle, MemoryStore(), Pace(16))
        assert await all_of(engine, 2000) == (2000, {})
        assert len([now for now, _ in oracle.asked if 60 <= now < 7200]) < 300

    run(scene())


def test_a_long_wait_that_the_oracle_asks_for_fails_nothing() -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda now, text: busy("rate-limit", 3000.0 - now) if 1 <= now < 3000 else text)
        engine = Engine(oracle, MemoryStore(), Pace(4))
        assert await all_of(engine, 20) == (20, {})
        assert not [now for now, _ in oracle.asked if 2 <= now < 3000]

    run(scene())


def test_a_slow_pace_is_no_row_s_fault() -> None:
    async def scene() -> None:
        seen: set[str] = set()

        def once(_: float, text: str) -> Exception | str:
            first = text not in seen
            seen.add(text)
            return busy("timeout") if first and int(text) % 5 == 0 else text

        engine = Engine(Endpoint(once), MemoryStore(), Pace(32, rpm=0.5))
        assert await all_of(engine, 60) == (60, {})
        assert clock() > 3600

    run(scene())


def test_what_headers_allow_is_heeded() -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda _, text: text)
        oracle.allowance = Allowance(rpm=60)
        engine = Engine(oracle, MemoryStore(), Pace(4))
        await all_of(engine, 64)
        assert clock() == pytest.approx(60 / 0.98, abs=2)
        assert engine.usage.cached_tokens == 64 * 4

    run(scene())


@pytest.mark.parametrize(
    "fate",
    [
        lambda now, text: busy("connection") if now > 2 else text,
        lambda now, text: busy("rate-limit", 1000.0) if now > 2 else text,
        lambda now, text: busy("rate-limit") if now > 2 else text,
    ],
    ids=["down", "held", "backing off"],
)
def test_stop_ends_every_wait(fate: Callable[[float, str], Exception | str]) -> None:
    async def scene() -> None:
        oracle, store = Endpoint(fate), MemoryStore()
        engine = Engine(oracle, store, Pace(16))
        asyncio.get_running_loop().call_later(10.1, engine.stop)
        done, failed = await all_of(engine, 10_000)
        assert clock() < 10.7
        assert not failed
        assert done == len(store.replies) > 0

    run(scene())


def test_a_budget_that_is_spent_ends_the_work() -> None:
    async def scene() -> None:
        budget = Budget(500e-6, Price(input=1, output=1))
        engine = Engine(Endpoint(lambda _, text: text), MemoryStore(), Pace(8), budget=budget)
        done = 0

        async def do(number: int) -> None:
            nonlocal done
            await engine.ask(request(str(number), tokens=30), text_of)
            done += 1

        async for _ in engine.work(range(1000), do):
            pass
        assert engine.out_of_budget
        assert engine.stopping
        assert budget.spent == pytest.approx(done * 20e-6)
        assert 460e-6 < budget.spent <= 500e-6

    run(scene())


def test_stopping_is_not_running_out_of_money() -> None:
    async def scene() -> None:
        budget = Budget(100e-6, Price(input=1, output=1))
        engine = Engine(Endpoint(lambda _, text: text, latency=5.0), MemoryStore(), Pace(8), budget=budget)
        asyncio.get_running_loop().call_later(1.0, engine.stop)

        async def do(number: int) -> None:
            await engine.ask(request(str(number), tokens=30), text_of)

        async for _ in engine.work(range(1000), do):
            pass
        assert not engine.out_of_budget
        assert clock() == pytest.approx(5.0)

    run(scene())


def test_rejected_replies_are_paid_for() -> None:
    async def scene() -> float:
        budget = Budget(1.0, Price(input=1, output=1))
        engine = Engine(Endpoint(lambda _, __: "bad"), MemoryStore(), budget=budget)
        assert isinstance(await engine.ask(request(), text_of), Rejected)
        return budget.spent

    assert run(scene()) == pytest.approx(20e-6)


def test_a_few_rows_wait_for_a_server_that_loads() -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda now, text: busy("server-error") if now < 600 else text)
        assert await all_of(Engine(oracle, MemoryStore(), Pace(32)), 5) == (5, {})
        assert len(oracle.asked) < 30

    run(scene())


def test_where_all_that_is_left_is_poisonous_it_fails_within_the_hour() -> None:
    async def scene() -> None:
        oracle = Endpoint(lambda _, text: busy("server-error") if int(text) >= 30 else text)
        done, failed = await all_of(Engine(oracle, MemoryStore(), Pace(8)), 34)
        assert (done, set(failed.values()), len(failed)) == (30, {"server-error"}, 4)
        assert clock() < 3600

    run(scene())
