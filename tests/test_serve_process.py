"""The server as a process: how it starts and ends, and what it does about clients that mean it no good."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from openai import OpenAI

from loopback import Loopback
from reflectune.cli import main
from reflectune.cli.serving import Harmless, Served, carry_out
from reflectune.errors import SettingsError
from reflectune.web.listening import bound
from serving import UPSTREAM, Serve, until

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def upstream() -> Iterator[Loopback]:
    with Loopback("--between-ms", "1", script=UPSTREAM) as running:
        yield running


@pytest.fixture(scope="module")
def server(upstream: Loopback) -> Iterator[Serve]:
    """A server that works on one request, and has little patience with what does not come."""
    flags = ("--max-concurrency", "1", "--max-body", "0.25", "--read-timeout", "0.5")
    with Serve(f"echo@{upstream.base_url}", *flags) as running:
        yield running


def body(text: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def opened(server: Serve) -> socket.socket:
    host, _, port = urlsplit(server.base_url).netloc.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    told = b""
    try:
        while more := connection.recv(65536):
            told += more
    except ConnectionResetError:
        pass
    return told


def head(path: str = "/v1/chat/completions", length: str = "100", method: str = "POST") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_slow_clients_hold_nothing_up(server: Serve) -> None:
    slow = [opened(server) for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall(head()[:40] if number % 2 else head() + b'{"messages": [')
    status, _, answer = server.post(body("otter"))
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "answer otter")
    told = [everything(connection) for connection in slow]
    for connection in slow:
        connection.close()
    assert told[1::2] == [b""] * 10
    assert all(one.startswith(b"HTTP/1.1 408 ") and b'"timeout"' in one for one in told[::2])


def test_a_slow_second_request_on_a_connection_is_given_up_too(server: Serve) -> None:
    with opened(server) as connection:
        connection.sendall(head("/health", "0", "GET"))
        told = b""
        while not told.endswith(b"}"):
            told += connection.recv(65536)
        assert b"200 OK" in told
        connection.sendall(b"GET /health HT")
        began = time.monotonic()
        assert everything(connection) == b""
        assert time.monotonic() - began < 3


def test_a_head_without_end_is_refused(server: Serve) -> None:
    with opened(server) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        try:
            for _ in range(200):
                connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
        except OSError:
            pass
        assert everything(connection)[:12] in {b"HTTP/1.1 400", b""}
    assert server.get("/health")[0] == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(server: Serve, chunked: bool) -> None:
    large = json.dumps(body("a" * 400_000)).encode()
    flags = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    done = curl(server, *flags, "-d", "@-", stdin=large)
    assert json.loads(done.stdout)["error"]["code"] == "body_too_large"
    with (
        OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model="", messages=[{"role": "user", "content": "a" * 400_000}])
    assert caught.value.status_code == 413


def test_a_flood_without_end_is_cut(server: Serve) -> None:
    with opened(server) as connection:
        connection.sendall(head().replace(b"Content-Length: 100", b"Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 256 * 2**20:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            pass
    assert sent < 100 * 2**20
    assert server.memory_mb() < 200


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nonsense",
        b"[1, 2]",
        b'{"messages": NaN}',
        b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
        b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "x"}], "response_format": {"type": "json_schema", "json_schema": '
        b'{"name": "x", "schema": ' + b'{"items":' * 400 + b"{}" + b"}" * 400 + b"}}}",
    ],
)
def test_bad_json_is_a_clear_refusal(server: Serve, raw: bytes) -> None:
    status, _, told = server.post(raw)
    assert status == 400
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"]


def test_what_is_no_request_for_an_answer(server: Serve) -> None:
    assert server.send("POST", "/v1/chat/completions", b"{}", Content_Type="text/plain")[0] == 415
    assert server.send("POST", "/v1/chat/completions", b"{}")[0] == 415
    status, headers, told = server.get("/v1/chat/completions")
    assert (status, headers["allow"]) == (405, "POST")
    assert json.loads(told)["error"]["message"] == "GET is not for this address."
    status, _, told = server.get("/v1/engines")
    assert (status, json.loads(told)["error"]["code"]) == (404, "unknown_url")


def test_other_sites_and_other_names_are_refused(server: Serve) -> None:
    kind = {"Content_Type": "application/json"}
    asked = json.dumps(body("otter")).encode()
    path = "/v1/chat/completions"
    assert server.send("POST", path, asked, Host="evil.example", **kind)[0] == 421
    assert server.send("POST", path, asked, Host="127.0.0.2:80", **kind)[0] == 200  # an address of this machine's
    assert server.send("POST", path, asked, Origin="http://evil.example", **kind)[0] == 403
    status, headers, _ = server.send("OPTIONS", path, b"", Origin="http://evil.example")
    assert status >= 400
    assert not any(name.startswith("access-control") for name in headers)


def test_memory_stays_flat(server: Serve) -> None:
    with OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:

        def some(count: int) -> None:
            for number in range(count):
                stream = client.chat.completions.create(
                    model="",
                    messages=[{"role": "user", "content": f"{number} [plain] [slow 0] " + "x" * 4000}],
                    stream=bool(number % 2),  # type: ignore[arg-type]
                )
                if number % 2:
                    list(stream)  # type: ignore[arg-type]

        some(60)
        before = server.memory_mb()
        some(120)
        assert server.memory_mb() - before < 8


def streaming(server: Serve, text: str) -> tuple[threading.Thread, list[bytes]]:
    """Read a stream in a thread of its own, as far as it goes."""
    told: list[bytes] = []

    def read() -> None:
        with opened(server) as connection:
            packed = json.dumps(body(text, stream=True)).encode()
            connection.sendall(head(length=str(len(packed))) + packed)
            told.append(everything(connection))

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: server.metric("in_flight") == 1)
    return thread, told


def test_it_ends_when_the_answers_in_flight_have(upstream: Loopback) -> None:
    with Serve(f"echo@{upstream.base_url}", "--max-concurrency", "1") as server:
        thread, told = streaming(server, "otter [slow 25]")
        server.terminate()
        until(lambda: server.get("/health")[0] == 503)
        status, headers, refused = server.post(body("late"))
        assert (status, refused["error"]["code"]) == (503, "shutting_down")
        assert "retry-after" in headers
        thread.join(10)
        assert server.wait(5) == 0
        assert told[0].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_answers_that_take_longer_than_there_is_grace_are_broken_off(upstream: Loopback) -> None:
    with Serve(f"echo@{upstream.base_url}", "--grace", "0.3") as server:
        thread, told = streaming(server, "otter [endless] [slow 20]")
        began = time.monotonic()
        server.interrupt()
        assert server.wait(5) == 0
        assert 0.3 <= time.monotonic() - began < 3
        thread.join(10)
        assert b'data: {"error":{"message":"The server is shutting down."' in told[0]
        assert b"[DONE]" not in told[0]
    until(lambda: upstream.stats()["in_flight"] == 0)


def test_a_second_interrupt_does_not_wait(upstream: Loopback) -> None:
    with Serve(f"echo@{upstream.base_url}") as server:
        thread, _ = streaming(server, "otter [endless]")
        server.interrupt()
        until(lambda: server.get("/health")[0] == 503)
        server.interrupt()
        assert server.wait(5) == 130
        thread.join(10)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_it_does_not_listen_where_others_are_without_a_key(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        carry_out(Served("echo@http://127.0.0.1:9/v1", {}, {}, host=host))
    assert host in caught.value.what
    assert "--api-key-env" in caught.value.mend


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Served("echo@http://127.0.0.1:9/v1", {}, {}, api_key_env="NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (Served("echo@http://127.0.0.1:9/v1", {}, {}, api_key_env="ODD_KEY"), "no HTTP header can carry"),
        (Served("echo@http://127.0.0.1:9/v1", {"best_of": 0}, {}), "best_of"),
        (Served("echo@http://127.0.0.1:9/v1", {"prompts": Path("no/such/folder")}, {}), "no/such/folder"),
        (Served("./no/such/model", {}, {"timeout": 1.0}, port=0), "no/such/model"),
        (Served("echo@http://127.0.0.1:9/v1", {}, {"timeout": 1.0, "queue": -1}, port=0), "queue"),
    ],
)
def test_what_does_not_fit_is_said_before_it_serves(served: Served, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_KEY", "a b")
    with pytest.raises(SettingsError, match=said):
        carry_out(served)


def test_small_chunks_are_not_held_back() -> None:
    with bound("127.0.0.1", 0) as taken:
        assert taken.proto == socket.IPPROTO_TCP  # asyncio turns Nagle's algorithm off for no other


def test_a_port_that_is_taken_is_named(server: Serve) -> None:
    port = urlsplit(server.base_url).port or 0
    with pytest.raises(SettingsError, match=str(port)):
        carry_out(Served("echo@http://127.0.0.1:9/v1", {}, {}, port=port))


def test_a_mistake_is_one_message_with_its_mend_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reflectune", "serve", "local", "--host", "0.0.0.0"])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert "--api-key-env" in told.err


def test_what_an_endpoint_says_does_not_steer_the_terminal() -> None:
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "%s", ("said \x1b[2J\x9b1m\ttwo\nlines",), None)
    assert Harmless("%(message)s").format(record) == "said [2J1m\ttwo\nlines"


@pytest.mark.model
def test_the_embedded_model_answers() -> None:
    with Serve("local", "--reflect", "off", "--max-tokens", "24") as server:
        with OpenAI(base_url=server.base_url, api_key="x", timeout=60) as client:
            (model,) = client.models.list()
            asked: Any = {"model": model.id, "messages": [{"role": "user", "content": "Name a colour."}]}
            whole = client.chat.completions.create(**asked, n=2)
            assert all(choice.message.content for choice in whole.choices)
            assert whole.usage is not None
            assert whole.usage.completion_tokens > 0
            chunks = list(client.chat.completions.create(**asked, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def curl(server: Serve, *flags: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Ask with curl."""
    command = ["curl", "-sS", "--max-time", "20", "-H", "Content-Type: application/json", *flags]
    return subprocess.run(
        [*command, f"{server.base_url}/chat/completions"], input=stdin, capture_output=True, check=True, timeout=30
    )
