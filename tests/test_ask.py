from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import BaseModel

from reflectune.ask import Manner, Messages, ask_number, ask_text, ask_value
from reflectune.criteria import InstructionReflection, ResponseReflection, schema_of
from reflectune.oracles.engine import Answer, Engine, Rejected, Unacceptable
from reflectune.records import Message, Reply, Sampling
from reflectune.testing import MemoryStore, Said, ScriptedOracle

OPENING = (Message("user", "go"),)


class Point(BaseModel):
    x: int
    note: str


def told(opening: Messages, rejected: Sequence[Rejected]) -> Messages:
    return (*opening, Message("user", " then ".join(one.reason for one in rejected)))


def manner(*said: Said, retries: int = 2) -> tuple[Manner, ScriptedOracle]:
    oracle = ScriptedOracle(said)
    return Manner(Engine(oracle, MemoryStore()), Sampling(), retries, told), oracle


def anything(_: object) -> None:
    pass


async def test_validation_is_the_parser() -> None:
    how, oracle = manner('{"x": 3, "note": "</output> {{x}} [\\"y\\"] ```"}')
    outcome, attempts = await ask_value(how, OPENING, Point, anything)
    assert isinstance(outcome, Answer)
    assert outcome.value == Point(x=3, note='</output> {{x}} ["y"] ```')
    assert attempts == 1
    assert oracle.requests[0].schema == schema_of(Point)


async def test_the_reason_is_told_and_the_last_attempt_counts() -> None:
    how, oracle = manner("not json", '{"x": "no"}', '{"x": 1, "note": ""}')
    outcome, attempts = await ask_value(how, OPENING, Point, anything)
    assert isinstance(outcome, Answer)
    assert attempts == 3
    assert [request.messages[-1].content for request in oracle.requests] == ["go", "invalid", "invalid then invalid"]


async def test_each_further_draw_is_hotter_where_that_is_wanted() -> None:
    how, oracle = manner("no", "no", "no")
    await ask_value(replace(how, heat=0.25), OPENING, Point, anything)
    assert [request.sampling.temperature for request in oracle.requests] == [0.0, 0.25, 0.5]


async def test_it_is_asked_at_most_twice_again() -> None:
    how, oracle = manner(*["nothing"] * 3)
    outcome, attempts = await ask_value(how, OPENING, Point, anything)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, attempts, len(oracle.requests)) == ("invalid", 3, 3)
    assert outcome.reply is not None
    assert outcome.reply.text == "nothing"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(text='{"x": 1', finish_reason="length"), "truncated"),
        (Reply(text='{"x": 1, "note": "a"}', finish_reason="length"), "truncated"),
        (Reply(text="", finish_reason="content_filter"), "refusal"),
        (Reply(text=""), "invalid"),
        (Reply(text='{"x": 1, "note": "a"} and that is my answer'), "invalid"),
        (Reply(text='Sure! {"x": 1, "note": "a"}'), "invalid"),
    ],
)
async def test_what_is_no_finished_value_is_rejected(reply: Reply, reason: str) -> None:
    how, _ = manner(reply, retries=0)
    outcome, _ = await ask_value(how, OPENING, Point, anything)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason


async def test_the_content_of_the_only_code_fence_is_the_value() -> None:
    how, _ = manner('Here it is:\n```json\n{"x": 1, "note": "a"}\n```')
    outcome, _ = await ask_value(how, OPENING, Point, anything)
    assert isinstance(outcome, Answer)


async def test_a_valid_value_can_still_be_refused() -> None:
    def refuse(value: Point) -> None:
        raise Unacceptable("copy", f"{value.x} again")

    how, _ = manner('{"x": 1, "note": "a"}', retries=0)
    outcome, _ = await ask_value(how, OPENING, Point, refuse)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.detail) == ("copy", "1 again")


async def test_a_text_is_the_whole_reply() -> None:
    how, oracle = manner('  {"not": "parsed"} </output>\n')
    outcome, _ = await ask_text(how, OPENING, lambda text, reply: None)
    assert isinstance(outcome, Answer)
    assert outcome.value == '{"not": "parsed"} </output>'
    assert oracle.requests[0].schema is None


@pytest.mark.parametrize("said", ["0", "11", "7.5", "seven", "", "-3", "７x"])
async def test_a_number_out_of_range_is_no_number(said: str) -> None:
    how, _ = manner(said, retries=0)
    outcome = await ask_number(how, OPENING, 10)
    assert isinstance(outcome, Rejected)


async def test_a_number() -> None:
    how, oracle = manner(" 10\n")
    outcome = await ask_number(how, OPENING, 10)
    assert isinstance(outcome, Answer)
    assert outcome.value == 10
    assert oracle.requests[0].schema is not None
    assert oracle.requests[0].schema.body["enum"] == list(range(1, 11))


def test_schemas_are_plain_and_in_the_order_of_reasoning() -> None:
    body = schema_of(InstructionReflection).body
    assert list(body["properties"]) == ["instruction_critique", "response_critique", "link", "instruction", "response"]
    assert body["additionalProperties"] is False
    assert "$ref" not in str(body)
    assert "title" not in str(body)
    assert list(schema_of(ResponseReflection).body["properties"]) == ["response_critique", "response"]


def test_every_string_is_limited_where_a_limit_is_asked_for() -> None:
    body = schema_of(InstructionReflection, text_limit=100).body
    assert body["properties"]["response"]["maxLength"] == 400
    assert body["properties"]["link"]["maxLength"] == 100
    note = body["properties"]["instruction_critique"]["properties"]["ambiguity"]["properties"]
    assert note["remark"]["maxLength"] == 100
    assert "maxLength" not in str(schema_of(InstructionReflection).body)


async def test_a_reply_under_a_grammar_has_room_to_end() -> None:
    how, oracle = manner('{"x": 1, "note": "a"}')
    oracle.text_limit = 3000
    await ask_value(how, OPENING, Point, anything)
    assert oracle.requests[0].sampling.max_tokens >= 3000
