"""Replies that are read while they are written, from every kind of model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback import Loopback
from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.generation.hugging_face import HuggingFaceModel
from reflectune.oracles import Piece
from reflectune.oracles.api import ApiOracle, ApiSettings
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine, Stopped
from reflectune.oracles.growing import Growing
from reflectune.oracles.local import LocalOracle, LocalSettings
from reflectune.oracles.prices import Price
from reflectune.oracles.stopping import Stops, stopped
from reflectune.records import Message, Reply, Request, Sampling, Schema
from reflectune.testing import MemoryStore, ScriptedOracle
from virtual_time import run

Start = Callable[..., Loopback]
HELLO = (Message("user", "hello there"),)
OBJECT = Schema("Yes", {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]})


async def read(stream: AsyncGenerator[Piece | Reply]) -> tuple[list[Piece], Reply]:
    events = [event async for event in stream]
    *pieces, reply = events
    assert isinstance(reply, Reply)
    assert all(isinstance(piece, Piece) for piece in pieces)
    return [piece for piece in pieces if isinstance(piece, Piece)], reply


def text_of(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def api(server: Loopback, **how: Any) -> ApiOracle:
    return ApiOracle(ApiSettings("m", server.base_url, **how))


# ── stops


@pytest.mark.parametrize(
    ("text", "stop", "cut"),
    [
        ("abc", (), None),
        ("abc", ("x",), None),
        ("abc", ("",), None),
        ("abc", ("b", "c"), "a"),
        ("abcd", ("abcd", "c"), "ab"),
        ("aab", ("ab",), "a"),
        ("a\n\nb", ("\n\n",), "a"),
    ],
)
def test_a_text_ends_before_what_is_whole_first(text: str, stop: tuple[str, ...], cut: str | None) -> None:
    assert stopped(text, stop) == cut


@given(st.text("ab\n", max_size=20), st.lists(st.text("ab\n", max_size=3), max_size=3), st.data())
def test_a_growing_text_ends_at_the_same_place(text: str, stop: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    stops = Stops(stop)
    pieces = [stops.feed(text[begin:end]) for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    cut = stopped(text, stop)
    assert "".join([*pieces, stops.end()]) == (text if cut is None else cut)
    assert stops.reached is (cut is not None)


# ── an endpoint


async def test_pieces_come_one_by_one_and_last_the_whole_reply(loopback: Start) -> None:
    server = loopback("--echo", "--piece-ms", "30")
    oracle = api(server)
    began = time.monotonic()
    seen = [(time.monotonic() - began, event) async for event in oracle.stream(Request(HELLO))]
    reply = seen[-1][1]
    assert isinstance(reply, Reply)
    assert text_of([event for _, event in seen if isinstance(event, Piece)]) == reply.text == "hello there"
    assert (reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == ("stop", 3, 3)
    assert seen[0][0] < seen[-1][0] - 0.05
    await oracle.aclose()


async def test_a_stream_and_a_completion_say_the_same(loopback: Start) -> None:
    for flags in (("--think",), ("--reasoning", "reasoning"), ("--reasoning", "reasoning_content"), ("--tags",)):
        oracle = api(loopback(*flags))
        request = Request(HELLO, stop=("zzz",))
        pieces, reply = await read(oracle.stream(request))
        assert reply == await oracle.complete(request)
        assert text_of(pieces) == reply.text
        assert "".join(piece.reasoning for piece in pieces) == (reply.reasoning or "")
        await oracle.aclose()


@pytest.mark.parametrize(
    ("flags", "tokens"),
    [
        (("--no-usage",), 0),
        (("--no-stream-options",), 0),
        (("--no-max-tokens", "--no-temperature"), 3),
        (("--no-done",), 3),
    ],
)
async def test_an_endpoint_is_stepped_down(loopback: Start, flags: tuple[str, ...], tokens: int) -> None:
    server = loopback("--echo", *flags)
    oracle = api(server)
    for _ in range(2):
        pieces, reply = await read(oracle.stream(Request(HELLO)))
        assert (text_of(pieces), reply.completion_tokens) == ("hello there", tokens)
    refused = server.stats()["by_status"].get("400", 0)
    await read(oracle.stream(Request(HELLO)))
    assert server.stats()["by_status"].get("400", 0) == refused  # what it takes is found out once
    await oracle.aclose()


@pytest.mark.parametrize("flag", ["--no-stream", "--ignore-stream"])
async def test_an_endpoint_that_does_not_stream_gives_all_at_once(loopback: Start, flag: str) -> None:
    server = loopback("--echo", flag)
    oracle = api(server)
    for _ in range(2):
        pieces, reply = await read(oracle.stream(Request(HELLO)))
        assert ([piece.text for piece in pieces], reply.completion_tokens) == (["hello there"], 3)
    assert server.stats()["by_status"].get("400", 0) <= 1
    assert oracle.knows(Request(HELLO))
    await oracle.aclose()


async def test_a_refused_stop_is_an_error(loopback: Start) -> None:
    oracle = api(loopback("--echo", "--no-stop"))
    for ask in (lambda request: read(oracle.stream(request)), oracle.complete):
        with pytest.raises(RequestRefused, match="stop"):
            await ask(Request(HELLO, stop=("x",)))
    assert (await oracle.complete(Request(HELLO))).text == "hello there"
    await oracle.aclose()


async def test_a_stop_ends_the_reply(loopback: Start) -> None:
    oracle = api(loopback("--echo"))
    request = Request(HELLO, stop=(" th",))
    _, reply = await read(oracle.stream(request))
    assert reply.text == (await oracle.complete(request)).text == "hello"
    await oracle.aclose()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--break-after", "3"), "bad-reply"),
        (("--error-after", "3"), "server-error"),
        (("--no-end",), "bad-reply"),
        (("--piece-ms", "3000"), "timeout"),
        (("--fail-every", "1"), "server-error"),
    ],
)
async def test_a_stream_that_goes_wrong_is_a_fault(loopback: Start, flags: tuple[str, ...], reason: str) -> None:
    oracle = api(loopback("--echo", *flags), timeout=0.5)
    with pytest.raises(OracleBusy) as fault:
        await read(oracle.stream(Request(HELLO)))
    assert fault.value.reason in {reason, "connection"} if "--break-after" in flags else fault.value.reason == reason
    await oracle.aclose()


async def test_a_key_or_a_model_that_is_wrong_is_told_as_ever(loopback: Start) -> None:
    locked = api(loopback("--require-key", "secret"))
    with pytest.raises(OracleError, match="OPENAI_API_KEY"):
        await read(locked.stream(Request(HELLO)))
    other = api(loopback("--models", "n"))
    with pytest.raises(OracleError, match="no model 'm'"):
        await read(other.stream(Request(HELLO)))
    for oracle in (locked, other):
        await oracle.aclose()


async def test_a_schema_is_streamed_once_it_is_known_to_be_enforced(loopback: Start) -> None:
    oracle = api(loopback())
    first, _ = await read(oracle.stream(Request(HELLO, schema=OBJECT)))
    second, reply = await read(oracle.stream(Request(HELLO, schema=OBJECT)))
    assert len(first) == 1
    assert len(second) > 1
    assert text_of(second) == reply.text
    wrapped = Schema("number", {"type": "integer", "enum": [1, 2]})
    assert text_of((await read(oracle.stream(Request(HELLO, schema=wrapped))))[0]) in {"1", "2"}
    plain = api(loopback("--no-json-schema", "--no-json-object"))
    pieces, _ = await read(plain.stream(Request(HELLO, schema=OBJECT)))
    assert text_of(pieces).startswith("{")
    for one in (oracle, plain):
        await one.aclose()


async def test_closing_a_stream_closes_the_connection(loopback: Start) -> None:
    server = loopback("--echo", "--piece-ms", "200")
    oracle = api(server)
    async with aclosing(oracle.stream(Request((Message("user", "word " * 200),)))) as stream:
        async for _ in stream:
            break
        assert server.stats()["in_flight"] == 1
    for _ in range(40):
        if server.stats()["in_flight"] == 0:
            break
        await asyncio.sleep(0.05)
    assert server.stats()["in_flight"] == 0
    await oracle.aclose()


async def test_the_connection_of_a_stream_is_not_used_again(loopback: Start) -> None:
    """An endpoint may close it without saying so."""
    oracle = api(loopback("--echo"), connections=1)
    for _ in range(3):
        async with asyncio.timeout(5):
            await read(oracle.stream(Request(HELLO)))
    assert oracle.wire._session is not None
    assert not oracle.wire._session.connector._conns  # type: ignore[union-attr]
    await oracle.aclose()


async def test_many_streams_at_once_are_not_mixed_up(loopback: Start) -> None:
    oracle = api(loopback("--echo", "--piece-ms", "1"))
    asked = [f"question {number} of many" for number in range(60)]
    heard = await asyncio.gather(*(read(oracle.stream(Request((Message("user", text),)))) for text in asked))
    assert [text_of(pieces) for pieces, _ in heard] == asked
    await oracle.aclose()


@pytest.mark.model
async def test_a_llama_cpp_server_streams() -> None:
    with Loopback("1", "512", script=Path(__file__).with_name("llama_server.py")) as server:
        oracle = api(server)
        asked = Request((Message("user", "Name one river."),), Sampling(max_tokens=8, seed=1), stop=("zzz",))
        pieces, reply = await read(oracle.stream(asked))
        assert len(pieces) > 3
        assert text_of(pieces) == reply.text == (await oracle.complete(asked)).text
        assert reply.prompt_tokens > 5
        assert reply.completion_tokens == 8
        with pytest.raises(RequestRefused) as refusal:
            await read(oracle.stream(Request((Message("user", "word " * 3000),))))
        assert refusal.value.reason == "context-overflow"
        await oracle.aclose()


def chunk(delta: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": None, **fields}]}


def test_odd_chunks_are_read_as_far_as_they_say_something() -> None:
    growing = Growing()
    odd: list[Any] = [
        {"choices": []},
        {"usage": {"prompt_tokens": 2, "completion_tokens": 1}, "choices": None},
        chunk({"content": [{"type": "text", "text": "a"}, "b"]}),
        chunk({"content": None}),
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        {"choices": [{"delta": {"content": "c"}, "finish_reason": "length"}]},
    ]
    pieces = [piece for one in odd for piece in growing.take(one)]
    rest, reply = growing.end()
    assert text_of(pieces + rest) == reply.text == "abc"
    assert (reply.finish_reason, reply.prompt_tokens, growing.ended) == ("length", 2, True)
    with pytest.raises(ValueError, match="no object"):
        growing.take([1])
    with pytest.raises(ValueError, match="broke off"):
        growing.take(chunk(finish_reason="error"))


def test_a_refusal_is_told_as_text() -> None:
    growing = Growing()
    growing.take(chunk({"refusal": "I will not."}, finish_reason="stop"))
    pieces, reply = growing.end()
    assert text_of(pieces) == reply.text == "I will not."
    assert reply.finish_reason == "refusal"


# ── the engine


class Whole:
    """An oracle that cannot stream."""

    def __init__(self, *script: Any) -> None:
        self._oracle = ScriptedOracle(script)

    def __getattr__(self, name: str) -> Any:
        if name == "stream":
            raise AttributeError(name)
        return getattr(self._oracle, name)


def test_an_engine_asks_again_as_long_as_nothing_was_said() -> None:
    busy = OracleBusy("busy", reason="server-error")
    store = MemoryStore()
    engine = Engine(ScriptedOracle([busy, "hello there"]), store)
    pieces, reply = run(read(engine.stream(Request(HELLO))))
    assert text_of(pieces) == reply.text == "hello there"
    assert len(pieces) > 1
    assert (engine.usage.requests, engine.usage.retried, len(store.replies)) == (1, 1, 1)
    pieces, _ = run(read(engine.stream(Request(HELLO))))  # from the store
    assert (len(pieces), engine.usage.cached) == (1, 1)


async def test_a_stream_keeps_to_a_budget() -> None:
    budget = Budget(1e-9, Price(input=1.0, output=1.0))
    engine = Engine(ScriptedOracle(["hello there"]), MemoryStore(), budget=budget)
    with pytest.raises(Stopped):
        await read(engine.stream(Request(HELLO)))
    assert engine.out_of_budget


class Breaking(ScriptedOracle):
    """An oracle that breaks off."""

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        yield Piece(text=f"hello {len(request.messages)}")
        raise OracleBusy("gone", reason="connection")


async def test_a_reply_that_broke_off_is_not_asked_for_again() -> None:
    engine = Engine(Breaking([]), MemoryStore())
    with pytest.raises(OracleBusy, match="gone"):
        await read(engine.stream(Request(HELLO)))
    assert engine.pace.in_flight == 0


def test_errors_of_a_stream_are_told() -> None:
    script = [RequestRefused("too long", reason="context-overflow"), OracleError("no such model")]
    engine = Engine(ScriptedOracle(script), MemoryStore())
    with pytest.raises(RequestRefused, match="too long"):
        run(read(engine.stream(Request(HELLO))))
    with pytest.raises(OracleError, match="no such model"):
        run(read(engine.stream(Request(HELLO))))
    gone = [OracleBusy("no answer", reason="connection")] * 10
    with pytest.raises(OracleError, match="no answer") as told:
        run(read(Engine(ScriptedOracle(gone), MemoryStore()).stream(Request(HELLO))))
    assert not isinstance(told.value, OracleBusy)  # an address that never answered


async def test_an_oracle_that_cannot_stream_gives_all_at_once() -> None:
    oracle: Any = Whole(Reply(text="hello there", reasoning="hm"))
    pieces, reply = await read(Engine(oracle, MemoryStore()).stream(Request(HELLO)))
    assert pieces == [Piece("hello there", "hm")]
    assert reply.text == "hello there"


async def test_closing_an_engines_stream_frees_the_slot() -> None:
    engine = Engine(ScriptedOracle(["hello there"]), MemoryStore())
    async with aclosing(engine.stream(Request(HELLO))) as stream:
        async for _ in stream:
            break
        assert engine.pace.in_flight == 1
    assert engine.pace.in_flight == 0
    assert engine.usage.requests == 0


async def test_a_scripted_oracle_keeps_to_stops() -> None:
    oracle = ScriptedOracle(lambda _: "one two three")
    pieces, reply = await read(oracle.stream(Request(HELLO, stop=(" three", " two"))))
    assert text_of(pieces) == reply.text == (await oracle.complete(Request(HELLO, stop=(" two",)))).text == "one"


# ── the embedded model


@pytest.fixture(scope="module")
def local() -> LocalOracle:
    return LocalOracle.open("local", LocalSettings(slots=2, context=1024))


@pytest.mark.model
async def test_the_embedded_model_streams(local: LocalOracle) -> None:
    brief = Request((Message("user", "Count from one to five."),), Sampling(temperature=0, max_tokens=12))
    pieces, reply = await read(local.stream(brief))
    assert len(pieces) > 3
    assert text_of(pieces) == reply.text
    assert (reply.finish_reason, reply.completion_tokens) == ("length", 12)
    assert reply.prompt_tokens > 5
    stop = reply.text[4:8]
    pieces, cut = await read(local.stream(Request(brief.messages, brief.sampling, stop=(stop,))))
    assert text_of(pieces) == cut.text == reply.text[: reply.text.index(stop)]
    assert cut.finish_reason == "stop"


@pytest.mark.model
async def test_a_closed_stream_frees_its_slot(local: LocalOracle) -> None:
    endless = Request((Message("user", "Write a very long story."),), Sampling(max_tokens=900, seed=3))
    for _ in range(4):  # more than there are slots
        async with aclosing(local.stream(endless)) as stream:
            async for _ in stream:
                break
    waiting = asyncio.create_task(local.complete(endless))
    await asyncio.sleep(0.2)
    waiting.cancel()
    async with asyncio.timeout(20):
        _, reply = await read(local.stream(Request(HELLO, Sampling(max_tokens=2))))
    assert reply.completion_tokens == 2


@pytest.mark.model
async def test_errors_of_the_embedded_model_come_through_a_stream(local: LocalOracle) -> None:
    with pytest.raises(RequestRefused) as refusal:
        await read(local.stream(Request((Message("user", "word " * 3000),))))
    assert refusal.value.reason == "context-overflow"
    with pytest.raises(RequestRefused, match="NUL"):
        await read(local.stream(Request((Message("user", "\0"),))))


# ── a transformers model, without one


class Writes:
    """What stands in for a model: it writes the letters of a text."""

    def __init__(self, text: str, pause: float = 0.0) -> None:
        self.config = SimpleNamespace(max_position_embeddings=10_000)
        self.generation_config = SimpleNamespace(eos_token_id=0)
        self.device = "cpu"
        self.written = 0
        self._text = text.encode()
        self._pause = pause

    def generate(
        self, *, input_ids: Any, max_new_tokens: int, stopping_criteria: Any, streamer: Any = None, **_: Any
    ) -> Any:
        import torch

        rows = input_ids.shape[0]
        if streamer is not None:
            streamer.put(input_ids)
        tokens = input_ids
        for byte in [*self._text[: max_new_tokens - 1], 0]:
            new = torch.full((rows, 1), byte)
            tokens = torch.cat([tokens, new], dim=1)
            self.written += 1
            if streamer is not None:
                streamer.put(new[0])
            if stopping_criteria[0](tokens, None).all():
                break
            time.sleep(self._pause)
        if streamer is not None:
            streamer.end()
        return SimpleNamespace(sequences=tokens)


class Bytes:
    """A tokenizer of bytes: a character may take several."""

    pad_token_id = eos_token_id = 0

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return messages[-1]["content"]

    def __call__(self, text: str, **_: Any) -> Any:
        return SimpleNamespace(input_ids=list(text.encode()))

    def pad(self, given: dict[str, Any], **_: Any) -> Any:
        import torch

        width = max(map(len, given["input_ids"]))
        return Padded({"input_ids": torch.tensor([[0] * (width - len(one)) + one for one in given["input_ids"]])})

    def decode(self, tokens: Any, **_: Any) -> str:
        return bytes(token for token in list(tokens) if token).decode("utf-8", "replace")


class Padded(dict[str, Any]):
    def to(self, _: Any) -> Padded:
        return self


def transformers_model(text: str, pause: float = 0.0) -> tuple[HuggingFaceModel, Writes]:
    model = Writes(text, pause)
    return HuggingFaceModel("stand-in", model, Bytes(), at_once=4), model


async def test_a_transformers_model_streams_characters_that_take_several_tokens() -> None:
    text = "杯子 is a cup 😀!"
    model, _ = transformers_model(text)
    pieces, reply = await read(model.stream(Request(HELLO)))
    assert text_of(pieces) == reply.text == text
    assert len(pieces) > 10
    assert all("\ufffd" not in piece.text for piece in pieces)
    assert (reply.finish_reason, reply.prompt_tokens) == ("stop", 11)
    await model.aclose()


async def test_a_transformers_model_keeps_to_stops() -> None:
    model, written = transformers_model("one two three four")
    request = Request(HELLO, stop=(" three",))
    pieces, reply = await read(model.stream(request))
    assert text_of(pieces) == reply.text == "one two"
    assert (reply.finish_reason, reply.completion_tokens, written.written) == ("stop", 13, 13)
    both = await asyncio.gather(model.complete(request), model.complete(Request(HELLO)))
    assert [one.text for one in both] == ["one two", "one two three four"]
    await model.aclose()


async def test_streams_of_a_transformers_model_are_written_alone_and_may_be_closed() -> None:
    model, written = transformers_model("word " * 400, pause=0.001)
    async with aclosing(model.stream(Request(HELLO))) as stream:
        async for _ in stream:
            break
    beside = model.stream(Request(HELLO, Sampling(max_tokens=10)))
    (_, streamed), whole = await asyncio.gather(read(beside), model.complete(Request(HELLO, Sampling(max_tokens=10))))
    assert streamed.text == whole.text == "word word"
    assert written.written < 1000  # the first one was broken off
    pieces, _ = await read(model.stream(Request(HELLO, Sampling(max_tokens=10), schema=OBJECT)))
    assert len(pieces) == 1
    await model.aclose()
