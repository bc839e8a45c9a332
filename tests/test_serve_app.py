"""The server as an ASGI app, in this process, before models that misbehave in ways that no endpoint can."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import pytest
from fastapi import FastAPI

from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles import Piece
from reflectune.oracles.naming import open_oracle
from reflectune.records import Reply, Request
from reflectune.testing import ScriptedOracle
from reflectune.web.api import Limits, Service, create_api, router_of
from reflectune.web.safety import Guard

REPLY = "<thinking>\nhm\n</thinking>\n<output>\nanswer\n</output>"
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Call:
    """One request to an app.

    Args:
        app: The app.
        body: Its body.
        path: Where it goes.
        headers: What it says of itself besides its host and its content type.

    Attributes:
        told: What was sent back so far.
        gone: Is set where the client goes.
    """

    def __init__(
        self,
        app: Any,
        body: dict[str, Any],
        path: str = "/v1/chat/completions",
        headers: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> None:
        self.told: list[MutableMapping[str, Any]] = []
        self.gone = asyncio.Event()
        self._app = app
        self._body: bytes | None = json.dumps(body).encode()
        host = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers.items()]
        name, _, query = path.partition("?")
        self._scope = {"type": "http", "method": "POST", "path": name, "raw_path": name.encode(), "headers": host,
                       "query_string": query.encode(), "root_path": "", "http_version": "1.1", "scheme": "http",
                       "server": ("localhost", 80), "client": ("localhost", 1)}  # fmt: skip

    async def run(self, send: Send | None = None) -> Any:
        """Wait for the reply: its status and body, as JSON where it is that."""
        await self._app(self._scope, self._receive, send or self._send)
        raw = b"".join(message.get("body", b"") for message in self.told)
        status = self.told[0]["status"] if self.told else 0
        return status, raw.decode() if b"data: " in raw or raw.startswith(b":") else json.loads(raw or b"null")

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.told.append(message)


def asking(text: str = "Hi", **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


def served(script: Any, **limits: Any) -> tuple[Service, FastAPI]:
    service = Service(ScriptedOracle(script), "scripted", limits=Limits(**limits))
    return service, create_api(service)


class Slow(ScriptedOracle):
    """An oracle that waits in the middle of its reply."""

    def __init__(self, seconds: float) -> None:
        super().__init__(lambda _: REPLY)
        self.closed = 0
        self._seconds = seconds

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        try:
            await asyncio.sleep(self._seconds)
            async for piece in super().stream(request):
                yield piece
                await asyncio.sleep(self._seconds)
        finally:
            self.closed += 1


async def test_it_can_be_part_of_another_app() -> None:
    other = FastAPI()
    other.include_router(router_of(Service(ScriptedOracle([REPLY]), "scripted")), prefix="/models/1")
    status, body = await Call(other, asking(), "/models/1/v1/chat/completions").run()
    assert (status, body["choices"][0]["message"]["content"]) == (200, "answer")


async def test_a_fault_of_ours_tells_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: Request) -> str:
        raise ZeroDivisionError("a secret")

    service, app = served(fails)
    status, body = await Call(app, asking()).run()
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert "a secret" in caplog.text
    assert (await Call(app, asking(stream=True)).run())[0] == 500
    assert service.admission.busy == 0


async def test_what_the_model_said_to_one_client_is_not_held_against_the_next(caplog: pytest.LogCaptureFixture) -> None:
    said = [
        OracleError("http://x/v1 answered 401: no such key"),
        OracleBusy("http://x/v1 answered 429: slow down", reason="rate-limit", retry_after=60),
        OracleBusy("http://x/v1 cannot be reached", reason="connection"),
        REPLY,
    ]
    _, app = served(said)
    with caplog.at_level(logging.INFO):
        told = [await Call(app, asking()).run() for _ in said]
    assert [status for status, _ in told] == [502, 429, 503, 200]
    assert "no such key" in caplog.text
    assert "no such key" not in json.dumps(told[0][1])


@pytest.mark.parametrize(
    ("encoding", "refused"), [(b"identity", (413, "refused")), (b"gzip", (415, "unsupported_media"))]
)
async def test_a_body_that_is_too_large_for_the_app_around_it_is_told_so(
    encoding: bytes, refused: tuple[int, str]
) -> None:
    service, app = served([REPLY])
    call = Call(Guard(app, largest_body=1000), asking("x" * 1001), headers={b"content-encoding": encoding})
    call.gone.set()
    status, body = await call.run()
    assert (status, body["error"]["code"]) == refused
    assert service.admission.busy == 0


async def test_an_endpoint_that_is_not_there_is_told_without_its_address() -> None:
    service = Service(open_oracle("echo@http://127.0.0.1:9/v1"), "echo")
    try:
        status, body = await Call(create_api(service), asking()).run()
    finally:
        await service.aclose()
    assert (status, body["error"]["code"]) == (503, "upstream_unreachable")
    assert "127.0.0.1" not in body["error"]["message"]


async def test_where_much_would_be_lost_a_busy_model_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reflectune.oracles.engine.delay_before", lambda *_: 0.0)
    said = iter([OracleBusy("x", reason="server-error"), REPLY, REPLY])
    _, app = served(lambda _: next(said))
    status, body = await Call(app, asking(reflectune={"reflect": "trained", "best_of": 2})).run()
    assert (status, body["choices"][0]["message"]["content"]) == (200, "answer")


async def test_equal_requests_draw_anew_unless_they_have_a_seed() -> None:
    service, app = served(lambda _: REPLY)
    for fields in ({"n": 2}, {}, {"n": 2, "seed": 7}, {"seed": 7}):
        await Call(app, asking(**fields)).run()
    oracle = service.oracle
    assert isinstance(oracle, ScriptedOracle)
    drawn = [(request.sampling.seed, request.sample) for request in oracle.requests]
    assert len(set(drawn[:3])) == 3
    assert drawn[3] == drawn[5] != drawn[4]
    apart = sorted(sample for _, sample in drawn[:3])
    assert all(later - earlier >= 32 for earlier, later in itertools.pairwise(apart))


async def test_silence_is_filled_and_errors_after_it_are_events() -> None:
    service = Service(Slow(0.1), "slow", limits=Limits(heartbeat=0.02, timeout=0.15))
    app = create_api(service)
    status, told = await Call(app, asking(stream=True)).run()
    assert status == 200
    assert told.startswith(": still working\n\n: still working\n\n")
    assert told.endswith('"code":"timeout"}}\n\n')
    assert service.admission.busy == 0


async def test_a_client_that_goes_ends_the_work_wherever_it_is() -> None:
    oracle = Slow(0.05)
    service = Service(oracle, "slow", limits=Limits(max_concurrency=1, queue=1))
    app = create_api(service)
    calls = [Call(app, asking(stream=True)), Call(app, asking())]
    tasks = [asyncio.create_task(call.run()) for call in calls]
    await asyncio.sleep(0.02)
    assert (service.admission.busy, service.admission.waiting) == (1, 1)
    calls[1].gone.set()
    await asyncio.sleep(0.01)
    assert (service.admission.busy, service.admission.waiting) == (1, 0)
    calls[0].gone.set()
    assert await asyncio.gather(*tasks) == [(0, None), (0, None)]
    assert (service.admission.busy, oracle.closed) == (0, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_does_not_read_holds_its_place_no_longer_than_any_other(
    monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr("reflectune.web.api.outlet._LAST_WORDS", 0.02)
    oracle = Slow(0.0)
    service = Service(oracle, "slow", limits=Limits(timeout=0.05))

    async def stuck(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    await Call(create_api(service), asking(stream=stream)).run(stuck)
    assert (service.admission.busy, oracle.closed) == (0, 1)


async def test_a_model_may_write_half_a_character() -> None:
    _, app = served([REPLY.replace("answer", "an\ud83dswer")] * 2)
    assert (await Call(app, asking()).run())[1]["choices"][0]["message"]["content"] == "an?swer"
    assert "?" in (await Call(app, asking(stream=True)).run())[1]


async def test_at_the_end_what_is_worked_on_is_cut_and_what_waits_is_sent_away() -> None:
    oracle = Slow(5)
    service = Service(oracle, "slow", limits=Limits(max_concurrency=1))
    app = create_api(service)
    tasks = [asyncio.create_task(Call(app, asking()).run()) for _ in range(2)]
    await asyncio.sleep(0.02)
    service.end()
    assert (await tasks[1])[0] == 503
    service.cut()
    status, body = await tasks[0]
    assert (status, body["error"]["code"]) == (503, "shutting_down")
    assert oracle.closed == 1
