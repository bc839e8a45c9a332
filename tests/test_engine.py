from __future__ import annotations

import asyncio

import pytest

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import engine as engine_module
from reflectune.oracles.engine import Answer, Engine, Rejected, Stopped, Unacceptable
from reflectune.oracles.pacing import Pace
from reflectune.records import Message, Reply, Request
from reflectune.testing import MemoryStore, ScriptedOracle


def request(text: str = "hello", sample: int = 0) -> Request:
    return Request((Message("user", text),), sample=sample)


def text_of(reply: Reply) -> str:
    if reply.text == "bad":
        raise Unacceptable("bad", "The reply is bad.")
    return reply.text


@pytest.fixture(autouse=True)
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


async def test_a_busy_oracle_is_asked_again_and_slows_the_pace() -> None:
    oracle = ScriptedOracle([OracleBusy("full", reason="rate-limit"), OracleBusy("full", reason="rate-limit"), "one"])
    engine = Engine(oracle, MemoryStore(), Pace(8))
    answer = await engine.ask(request(), text_of)
    assert isinstance(answer, Answer)
    assert engine.usage.retried == 2
    assert engine.pace.limit < 8


async def test_a_record_fails_when_the_retry_budget_is_spent() -> None:
    oracle = ScriptedOracle(lambda _: OracleBusy("down", reason="server-error"))
    outcome = await Engine(oracle, MemoryStore()).ask(request(), text_of)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.reply) == ("server-error", None)
    assert len(oracle.requests) == 10


async def test_an_address_that_never_answered_stops_the_run() -> None:
    oracle = ScriptedOracle(lambda _: OracleBusy("no route", reason="connection", mend="Check the address."))
    with pytest.raises(OracleError, match="no route") as caught:
        await Engine(oracle, MemoryStore()).ask(request(), text_of)
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

    class Failing(ScriptedOracle):
        async def complete(self, request: Request) -> Reply:
            if request.messages[-1].content == "0":
                raise OracleError("wrong key")
            await asyncio.sleep(0.02)
            return await super().complete(request)

    engine = Engine(Failing(lambda _: "one"), store, Pace(4))

    async def do(number: int) -> None:
        await engine.ask(request(str(number)), text_of)

    with pytest.raises(OracleError, match="wrong key"):
        async for _ in engine.work(range(50), do):
            pass
    assert 1 <= len(store.replies) <= 4


async def test_a_stopped_engine_still_serves_what_it_has() -> None:
    store = MemoryStore()
    engine = Engine(ScriptedOracle(["one"]), store)
    await engine.ask(request(), text_of)
    engine.stop()
    assert isinstance(await engine.ask(request(), text_of), Answer)
    with pytest.raises(Stopped):
        await engine.ask(request("new"), text_of)


async def test_a_long_wait_that_the_oracle_asks_for_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "delay_before", lambda attempt, busy: busy.retry_after)
    monkeypatch.setattr(engine_module, "MOST_SECONDS", 0.05)
    oracle = ScriptedOracle([OracleBusy("full", reason="rate-limit", retry_after=3600.0), "one"])
    assert isinstance(await Engine(oracle, MemoryStore()).ask(request(), text_of), Answer)


async def test_a_fault_of_the_reader_does_not_lose_the_reply() -> None:
    def faulty(reply: Reply) -> str:
        raise ZeroDivisionError

    store = MemoryStore()
    with pytest.raises(ZeroDivisionError):
        await Engine(ScriptedOracle(["one"]), store).ask(request(), faulty)
    assert [reply.text for reply in store.replies.values()] == ["one"]
