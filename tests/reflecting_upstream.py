"""An endpoint whose model thinks in tags, a process of its own on the loopback interface.

    python tests/reflecting_upstream.py --latency-ms 5 --between-ms 1 --chunks 8

prints its base URL and serves until it is ended. It says the words of the last user message in its thinking, in its
reflection and in its output, so that replies that got mixed up would show. A message may ask for something else first:
`[refuse STATUS]`, `[overflow]`, `[hang]`, `[cut]` (the connection, in the middle), `[error]` (an error event in the
middle), `[endless]`, `[no output]`, `[plain]`, `[slow MS]` (between chunks). Where a JSON schema is asked for it gives
a value of it, unless the schema is called `refused`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
from typing import Any

import orjson
from aiohttp import web

from answers import TAIL, Source, value_for

_COMMAND = re.compile(r"\[(\w[\w ]*?)(?: (\d+))?\]")


class Upstream:
    """The endpoint's behaviour and its counts.

    Args:
        flags: What the command line says.
    """

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.requests = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.answered = 0
        self.left = 0
        self.last: dict[str, Any] = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request."""
        if request.path == "/stats":
            counts = ("requests", "in_flight", "most_in_flight", "answered", "left", "last")
            return _json(200, {name: getattr(self, name) for name in counts})
        if request.path != "/v1/chat/completions":
            return _json(404, {"detail": "Not Found"})
        body = orjson.loads(await request.content.read())
        self.requests += 1
        self.last = body
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = await self._answer(request, body)
        except (asyncio.CancelledError, ConnectionResetError):
            self.left += 1
            raise
        finally:
            self.in_flight -= 1
        self.answered += 1
        return response

    async def _answer(self, request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        said = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
        commands = dict(_COMMAND.findall(said))
        if status := commands.get("refuse"):
            wait = {"Retry-After": "7"} if status in {"429", "503"} else {}
            return _json(int(status), {"error": {"message": f"refused with {status}", "code": None}}, wait)
        if "overflow" in commands:
            message = "This model's maximum context length is 10 tokens."
            return _json(400, {"error": {"message": message, "code": "context_length_exceeded"}})
        if body.get("response_format", {}).get("json_schema", {}).get("name") == "refused":
            return _json(400, {"error": {"message": "Invalid schema for response_format 'refused'"}})
        await asyncio.sleep(self.flags.latency_ms / 1000)
        if "hang" in commands:
            await asyncio.sleep(3600)
        text = _reply(said, commands, body)
        usage = {"prompt_tokens": len(said), "completion_tokens": len(text), "total_tokens": len(said) + len(text)}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return _json(200, {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})
        return await self._stream(request, body, text, usage, commands)

    async def _stream(
        self,
        request: web.BaseRequest,
        body: dict[str, Any],
        text: str,
        usage: dict[str, Any],
        commands: dict[str, str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        between = int(commands.get("slow") or self.flags.between_ms) / 1000
        pieces = _cut(text, self.flags.chunks)
        place = 0
        while place < len(pieces) or "endless" in commands:
            piece = pieces[place] if place < len(pieces) else "and on "
            await response.write(_event({"delta": {"content": piece}, "finish_reason": None}))
            place += 1
            if place == len(pieces) // 2 and commands.keys() & {"cut", "error"}:
                if "error" in commands:
                    await response.write(b'data: {"error": {"message": "broken", "code": 500}}\n\n')
                elif request.transport is not None:
                    request.transport.abort()
                return response
            await asyncio.sleep(between)
        await response.write(_event({"delta": {}, "finish_reason": "stop"}))
        if body.get("stream_options", {}).get("include_usage"):
            await response.write(b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response


def _reply(said: str, commands: dict[str, str], body: dict[str, Any]) -> str:
    """The model's reply, which says the words of the message in each of its parts."""
    form = body.get("response_format", {})
    if form.get("type") == "json_schema":
        return orjson.dumps(value_for(form["json_schema"]["schema"], Source(said[-TAIL:]))).decode()
    if "plain" in commands:
        return f"plain {said}"
    thinking = f"<thinking>\nthinking {said}\n<reflection>\nwait {said}\n</reflection>\nthen {said}\n</thinking>"
    return thinking if "no output" in commands else f"{thinking}\n\n<output>\nanswer {said}\n</output>"


def _cut(text: str, count: int) -> list[str]:
    size = max(1, -(-len(text) // count))
    return [text[place : place + size] for place in range(0, len(text), size)]


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})


def _json(status: int, body: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=headers)


async def serve(upstream: Upstream) -> None:
    """Serve until the process is ended."""
    runner = web.ServerRunner(web.Server(upstream.handle, access_log=None, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", upstream.flags.port, backlog=1024).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)  # noqa: T201 - whoever started it waits for it
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="how long it waits before it begins")
    parser.add_argument("--between-ms", type=float, default=0.0, help="how long it waits between chunks")
    parser.add_argument("--chunks", type=int, default=24, help="in how many chunks a reply comes")
    parser.add_argument("--port", type=int, default=0, help="where to serve; by default any free port")
    asyncio.run(serve(Upstream(parser.parse_args())))
