"""How the loopback server streams: server-sent events, and what may go wrong in the middle of them."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import orjson
from aiohttp import web

from faulty import cut

ERROR = {"error": {"message": "The engine died in the middle.", "type": "server_error", "code": 500}}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how answers are streamed."""
    group = parser.add_argument_group("streaming")
    group.add_argument("--piece-chars", type=int, default=4, help="how long each piece of an answer is")
    group.add_argument("--piece-ms", type=float, default=0.0, help="how long each piece takes")
    group.add_argument("--break-after", type=int, default=0, metavar="N", help="break the connection after N pieces")
    group.add_argument("--error-after", type=int, default=0, metavar="N", help="send an error after N pieces")
    group.add_argument("--no-end", action="store_true", help="end without finish_reason and [DONE]")
    group.add_argument("--no-done", action="store_true", help="end without [DONE]")
    group.add_argument("--no-stream", action="store_true", help="refuse to stream")
    group.add_argument("--ignore-stream", action="store_true", help="answer as a whole whatever is asked")
    group.add_argument("--no-stream-options", action="store_true", help="refuse stream_options")
    group.add_argument("--reasoning", default="", metavar="FIELD", help="reason in this field of the message")
    group.add_argument("--echo", action="store_true", help="answer with what the user said last")
    group.add_argument("--tags", action="store_true", help="think, reflect and answer in tags")


def in_tags(text: str) -> str:
    """A text as the answer of a model that reflects."""
    reflection = "<reflection>\nWait, no: I shall look again.\n</reflection>"
    return f"<thinking>\nFirst thought.\n{reflection}\nSecond thought.\n</thinking>\n\n<output>\n{text}\n</output>"


async def stream_out(
    request: web.BaseRequest, flags: argparse.Namespace, body: dict[str, Any], answer: dict[str, Any]
) -> web.StreamResponse:
    """Send an answer piece by piece.

    Args:
        request: What is answered.
        flags: What the command line says.
        body: The request's body.
        answer: The completion that was due.
    """
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    choice, size = answer["choices"][0], flags.piece_chars
    message = choice["message"]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    for name in (flags.reasoning, "content"):
        text = message.get(name) or ""
        deltas += [{name: text[begin : begin + size]} for begin in range(0, len(text), size)]
    for number, delta in enumerate(deltas, 1):
        await _send(response, _event(answer, delta))
        if flags.break_after == number:
            return cut(request)
        if flags.error_after == number:
            await _send(response, orjson.dumps(ERROR))
            return response
        if flags.piece_ms:
            await asyncio.sleep(flags.piece_ms / 1000)
    if flags.no_end:
        return response
    await _send(response, _event(answer, {}, choice["finish_reason"]))
    if "usage" in answer and (body.get("stream_options") or {}).get("include_usage"):
        await _send(response, orjson.dumps({**_head(answer), "choices": [], "usage": answer["usage"]}))
    if not flags.no_done:
        await _send(response, b"[DONE]")
    return response


def _head(answer: dict[str, Any]) -> dict[str, Any]:
    return {**{name: answer[name] for name in ("id", "created", "model")}, "object": "chat.completion.chunk"}


def _event(answer: dict[str, Any], delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return orjson.dumps({**_head(answer), "choices": [choice]})


async def _send(response: web.StreamResponse, data: bytes) -> None:
    await response.write(b"data: " + data + b"\n\n")
