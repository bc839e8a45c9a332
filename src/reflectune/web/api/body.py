"""Read the body of a request, of which there may be no end."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from reflectune.web.api.problems import Problem
from reflectune.web.api.settings import Limits

__all__ = ["Gone", "disconnected", "read_body"]


class Gone(Exception):  # noqa: N818 - clients may go
    """The client has gone before its request was whole."""


async def read_body(scope: Scope, receive: Receive, limits: Limits) -> bytes:
    """Read a body of JSON.

    Args:
        scope: The request.
        receive: Gives what comes of it.
        limits: How much may come, and how slowly.

    Raises:
        Gone: The client has gone.
        Problem: 415: it is said to be something else than JSON; 413: it is too large; 408: it comes too slowly.
    """
    headers = Headers(scope=scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "The body has to be JSON, with the content type application/json.", code="unsupported_media")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "The body may not be compressed.", code="unsupported_media")
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.largest_body:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.read_timeout):
            return await _all_of(receive, limits)
    except TimeoutError:
        message = f"The body did not arrive within {limits.read_timeout:g} s."
        raise Problem(408, message, code="timeout") from None


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone; its request has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _all_of(receive: Receive, limits: Limits) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > limits.largest_body:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limits: Limits) -> Problem:
    return Problem(413, f"The body may have {limits.max_body:g} MB at the most.", code="body_too_large")
