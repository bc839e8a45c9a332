"""The pieces of the server on their own: turns, choices, merged streams, errors."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.inference import Answered, Part
from reflectune.tags import Stream
from reflectune.web.api.admission import Admission
from reflectune.web.api.choice import Choice
from reflectune.web.api.merged import Merged
from reflectune.web.api.outlet import packed
from reflectune.web.api.problems import Problem, problem_of

REPLY = (
    "Well.\n<thinking>\n one <reflection>two</reflection><reflection>three</reflection>\nfour\n</thinking>\n"
    "<output>\n five\n\nsix \n</output>\nend"
)


def answered(raw: str, output: str | None, *, faults: tuple[str, ...] = ()) -> Answered:
    return Answered(raw, output, "", (), faults, "stop", 3, 5)


def told(tags: Any, chunks: list[str], *, reflects: bool = True) -> tuple[Choice, list[dict[str, Any]]]:
    """The deltas of a reply that comes in chunks."""
    choice = Choice(0, tags, reflects=reflects, without_output="empty")
    stream = Stream()
    parts = [part for chunk in chunks for part in stream.feed(chunk)] + stream.end()
    deltas = [choice.delta(part) for part in parts]
    return choice, [delta for delta in deltas if delta]


def joined(deltas: list[dict[str, Any]], field: str) -> str:
    return "".join(delta.get(field, "") for delta in deltas)


@given(st.lists(st.integers(0, len(REPLY)), max_size=6))
def test_content_is_the_output_alone_however_it_comes(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(REPLY)]
    chunks = [REPLY[begin:end] for begin, end in itertools.pairwise(places)]
    choice, deltas = told("", chunks)
    assert joined(deltas, "content") == choice.message["content"] == "five\n\nsix"
    reasoning = "Well.\n\none\n\ntwo\n\nthree\n\nfour\n\nend"
    assert joined(deltas, "reasoning_content") == choice.message["reasoning_content"] == reasoning
    choice, deltas = told("raw", chunks)
    assert joined(deltas, "content") == choice.message["content"] == REPLY
    assert "reasoning_content" not in choice.message
    choice, deltas = told("parts", chunks)
    begun = [delta["part"] for delta in deltas if delta["begins"]]
    assert begun == ["text", "thinking", "reflection", "reflection", "thinking", "output", "text"]
    by_part = {kind: "".join(d.get("content", d.get("reasoning_content", "")) for d in deltas if d["part"] == kind)
               for kind in begun}  # fmt: skip
    assert by_part == {"text": "Well.end", "thinking": "onefour", "reflection": "twothree", "output": "five\n\nsix"}


def test_text_of_a_plain_model_is_content() -> None:
    choice = Choice(0, "", reflects=False, without_output="empty")
    assert choice.delta(Part("thinking", "hm", "", begins=True)) == {"reasoning_content": "hm"}
    assert choice.delta(Part("text", "a <b>", "a <b>", begins=True)) == {"content": "a <b>"}
    assert choice.end(answered("a <b>", "a <b>")) is None
    assert choice.message == {
        "role": "assistant",
        "content": "a <b>",
        "reasoning_content": "hm",
        "refusal": None,
    }
    assert choice.ending == {"finish_reason": "stop"}


@pytest.mark.parametrize(("without", "content"), [("empty", ""), ("whole", "<thinking>hm")])
def test_a_reply_without_output_says_so(without: Any, content: str) -> None:
    choice = Choice(0, "", reflects=True, without_output=without)
    choice.delta(Part("thinking", "hm", "<thinking>hm", begins=True))
    end = choice.end(answered("<thinking>hm", None, faults=("no-output",)))
    assert end == ({"content": content} if content else None)
    assert choice.message["content"] == content
    assert choice.ending == {"finish_reason": "stop", "reflectune": {"faults": ["no-output"]}}


async def test_content_without_output_ends_before_a_stop() -> None:
    choice = Choice(0, "", reflects=True, without_output="whole", stop=("STOP",))
    choice.delta(Part("text", "one STOP two", "one STOP two", begins=True))
    assert choice.end(replace(answered("one STOP two", None), finish_reason="length")) == {"content": "one "}
    assert choice.ending["finish_reason"] == "stop"


@given(st.lists(st.integers(0, len(REPLY)), max_size=6))
def test_raw_text_ends_before_a_stop_outside_of_thinking(cuts: list[int]) -> None:
    reply = "<thinking>a STOP b</thinking>\none ST and STOP two<output>three</output>"
    places = [0, *sorted(cuts), len(reply)]
    choice = Choice(0, "raw", reflects=True, without_output="empty", stop=("STOP",))
    stream = Stream()
    parts = [part for begin, end in itertools.pairwise(places) for part in stream.feed(reply[begin:end])]
    deltas = [choice.delta(part) for part in [*parts, *stream.end()]] + [choice.end(answered(reply, "three"))]
    assert joined([delta for delta in deltas if delta], "content") == choice.message["content"]
    assert choice.message["content"] == "<thinking>a STOP b</thinking>\none ST and "
    assert choice.ending == {"finish_reason": "stop"}


def test_raw_text_that_might_have_become_a_stop_is_not_lost() -> None:
    choice = Choice(0, "raw", reflects=True, without_output="empty", stop=("STOP",))
    assert choice.delta(Part("text", "a ST", "a ST", begins=True)) == {"content": "a "}
    assert choice.delta(Part("output", "", "<output>", begins=True)) == {"content": "ST<output>"}
    choice.delta(Part("text", "S", "S", begins=True))
    assert choice.end(answered("a ST<output>S", "")) == {"content": "S"}


async def test_turns_go_in_the_order_of_coming() -> None:
    admission = Admission(2, 10, 5.0)
    log: list[int] = []

    async def work(number: int) -> None:
        async with admission.turn():
            log.append(number)
            assert admission.busy <= 2
            await asyncio.sleep(0.001)

    await asyncio.gather(*(work(number) for number in range(9)))
    assert log == list(range(9))
    assert (admission.busy, admission.waiting) == (0, 0)


async def test_who_finds_the_queue_full_is_sent_away() -> None:
    admission = Admission(1, 1, 5.0)
    async with admission.turn():
        waiting = asyncio.create_task(_through(admission))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as caught:
            await _through(admission)
        assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert caught.value.headers["retry-after"] == "1"
    await waiting


async def test_who_waits_too_long_is_sent_away_and_no_slot_is_lost() -> None:
    admission = Admission(1, 5, 0.01)
    async with admission.turn():
        with pytest.raises(Problem) as caught:
            await _through(admission)
        assert (caught.value.status, caught.value.code) == (503, "queue_timeout")
        assert admission.waiting == 0
    await _through(admission)
    assert admission.busy == 0


async def test_at_the_end_who_waits_is_sent_away_and_who_is_in_stays() -> None:
    admission = Admission(1, 5, 5.0)
    async with admission.turn():
        waiting = asyncio.create_task(_through(admission))
        await asyncio.sleep(0)
        admission.close()
        for late in (waiting, asyncio.create_task(_through(admission))):
            with pytest.raises(Problem, match="shutting down"):
                await late
        assert admission.busy == 1
    assert admission.busy == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12), st.integers(1, 3))
def test_no_slot_is_lost_whoever_leaves_when(goers: list[tuple[int, bool]], slots: int) -> None:
    async def play() -> None:
        admission = Admission(slots, 100, 5.0)

        async def work(steps: int) -> None:
            async with admission.turn():
                assert admission.busy <= slots
                for _ in range(steps):
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(work(steps)) for steps, _ in goers]
        for task, (steps, leaves) in zip(tasks, goers, strict=True):
            for _ in range(steps):
                await asyncio.sleep(0)
            if leaves:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (admission.busy, admission.waiting) == (0, 0)

    asyncio.run(play())


async def _through(admission: Admission) -> None:
    async with admission.turn():
        pass


async def _counting(upto: int, log: list[str], *, fails: bool = False) -> AsyncGenerator[int]:
    try:
        for number in range(upto):
            yield number
            await asyncio.sleep(0)
        if fails:
            raise ValueError("broken")
        await asyncio.sleep(3600)
    finally:
        log.append("closed")


async def test_merged_streams_keep_their_order_and_are_closed() -> None:
    log: list[str] = []
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    async with Merged([_counting(100, log) for _ in range(3)]) as merged:
        while (told := await merged.next(0.05)) is not None:
            seen[told[0]].append(told[1])
    assert seen == {index: list(range(100)) for index in range(3)}
    assert log == ["closed"] * 3


async def test_a_stream_that_breaks_breaks_the_whole_and_the_others_are_closed() -> None:
    log: list[str] = []

    async def read() -> None:
        async with Merged([_counting(10_000, log), _counting(1, log, fails=True)]) as merged:
            while True:
                await merged.next(5)

    with pytest.raises(ValueError, match="broken"):
        await read()
    assert log == ["closed"] * 2


@pytest.mark.parametrize(
    ("error", "status", "code", "wait"),
    [
        (OracleBusy("x", reason="rate-limit", retry_after=6.2), 429, "rate_limit_exceeded", "7"),
        (OracleBusy("x", reason="rate-limit"), 429, "rate_limit_exceeded", "1"),
        (OracleBusy("x", reason="connection"), 503, "upstream_unreachable", "1"),
        (OracleBusy("x", reason="server-error", retry_after=0.2), 503, "upstream_error", "1"),
        (OracleBusy("x", reason="timeout"), 504, "timeout", None),
        (OracleBusy("x", reason="bad-reply"), 502, "bad_upstream_reply", None),
        (RequestRefused("http://x/v1 answered 400: too long", reason="context-overflow"), 400,
         "context_length_exceeded", None),
        (RequestRefused("http://x/v1 answered 400: no", reason="content-filter"), 400, "content_filter", None),
        (OracleError("http://secret.example/v1 answered 401: bad key"), 502, "upstream_unusable", None),
    ],
)  # fmt: skip
def test_what_the_model_says_has_its_status(error: OracleError, status: int, code: str, wait: str | None) -> None:
    problem = problem_of(error)
    assert (problem.status, problem.code, problem.headers.get("retry-after")) == (status, code, wait)
    assert "http://" not in problem.message


def test_half_a_character_is_no_reason_to_break_off() -> None:
    assert packed({"a": ["\ud83d", {"b": "\ude00!"}]}) == b'{"a":["?",{"b":"?!"}]}'
