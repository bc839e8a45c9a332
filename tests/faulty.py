"""How the loopback server misbehaves: first tries that go wrong, and a while in which it is down.

Whether a first try goes wrong, and how, follows from the request alone, so it is the same in every run. What is asked
after a reply that was refused is a later try of the same request, and it is answered as if that reply had never been:
so faults leave no trace in what a run comes to.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

_RETRY_AFTER = "0.2"
_FLOOD_BYTES = 20 * 1000 * 1000
_DROPS = 40
_PAGE = "<!doctype html><title>Welcome</title><h1>The gateway has moved</h1><p>Please sign in again.</p>"

_ERRORS: dict[str, tuple[int, dict[str, str], str]] = {
    "429-after": (429, {"Retry-After": _RETRY_AFTER}, "Rate limit reached. Please try again later."),
    "429": (429, {}, "Too many requests."),
    "500": (500, {}, "The server had an error while processing your request."),
    "503": (503, {}, "The engine is currently overloaded, please try again later."),
}
_REFUSED_BY_READER = ("refusal", "empty", "length", "broken-content")
_VALID = ("wrong-type", "duplicate-keys")
_BROKEN = ("cut", "half", "broken-json", "hang", "trickle", "html", "flood")

KINDS = (*_ERRORS, *_BROKEN, *_REFUSED_BY_READER, *_VALID)
"""Every way to go wrong. The last two are odd but complete and valid: they are not to be asked again."""

Messages = list[dict[str, str]]


class Faults:
    """Which first tries go wrong, and how.

    Args:
        share: The share of first tries that go wrong.
        kinds: How they may go wrong.
        hang_s: Seconds that `hang` says nothing, and that `trickle` takes.

    Attributes:
        counts: How many went wrong in each way.
    """

    def __init__(self, share: float, kinds: tuple[str, ...], hang_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self._share = share
        self._kinds = kinds
        self._hang_s = hang_s
        self._begun: dict[bytes, str] = {}

    def kind_for(self, messages: Messages) -> str:
        """How this try goes wrong; empty where it does not."""
        mark = _mark(messages)
        if mark in self._begun:
            return ""
        chance, draw = (int.from_bytes(part) / 2**64 for part in (mark[:8], mark[8:]))
        kind = self._kinds[int(draw * len(self._kinds))] if chance < self._share else ""
        self._begun[mark] = kind
        if kind:
            self.counts[kind] += 1
        return kind

    def undone(self, messages: Messages) -> Messages:
        """The conversation without the reply that went wrong, and without what was said about it."""
        if self._begun.get(_mark(messages)) not in _REFUSED_BY_READER:
            return messages
        opening = len(_opening(messages))
        answers = (place for place, turn in enumerate(messages) if place >= opening and turn["role"] == "user")
        told = next(answers, None)
        return messages if told is None else messages[:opening] + messages[told + 1 :]

    async def deliver(self, kind: str, request: web.BaseRequest, answer: dict[str, Any]) -> web.StreamResponse:
        """Answer wrongly.

        Args:
            kind: How, of `KINDS`.
            request: What is answered.
            answer: The completion that was due; changed on the way.
        """
        if kind in _ERRORS:
            status, headers, message = _ERRORS[kind]
            error = {"error": {"message": message, "type": "server_error", "param": None, "code": None}}
            return web.json_response(error, status=status, headers=headers)
        if kind in _SPOIL:
            _SPOIL[kind](answer["choices"][0])
        body = orjson.dumps(answer)
        if kind == "hang":
            await asyncio.sleep(self._hang_s)
        if kind in {"cut", "hang"}:
            return cut(request)
        if kind == "half":
            return await _half(request, body)
        if kind == "trickle":
            return await _trickle(request, body, self._hang_s / _DROPS)
        if kind == "html":
            return web.Response(text=_PAGE, content_type="text/html")
        if kind == "broken-json":
            body = body[: len(body) // 2]
        elif kind == "flood":
            body = body.ljust(_FLOOD_BYTES)
        return web.Response(body=body, content_type="text/html" if kind == "wrong-type" else "application/json")


def is_valid(kind: str) -> bool:
    """Whether a reply of this kind is complete and valid; the empty kind is no fault at all."""
    return kind in {"", *_VALID, "trickle"}


def cut(request: web.BaseRequest) -> web.Response:
    """Cut the connection, whatever was sent over it so far."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _half(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = await _begin(request, body)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def _trickle(request: web.BaseRequest, body: bytes, pause: float) -> web.StreamResponse:
    response = await _begin(request, body)
    size = len(body) // _DROPS + 1
    for start in range(0, len(body), size):
        await asyncio.sleep(pause)
        await response.write(body[start : start + size])
    return response


async def _begin(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    return response


def _refuse(choice: dict[str, Any]) -> None:
    choice["message"] |= {"content": None, "refusal": "I'm sorry, I cannot help with that."}


def _withhold(choice: dict[str, Any]) -> None:
    choice["message"]["content"] = ""


def _cut_short(choice: dict[str, Any]) -> None:
    _break_off(choice)
    choice["finish_reason"] = "length"


def _break_off(choice: dict[str, Any]) -> None:
    text = choice["message"]["content"]
    choice["message"]["content"] = text[: len(text) // 2]


def _say_twice(choice: dict[str, Any]) -> None:
    """Every key of the JSON object twice. As everywhere the last one counts, and that is the right one."""
    text = choice["message"]["content"]
    if text.startswith("{"):
        stubs = "".join(f"{orjson.dumps(key).decode()}:null," for key in orjson.loads(text))
        choice["message"]["content"] = f"{{{stubs}{text[1:]}"


_SPOIL: dict[str, Callable[[dict[str, Any]], None]] = {
    "refusal": _refuse,
    "empty": _withhold,
    "length": _cut_short,
    "broken-content": _break_off,
    "duplicate-keys": _say_twice,
}


def _opening(messages: Messages) -> Messages:
    """What a row's conversation opens with: everything up to the first that the user says."""
    user = next((place for place, turn in enumerate(messages) if turn["role"] == "user"), len(messages))
    return messages[: user + 1]


def _mark(messages: Messages) -> bytes:
    return hashlib.blake2b(orjson.dumps(_opening(messages)), digest_size=16).digest()
