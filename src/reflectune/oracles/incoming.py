"""A reply that comes in while it is being written: server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager, aclosing, suppress

import aiohttp

__all__ = ["LARGEST_BODY", "Incoming", "is_done", "read_all"]

LARGEST_BODY = 8 * 1024 * 1024
_DONE = b"[DONE]"
_DRAIN_SECONDS = 0.1
"""What follows the last event is but the end: an endpoint that sees it taken knows that nobody left early."""


class Incoming:
    """A response whose body has not been read.

    Args:
        response: The response.
        faults: Says in our own errors what goes wrong on the way.

    Attributes:
        status: The HTTP status.
        headers: Its headers.
        whole: Whether the body comes as one JSON value, from an endpoint that does not stream.
    """

    def __init__(self, response: aiohttp.ClientResponse, faults: Callable[[], AbstractContextManager[None]]) -> None:
        self._response = response
        self._faults = faults
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.whole = "json" in response.content_type

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            OracleBusy: It did not come whole.
        """
        with self._faults():
            return await read_all(self._response)

    async def events(self) -> AsyncGenerator[bytes]:
        """The data of each event; of the last one `is_done`, where it came to its end.

        Raises:
            OracleBusy: The body broke off, or nothing came for too long.
        """
        data: list[bytes] = []
        async with aclosing(self._lines()) as lines:
            async for line in lines:
                if line.startswith(b"data:"):
                    data.append(line[5:].removeprefix(b" "))
                elif not line and data:
                    event, data = b"\n".join(data), []
                    yield event
        if data:  # an end without the blank line
            yield b"\n".join(data)

    async def drain(self) -> None:
        """Take what follows the last event."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass

    def close(self) -> None:
        """Let go of the connection; where the body did not come to its end, cut it, which tells the endpoint."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def _lines(self) -> AsyncGenerator[bytes]:
        rest = b""
        with self._faults():
            async for chunk in self._response.content.iter_any():
                *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                if len(rest) > LARGEST_BODY:
                    raise aiohttp.ClientPayloadError(f"an event of more than {LARGEST_BODY >> 20} MB")
                for line in whole:
                    yield line.removesuffix(b"\r")
        if rest:
            yield rest.removesuffix(b"\r")


def is_done(event: bytes) -> bool:
    """Whether an event says that it was the last."""
    return event == _DONE


async def read_all(response: aiohttp.ClientResponse) -> bytes:
    """The body of a response, as long as it is no flood."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST_BODY:
            raise aiohttp.ClientPayloadError(f"more than {LARGEST_BODY >> 20} MB")
    return b"".join(chunks)
