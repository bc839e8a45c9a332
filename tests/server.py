"""An OpenAI-compatible server for tests and benchmarks, a process of its own on the loopback interface.

    python tests/server.py --latency-ms 200 --require-key secret

prints its base URL and serves `/v1/chat/completions`, `/v1/models` and `/stats` until it is ended. It answers from the
schema of each request (`answers.py`) and refuses what its flags say, in the words that real endpoints use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from answers import TAIL, Source, value_for

_CHARACTERS_PER_TOKEN = 4


class RefusedError(Exception):
    """An error to answer with.

    Args:
        status: The HTTP status.
        message: What it says.
        fields: Further fields of the error, such as `code` and `param`.
    """

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
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
        self.in_flight = 0
        self.most_in_flight = 0
        self.statuses: Counter[int] = Counter()
        self.keys: Counter[str] = Counter()
        self.bodies: Counter[int] = Counter()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer any request."""
        try:
            if request.path == "/stats":
                return _json(200, self.stats())
            self._unlock(request)
            if request.path == "/v1/models":
                return _json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
            if request.path != "/v1/chat/completions":
                return _json(404, {"detail": "Not Found"})
            return await self._complete(await request.content.read())
        except RefusedError as refusal:
            self.statuses[refusal.status] += 1
            return _json(refusal.status, refusal.body)

    def stats(self) -> dict[str, Any]:
        """What was asked so far."""
        return {
            "requests": self.requests,
            "distinct": len(self.bodies),
            "answered": self.statuses[200],
            "by_status": self.statuses,
            "by_key": self.keys,
            "in_flight": self.in_flight,
            "max_in_flight": self.most_in_flight,
        }

    def _unlock(self, request: web.BaseRequest) -> None:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path.endswith("/completions"):
            self.requests += 1
            self.keys[key] += 1
        if self.flags.require_key and key != self.flags.require_key:
            raise RefusedError(401, f"Incorrect API key provided: {key}.", code="invalid_api_key")

    async def _complete(self, raw: bytes) -> web.Response:
        self.bodies[hash(raw)] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            started = time.monotonic()
            body = orjson.loads(raw)
            self._refuse(body)
            answer = orjson.dumps(self._answer(body))
            await asyncio.sleep(self.flags.latency_ms / 1000 - (time.monotonic() - started))
        finally:
            self.in_flight -= 1
        self.statuses[200] += 1
        return web.Response(body=answer, content_type="application/json")

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
        if flags.context and _tokens(body) > flags.context:
            message = f"This model's maximum context length is {flags.context} tokens, you sent {_tokens(body)}."
            raise RefusedError(400, message, param="messages", code="context_length_exceeded")

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        said = "\n".join(message["content"] for message in body["messages"] if message["role"] == "user")
        source = Source(said[-TAIL:])
        text = _reply(body, source)
        if self.flags.think:
            text = f"<think>\n{source.text('note')} Maybe {{'score': 1}}?\n</think>\n\n{text}"
        spent = len(text) // _CHARACTERS_PER_TOKEN + 1
        usage = {"prompt_tokens": _tokens(body), "completion_tokens": spent, "total_tokens": _tokens(body) + spent}
        message = {"role": "assistant", "content": text}
        return {
            "id": f"chatcmpl-{self.requests}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": usage,
        }


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


def _tokens(body: dict[str, Any]) -> int:
    return sum(len(message["content"]) for message in body["messages"]) // _CHARACTERS_PER_TOKEN + 1


def _json(status: int, body: Any) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS), content_type="application/json"
    )


def parse_flags() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long each answer takes")
    parser.add_argument("--require-key", default="", help="the only key that is taken")
    parser.add_argument("--models", default="loopback", help="names of the models, by commas; by default any is taken")
    parser.add_argument("--context", type=int, default=0, help="the most tokens that a request may have")
    parser.add_argument("--fail-every", type=int, default=0, metavar="N", help="fail every Nth request")
    parser.add_argument("--fail-status", type=int, default=503, help="the status of those failures")
    for flag in ("no-json-schema", "no-json-object", "no-max-tokens", "no-temperature", "think"):
        parser.add_argument(f"--{flag}", action="store_true")
    return parser.parse_args()


async def serve(endpoint: Endpoint) -> None:
    """Serve until the process is ended."""
    runner = web.ServerRunner(web.Server(endpoint.handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    port = runner.addresses[0][1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)  # noqa: T201 - whoever started it waits for this line
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Endpoint(parse_flags())))
