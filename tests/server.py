"""An OpenAI-compatible server for tests and benchmarks, a process of its own on the loopback interface.

    python tests/server.py --latency-ms 200 --require-key secret

prints its base URL and serves `/v1/chat/completions`, `/v1/models` and `/stats` until it is ended. It answers from the
schema of each request (`answers.py`) and refuses what its flags say, in the words that real endpoints use. It also
misbehaves (`faulty.py`), rations (`ration.py`), streams (`streaming.py`), answers batches (`batch_desk.py`) and is down
for a while, as its flags say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections import Counter
from typing import Any
from zlib import crc32

import orjson
from aiohttp import web

from answers import TAIL, Source, value_for
from batch_desk import Desk, DeskFlags
from faulty import KINDS, Faults, cut, is_valid
from ration import Ration
from streaming import add_flags, in_tags, stream_out

_CHARACTERS_PER_TOKEN = 4


class RefusedError(Exception):
    """An error to answer with.

    Args:
        status: The HTTP status.
        message: What it says.
        headers: The reply's headers.
        fields: Further fields of the error, such as `code` and `param`.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
        }


class Endpoint:
    """The server's behaviour and its counts.

    Args:
        flags: What the command line says.
    """

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.models = flags.models.split(",")
        self.requests = 0
        self.first_at: float | None = None
        self.in_flight = 0
        self.most_in_flight = 0
        self.statuses: Counter[int] = Counter()
        self.keys: Counter[str] = Counter()
        self.bodies: Counter[int] = Counter()
        self.valid: Counter[int] = Counter()
        self.faults = Faults(flags.faults, tuple(flags.fault_kinds.split(",")), flags.hang_s)
        self.ration = Ration(flags.rpm, flags.burst, headers=flags.rate_headers, retry_after=flags.retry_after)
        ends = tuple(end for end in flags.batch_ends.split(",") if end)
        desk = DeskFlags(
            flags.batch_s, flags.batch_most, flags.batch_tokens, ends, flags.batch_faults, flags.batch_call_faults
        )
        self.desk = Desk(desk, self._outcome, _tokens)
        self.down = False
        self.falls = asyncio.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        try:
            if request.path == "/stats":
                return _json(200, self.stats())
            self._unlock(request)
            if request.path == "/v1/models":
                return _json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
            if request.path.startswith(("/v1/files", "/v1/batches")) and not self.flags.no_batches:
                return await self.desk.handle(request)
            if request.path != "/v1/chat/completions":
                return _json(404, {"detail": "Not Found"})
            return await self._complete(request)
        except RefusedError as refusal:
            self.statuses[refusal.status] += 1
            return _json(refusal.status, refusal.body, refusal.headers)

    def stats(self) -> dict[str, Any]:
        """What was asked so far."""
        return {
            "requests": self.requests,
            "first_at": self.first_at,
            "distinct": len(self.bodies),
            "answered": self.statuses[200],
            "answered_twice": sum(count > 1 for count in self.valid.values()),
            "distinct_valid": len(self.valid),
            "faults": self.faults.counts,
            "by_status": self.statuses,
            "by_key": self.keys,
            "in_flight": self.in_flight,
            "max_in_flight": self.most_in_flight,
            **self.ration.stats(),
            **self.desk.stats(),
        }

    def _unlock(self, request: web.BaseRequest) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.endswith("/completions"):
            self.requests += 1
            self.keys[key] += 1
            self.first_at = self.first_at or time.time()
        if self.flags.require_key and key != self.flags.require_key:
            raise RefusedError(401, f"Incorrect API key provided: {key}.", code="invalid_api_key")

    async def _complete(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.content.read()
        mark = hash(raw)
        self.bodies[mark] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self._is_down():
                return cut(request)
            started = time.monotonic()
            response, kind = await self._respond(request, orjson.loads(raw), started)
            if self.down:
                return cut(request)
        finally:
            self.in_flight -= 1
        if is_valid(kind):
            self.statuses[200] += 1
            self.valid[mark] += 1
        return response

    def _is_down(self) -> bool:
        after = self.flags.down_after
        if after and self.requests >= after and not self.falls.is_set():
            self.down = True
            self.falls.set()
        return self.down

    async def _respond(
        self, request: web.BaseRequest, body: dict[str, Any], started: float
    ) -> tuple[web.StreamResponse, str]:
        """The response, and how it goes wrong."""
        granted = self.ration.granted()
        headers = self.ration.headers(granted=granted)
        if not granted:
            raise RefusedError(429, "Rate limit reached for requests.", headers, code="rate_limit_exceeded")
        self._refuse(body)
        kind = ""
        if self.flags.faults:
            kind = self.faults.kind_for(body["messages"])
            body["messages"] = self.faults.undone(body["messages"])
        answer = self._answer(body)
        packed = b"" if kind else orjson.dumps(answer)
        await asyncio.sleep(self.flags.latency_ms / 1000 - (time.monotonic() - started))
        if kind:
            return await self.faults.deliver(kind, request, answer), kind
        if body.get("stream") and not self.flags.ignore_stream:
            return await stream_out(request, self.flags, body, answer), kind
        return web.Response(body=packed, content_type="application/json", headers=headers), kind

    def _refuse(self, body: dict[str, Any]) -> None:
        flags = self.flags
        every = flags.fail_every
        if every and self.requests % every == 0:
            raise RefusedError(flags.fail_status, "Try again later.", type="server_error")
        if flags.models != "loopback" and body["model"] not in self.models:
            raise RefusedError(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        kind = body.get("response_format", {}).get("type")
        if kind == "json_schema" and flags.no_json_schema:
            raise RefusedError(400, "This response_format type is unavailable now")
        if kind == "json_object" and flags.no_json_object:
            raise RefusedError(400, "'response_format' is not supported with this model.", param="response_format")
        if "max_tokens" in body and flags.no_max_tokens:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            )
            raise RefusedError(400, message, param="max_tokens", code="unsupported_parameter")
        if "temperature" in body and flags.no_temperature:
            message = f"Unsupported value: 'temperature' does not support {body['temperature']} with this model."
            raise RefusedError(400, message, param="temperature", code="unsupported_value")
        for name in ("stream_options", "stop", "stream"):
            if name in body and getattr(flags, f"no_{name}"):
                raise RefusedError(400, f"Unrecognized request argument supplied: {name}", param=name)
        if flags.context and _tokens(body) > flags.context:
            message = f"This model's maximum context length is {flags.context} tokens, you sent {_tokens(body)}."
            raise RefusedError(400, message, param="messages", code="context_length_exceeded")

    def _outcome(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The status and the body of the answer to a request of a batch."""
        try:
            self._refuse(body)
        except RefusedError as refusal:
            return refusal.status, refusal.body
        return 200, self._answer(body)

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        said = "\n".join(message["content"] for message in body["messages"] if message["role"] == "user")
        source = Source(said[-TAIL:])
        text = said.rpartition("\n")[2] if self.flags.echo else _reply(body, source)
        if self.flags.tags:
            text = in_tags(text)
        ends = [place for stop in _stops(body) if (place := text.find(stop)) >= 0]
        text = text[: min(ends)] if ends else text
        note = f"{source.text('note')} Maybe {{'score': 1}}?"
        if self.flags.think:
            text = f"<think>\n{note}\n</think>\n\n{text}"
        spent = len(text) // _CHARACTERS_PER_TOKEN + 1
        usage = {"prompt_tokens": _tokens(body), "completion_tokens": spent, "total_tokens": _tokens(body) + spent}
        message = {"role": "assistant", "content": text}
        if self.flags.reasoning:
            message[self.flags.reasoning] = note
        return {
            "id": f"chatcmpl-{self.requests}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": self._logprobs(body)}],
            **({} if self.flags.no_usage else {"usage": usage}),
        }

    def _logprobs(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The likeliest first tokens, made of the request's words: 1, 2 and another, as of a judge that hesitates."""
        if not body.get("logprobs") or self.flags.no_logprobs:
            return None
        lean = crc32(orjson.dumps(body["messages"])) / 2**32
        shares = {"1": 0.8 * lean, " 1": 0.1 * lean, "2": 0.9 * (1 - lean), "The": 0.1}
        likely = [{"token": token, "logprob": math.log(max(share, 1e-9))} for token, share in shares.items()]
        likely = sorted(likely, key=lambda one: -one["logprob"])[: body.get("top_logprobs", 0)]
        return {"content": [{"token": "1", "logprob": 0.0, "top_logprobs": likely}]}


def _reply(body: dict[str, Any], source: Source) -> str:
    """The text of the answer: JSON where a schema is asked for in any way, else sentences."""
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        return orjson.dumps(value_for(form["json_schema"]["schema"], source)).decode()
    schema = _schema_in(body["messages"])
    if schema is None:
        return "{}" if form else source.text("tell")
    text = orjson.dumps(value_for(schema, source)).decode()
    return text if form else f"Here it is:\n\n```json\n{text}\n```"


def _schema_in(messages: list[dict[str, str]]) -> dict[str, Any] | None:
    """The schema that a prompt spells out."""
    for message in messages:
        _, announced, rest = message["content"].partition("JSON schema:\n")
        if announced:
            schema: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
            return schema
    return None


def _stops(body: dict[str, Any]) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop


def _tokens(body: dict[str, Any]) -> int:
    return sum(len(message["content"]) for message in body["messages"]) // _CHARACTERS_PER_TOKEN + 1


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    packed = orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)
    return web.Response(status=status, body=packed, content_type="application/json", headers=headers)


def parse_flags() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long each answer takes")
    parser.add_argument("--require-key", default="", help="the only key that is taken")
    parser.add_argument("--models", default="loopback", help="names of the models, by commas; by default any is taken")
    parser.add_argument("--context", type=int, default=0, help="the most tokens that a request may have")
    parser.add_argument("--fail-every", type=int, default=0, metavar="N", help="fail every Nth request")
    parser.add_argument("--fail-status", type=int, default=503, help="the status of those failures")
    for flag in (
        "no-json-schema",
        "no-json-object",
        "no-max-tokens",
        "no-temperature",
        "no-usage",
        "no-logprobs",
        "no-stop",
        "think",
    ):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument("--port", type=int, default=0, help="where to serve; by default any free port")
    faults = parser.add_argument_group("misbehaviour")
    faults.add_argument("--faults", type=float, default=0.0, metavar="SHARE", help="of first tries that go wrong")
    faults.add_argument("--fault-kinds", default=",".join(KINDS), metavar="KINDS", help="how, by commas: %(default)s")
    faults.add_argument("--hang-s", type=float, default=30.0, help="how long a hang or a trickle takes")
    faults.add_argument("--down-after", type=int, default=0, metavar="N", help="be down from the Nth request on")
    faults.add_argument("--down-s", type=float, default=3.0, help="for how long")
    add_flags(parser)
    ration = parser.add_argument_group("ration")
    ration.add_argument("--rpm", type=float, default=0.0, help="requests a minute; others are answered 429")
    ration.add_argument("--burst", type=float, default=10.0, help="how many may come in one go")
    ration.add_argument("--rate-headers", action="store_true", help="say on every reply how many are left")
    ration.add_argument("--retry-after", choices=("exact", "ceil", "none"), default="exact", help="what a 429 says")
    batches = parser.add_argument_group("batches")
    batches.add_argument("--no-batches", action="store_true")
    batches.add_argument("--batch-s", type=float, default=0.2, help="how long a batch is worked on")
    batches.add_argument("--batch-most", type=int, default=50_000, help="the most requests in a batch")
    batches.add_argument("--batch-tokens", type=int, default=0, help="the most tokens in all open batches")
    batches.add_argument("--batch-ends", default="", help="how the first batches end, by commas, as expired,cancelled")
    batches.add_argument("--batch-faults", type=float, default=0.0, help="share of requests that go wrong at first")
    batches.add_argument("--batch-call-faults", type=float, default=0.0, help="share of calls that fail at first")
    flags = parser.parse_args()
    if unknown := set(flags.fault_kinds.split(",")) - {*KINDS}:
        parser.error(f"--fault-kinds: {', '.join(sorted(unknown))}")
    return flags


async def serve(endpoint: Endpoint) -> None:
    """Serve until the process is ended."""
    # A client that has gone is no longer in flight.
    runner = web.ServerRunner(web.Server(endpoint.handle, access_log=None, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", endpoint.flags.port, backlog=1024)
    await site.start()
    port = runner.addresses[0][1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)  # noqa: T201 - whoever started it waits for this line
    await endpoint.falls.wait()
    await site.stop()
    await asyncio.sleep(endpoint.flags.down_s)
    endpoint.down = False
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Endpoint(parse_flags())))
