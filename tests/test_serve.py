"""The server as its clients see it: the real `openai` client, and bare HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from loopback import Loopback
from serving import UPSTREAM, Serve, until

pytestmark = pytest.mark.server

KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Loopback]:
    with Loopback("--between-ms", "2", script=UPSTREAM) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: Loopback) -> Iterator[Serve]:
    """A server with room for all that the tests ask at once."""
    flags = ("--max-concurrency", "256", "--name", "mirror", "--max-body", "0.25", "--read-timeout", "1")
    with Serve(f"echo@{upstream.base_url}", *flags) as running:
        yield running


@pytest.fixture(scope="module")
def narrow(upstream: Loopback) -> Iterator[Serve]:
    """A server that works on one request, lets one wait, and asks for a key."""
    flags = ("--max-concurrency", "1", "--queue", "1", "--queue-timeout", "0.6", "--timeout", "1", "--api-key-env", "K")
    with Serve(f"echo@{upstream.base_url}", *flags, "--without-output", "whole", K=KEY) as running:
        yield running


@pytest.fixture
def client(server: Serve) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture
def keyed(narrow: Serve) -> Iterator[OpenAI]:
    with OpenAI(base_url=narrow.base_url, api_key=KEY, max_retries=0, timeout=20) as made:
        yield made


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def ask(client: OpenAI, text: str, **fields: Any) -> Any:
    return client.chat.completions.create(model="", messages=user(text), **fields)


def test_an_answer_has_its_output_in_content_and_the_rest_beside(client: OpenAI) -> None:
    completion = ask(client, "otter")
    (choice,) = completion.choices
    assert choice.message.content == "answer otter"
    assert choice.message.reasoning_content == "thinking otter\n\nwait otter\n\nthen otter"
    assert (choice.finish_reason, completion.model, completion.object) == ("stop", "mirror", "chat.completion")
    assert completion.usage.completion_tokens_details is None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0


def test_a_stream_says_the_same_as_the_whole(client: OpenAI) -> None:
    stream = ask(client, "otter", stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    *told, last, usage = chunks
    assert told[0].choices[0].delta.role == "assistant"
    deltas = [chunk.choices[0].delta for chunk in told]
    assert "".join(delta.content or "" for delta in deltas) == "answer otter"
    reasoning = "".join((delta.model_extra or {}).get("reasoning_content", "") for delta in deltas)
    assert reasoning == "thinking otter\n\nwait otter\n\nthen otter"
    assert last.choices[0].finish_reason == "stop"
    assert {chunk.choices[0].finish_reason for chunk in told} == {None}
    assert (usage.choices, usage.usage) == ([], ask(client, "otter").usage)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_tells_no_usage_unasked(client: OpenAI) -> None:
    assert [chunk for chunk in ask(client, "otter", stream=True) if chunk.usage or not chunk.choices] == []


def test_several_answers_come_at_once_and_in_a_stream_side_by_side(client: OpenAI, upstream: Loopback) -> None:
    before = upstream.stats()["requests"]
    completion = ask(client, "otter", n=3, seed=5)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert {choice.message.content for choice in completion.choices} == {"answer otter"}
    assert upstream.stats()["requests"] == before + 3
    order: list[int] = []
    said = {0: "", 1: "", 2: ""}
    for chunk in ask(client, "otter [slow 10]", n=3, stream=True):
        order.append(chunk.choices[0].index)
        said[order[-1]] += chunk.choices[0].delta.content or ""
    assert set(said.values()) == {"answer otter [slow 10]"}
    assert order != sorted(order)


def test_what_a_request_asks_for_reaches_the_model(client: OpenAI, upstream: Loopback) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, *user("otter [plain]")]
    client.chat.completions.create(
        model="mirror",
        messages=messages,  # type: ignore[arg-type]
        temperature=0.25,
        top_p=0.5,
        max_completion_tokens=77,
        seed=9,
        stop=["\n\n", "END"],
        extra_body={"reflectune": {"reflect": "off"}},
    )
    sent = upstream.stats()["last"]
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"], sent["seed"]) == (0.25, 0.5, 77, 9)
    assert sent["stop"] == ["\n\n", "END"]
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *user("otter [plain]")]


def test_a_model_that_is_told_to_reflect_gets_our_system_prompt(client: OpenAI, upstream: Loopback) -> None:
    ask(client, "otter")
    first = upstream.stats()["last"]["messages"][0]
    assert first["role"] == "system"
    assert "<output>" in first["content"]
    ask(client, "otter", extra_body={"reflectune": {"reflect": "trained"}})
    assert upstream.stats()["last"]["messages"] == user("otter")


def test_a_plain_model_is_passed_through(client: OpenAI) -> None:
    choice = ask(client, "otter", extra_body={"reflectune": {"reflect": "off"}}).choices[0]
    assert choice.message.content.startswith("<thinking>\nthinking otter")
    assert "reasoning_content" not in (choice.message.model_extra or {})
    thought = ask(client, "otter [no output]").usage
    assert thought.completion_tokens_details.reasoning_tokens == thought.completion_tokens > 0


def test_stop_ends_the_output_of_a_model_that_reflects(client: OpenAI) -> None:
    completion = ask(client, "otter and more", stop=" and")
    assert completion.choices[0].message.content == "answer otter"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens > len("answer otter")  # what was thought counts, and what was thrown away
    told = {"include_usage": True}
    *streamed, last = ask(client, "otter and more", stop=[" and"], stream=True, stream_options=told)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "answer otter"
    assert last.usage.completion_tokens == completion.usage.completion_tokens


def test_a_json_schema_is_passed_through(client: OpenAI, upstream: Loopback) -> None:
    schema = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "echo", "schema": schema, "strict": True}}
    assert json.loads(ask(client, "otter", response_format=form).choices[0].message.content).keys() == {"said"}
    sent = upstream.stats()["last"]
    assert sent["response_format"]["json_schema"]["schema"] == schema
    assert sent["messages"] == user("otter")


def test_a_schema_that_the_model_refuses_changes_nothing_for_others(client: OpenAI, upstream: Loopback) -> None:
    def ask_with(name: str) -> str:
        schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
        form: Any = {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}
        ask(client, "otter", response_format=form)
        sent: str = upstream.stats()["last"].get("response_format", {}).get("type", "")
        return sent

    assert ask_with("refused") != "json_schema"
    assert ask_with("well") == "json_schema"


def test_rounds_of_critique_come_as_any_other_reflection(client: OpenAI) -> None:
    told = {"reflectune": {"rounds": 1}}
    message = ask(client, "otter [plain]", extra_body=told).choices[0].message
    assert message.content
    assert message.reasoning_content


def test_tags_may_be_told(server: Serve) -> None:
    body = {"messages": user("otter")}
    raw = server.post(body, "?tags=raw")[2]["choices"][0]["message"]
    assert raw["content"].startswith("<thinking>\nthinking otter\n<reflection>")
    assert raw["content"].endswith("<output>\nanswer otter\n</output>")
    assert "reasoning_content" not in raw
    _, headers, events = server.send(
        "POST", "/v1/chat/completions?tags=parts", json.dumps({**body, "stream": True}).encode(),
        Content_Type="application/json",
    )  # fmt: skip
    assert headers["content-type"].startswith("text/event-stream")
    *lines, done = [line for line in events.decode().split("\n\n") if line]
    assert done == "data: [DONE]"
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines]
    begun = [delta["part"] for delta in deltas if delta.get("begins")]
    assert begun == ["thinking", "reflection", "thinking", "output"]


def test_a_reply_without_output_says_so(client: OpenAI, keyed: OpenAI) -> None:
    choice = ask(client, "otter [no output]").choices[0]
    assert choice.message.content == ""
    assert "no-output" in choice.reflectune["faults"]
    *_, last = list(ask(client, "otter [no output]", stream=True))
    assert "no-output" in last.choices[0].model_extra["reflectune"]["faults"]
    whole = ask(keyed, "otter [no output]").choices[0].message
    assert whole.content.startswith("<thinking>\nthinking otter")
    streamed = ask(keyed, "otter [no output]", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == whole.content


async def test_two_hundred_streams_at_once_are_not_mixed_up(server: Serve) -> None:
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as client:

        async def one(number: int) -> tuple[str, str]:
            name = f"number-{number}-"
            content, reasoning = "", ""
            stream = await client.chat.completions.create(
                model="mirror", messages=user(f"{name} [slow 20]"), stream=True
            )
            async for chunk in stream:
                delta = chunk.choices[0].delta
                content += delta.content or ""
                reasoning += (delta.model_extra or {}).get("reasoning_content", "")
            return content, reasoning

        told = await asyncio.gather(*(one(number) for number in range(200)))
    for number, (content, reasoning) in enumerate(told):
        said = f"number-{number}- [slow 20]"
        assert content == f"answer {said}"
        assert reasoning == f"thinking {said}\n\nwait {said}\n\nthen {said}"
    assert server.metric("in_flight") == 0


async def test_equal_requests_are_worked_on_at_once(server: Serve, upstream: Loopback) -> None:
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as client:
        asked = [client.chat.completions.create(model="", messages=user("[slow 20] same")) for _ in range(8)]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*asked)
    assert loop.time() - began < 3 * 24 * 0.02


@pytest.mark.parametrize(
    ("text", "kind", "status", "code", "wait"),
    [
        ("[refuse 429]", openai.RateLimitError, 429, "rate_limit_exceeded", "7"),
        ("[refuse 503]", openai.InternalServerError, 503, "upstream_error", "7"),
        ("[refuse 500]", openai.InternalServerError, 503, "upstream_error", "1"),
        ("[refuse 401]", openai.InternalServerError, 502, "upstream_unusable", None),
        ("[refuse 400]", openai.BadRequestError, 400, "bad_request", None),
        ("[overflow]", openai.BadRequestError, 400, "context_length_exceeded", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_refuses_is_the_error_that_a_provider_would_send(  # noqa: PLR0917
    client: OpenAI, text: str, kind: type[openai.APIStatusError], status: int, code: str, wait: str | None, stream: bool
) -> None:
    with pytest.raises(kind) as caught:
        ask(client, text, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.response.headers.get("retry-after") == wait
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize("text", ["[error]", "[cut]"])
def test_an_error_in_the_middle_of_a_stream_reaches_the_client(client: OpenAI, text: str) -> None:
    stream = ask(client, f"otter {text}", stream=True)
    first = next(iter(stream))
    assert first.choices[0].delta.role == "assistant"
    with pytest.raises(openai.APIError, match="The model behind this server"):
        list(stream)
    with pytest.raises(openai.InternalServerError):
        ask(client, f"otter {text}")


def test_clients_try_again_as_they_do_with_a_provider(server: Serve, upstream: Loopback) -> None:
    before = upstream.stats()["requests"]
    with OpenAI(base_url=server.base_url, api_key="none", max_retries=1) as client:
        with pytest.raises(openai.InternalServerError):
            ask(client, "[refuse 500]")
        assert upstream.stats()["requests"] == before + 2
        with pytest.raises(openai.BadRequestError):
            ask(client, "[refuse 400]")
        assert upstream.stats()["requests"] == before + 3


def test_a_client_that_loses_patience_frees_what_it_held(client: OpenAI, server: Serve, upstream: Loopback) -> None:
    left = upstream.stats()["left"]
    with pytest.raises(openai.APITimeoutError):
        ask(client, "[hang]", timeout=0.3)
    until(lambda: server.metric("in_flight") == 0 and upstream.stats()["left"] == left + 1)
    stream = ask(client, "[endless]", stream=True)
    next(iter(stream))
    assert server.metric("in_flight") == 1
    stream.close()
    until(lambda: server.metric("in_flight") == 0 and upstream.stats()["left"] == left + 2)
    assert upstream.stats()["in_flight"] == 0
    assert server.metric('requests_total{status="499"}') >= 2


def test_wrong_requests_name_their_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "otter", tools=[{"type": "function", "function": {"name": "f"}}])
    assert (caught.value.param, caught.value.code, caught.value.type) == (
        "tools",
        "unsupported_parameter",
        "invalid_request_error",
    )
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-7", messages=user("otter"))
    assert missing.value.code == "model_not_found"
    assert [model.id for model in client.models.list()] == ["mirror"]
    assert client.models.retrieve("mirror").id == "mirror"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-7")


def test_the_key_is_asked_for(narrow: Serve) -> None:
    for key in ("wrong", KEY + "x", KEY[:-1]):
        with (
            OpenAI(base_url=narrow.base_url, api_key=key, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError),
        ):
            client.models.list()
    for header in (f"Bearer {KEY}\xff", "Bearer", f"Basic {KEY}", KEY, "Bearer \xd0\xba"):
        status, _, body = narrow.get("/v1/models", Authorization=header)
        assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
    for path in ("/v1/models", "/metrics", "/nowhere"):
        status, headers, body = narrow.get(path)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(body)["error"]["code"] == "missing_api_key"
    assert narrow.get("/health")[0] == 200
    assert narrow.get("/metrics", Authorization=f"Bearer {KEY}")[0] == 200
    assert KEY not in narrow.said


def test_a_full_queue_and_a_long_wait(narrow: Serve, keyed: OpenAI) -> None:
    def metric(name: str) -> float:
        lines = narrow.get("/metrics", Authorization=f"Bearer {KEY}")[2].decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"reflectune_{name} ")), 0.0)

    async def fill() -> list[Any]:
        async with AsyncOpenAI(base_url=narrow.base_url, api_key=KEY, max_retries=0) as client:
            one = asyncio.create_task(client.chat.completions.create(model="", messages=user("[hang]")))
            await asyncio.sleep(0.15)
            two = asyncio.create_task(client.chat.completions.create(model="", messages=user("otter")))
            await asyncio.sleep(0.15)
            assert await asyncio.to_thread(metric, "queued") == 1
            with pytest.raises(openai.RateLimitError) as caught:
                await client.chat.completions.create(model="", messages=user("otter"))
            assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("queue_full", "1")
            return await asyncio.gather(one, two, return_exceptions=True)

    slow, waited = asyncio.run(fill())
    assert (slow.status_code, slow.code) == (504, "timeout")
    assert (waited.status_code, waited.code) == (503, "queue_timeout")
    assert ask(keyed, "otter").choices[0].message.content == "answer otter"
    assert metric('refused_total{reason="queue_full"}') == 1
    assert (metric("in_flight"), metric("queued")) == (0, 0)


def test_an_answer_that_takes_too_long_is_broken_off_in_the_stream(keyed: OpenAI) -> None:
    stream = ask(keyed, "[endless]", stream=True)
    with pytest.raises(openai.APIError, match="within 1 s"):
        list(stream)


def examples(language: str) -> list[str]:
    page = (Path(__file__).parents[1] / "docs" / "serve.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_curl_lines_of_the_page_are_answered(server: Serve) -> None:
    lines = [line for block in examples("sh") for line in block.splitlines() if line.startswith("curl ")]
    assert len(lines) >= 5
    told = []
    for line in lines:
        command = [*shlex.split(line.replace("http://127.0.0.1:8000", server.base_url.removesuffix("/v1"))), "-sSf"]
        told.append(subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout)
    answer = json.loads(told[0])["choices"][0]["message"]
    assert answer["content"] == "answer How many r are in strawberry?"
    assert told[1].endswith("data: [DONE]\n\n")
    assert "<output>" in json.loads(told[2])["choices"][0]["message"]["content"]
    assert "reflectune_requests_total" in told[-1]


def test_the_python_of_the_page_runs(server: Serve) -> None:
    (program,) = examples("python")
    program = program.replace("http://127.0.0.1:8000/v1", server.base_url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
