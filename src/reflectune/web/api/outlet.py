"""What is sent to a client: a JSON value, or a stream of events."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.types import Receive, Send

from reflectune.web.api.problems import Problem

__all__ = ["Outlet", "packed"]

_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_LAST_WORDS = 2.0
"""Seconds in which a client has to take the word that it gets no more."""
_UNREAD = frozenset({408, 413, 415})
"""Statuses of requests whose body has not been read to its end."""
_TOO_SLOW = 408
_DRAIN_SECONDS = 2.0
_MOST_DRAINED = 64 * 2**20


def packed(value: Any) -> bytes:
    """A value as JSON; half of a surrogate pair, which is no text, is written as a question mark."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(_mended(value))


class Outlet:
    """Sends one reply.

    Args:
        send: Sends a part of it.
        id: What the reply is called, for whoever wants to find it again; by default a name of its own.

    Attributes:
        status: The status that was sent; 0 as long as none was.
        first_at: The moment at which the reply began, on the monotonic clock; `None` as long as it has not.
    """

    def __init__(self, send: Send, id: str = "") -> None:  # noqa: A002 - as the protocol calls it
        self.status = 0
        self.first_at: float | None = None
        self._streams = False
        self._send = send
        self._id = id or f"req-{secrets.token_hex(12)}"

    async def json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Send a JSON value as the whole reply."""
        body = packed(value)
        await self._begin(status, _JSON, {"content-length": str(len(body)), **(headers or {})})
        await self._end(body)

    async def events(self, *values: Any) -> None:
        """Send events of a stream."""
        await self._more(b"".join(b"data: %b\n\n" % packed(value) for value in values))

    async def beat(self) -> None:
        """Send what says nothing, so that nobody takes the stream for dead."""
        await self._more(b": still working\n\n")

    async def done(self) -> None:
        """End the stream."""
        await self._end(b"data: [DONE]\n\n")

    async def problem(self, problem: Problem, receive: Receive) -> None:
        """Send that the request gets no more, however far the reply has come.

        Args:
            problem: Why.
            receive: Gives what of the request is still on its way: a client that sends cannot read.
        """
        try:
            async with asyncio.timeout(_LAST_WORDS):
                if self.status:
                    if self._streams:  # in the middle of a JSON value there is nothing to be said
                        await self._end(b"data: %b\n\n" % packed(problem.body))
                    return
                body = packed(problem.body)
                headers = {"content-length": str(len(body)), **problem.headers}
                if problem.status in _UNREAD:
                    headers["connection"] = "close"
                await self._begin(problem.status, _JSON, headers)
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError:  # it does not read
            return
        if problem.status in _UNREAD and problem.status != _TOO_SLOW:
            await _drained(receive)
        await self._end(b"")

    async def _begin(self, status: int, kind: str, headers: dict[str, str]) -> None:
        everything = {"content-type": kind, "x-content-type-options": "nosniff", "x-request-id": self._id, **headers}
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in everything.items()]
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        self.first_at = time.monotonic()

    async def _more(self, body: bytes) -> None:
        if not self.status:
            self._streams = True
            await self._begin(200, _EVENTS, {"cache-control": "no-cache", "x-accel-buffering": "no"})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _drained(receive: Receive) -> None:
    """Take what is still on its way, within bounds: a connection that is cut while it sends loses the reply."""
    size = 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _MOST_DRAINED:
                try:
                    message = await receive()
                except HTTPException:  # a layer of the app around refuses it as well
                    await asyncio.sleep(0)
                    continue
                size += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _mended(one) for name, one in value.items()}
    return [_mended(one) for one in value] if isinstance(value, list) else value
