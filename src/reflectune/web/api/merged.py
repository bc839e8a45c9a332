"""Several answers that come at once, as one stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Merged"]

Event = TypeVar("Event")
_AHEAD = 64
"""Events that an answer may be ahead of the client, who may read slowly."""


class Merged(Generic[Event]):
    """Reads streams at once, each in a task of its own. Leaving it ends them all, and waits until they have ended.

    Args:
        streams: What is read.
    """

    def __init__(self, streams: Sequence[AsyncGenerator[Event]]) -> None:
        self._streams = streams
        self._events: asyncio.Queue[tuple[int, Event] | Exception] = asyncio.Queue(_AHEAD)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._read(*one)) for one in enumerate(self._streams)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def next(self, patience: float) -> tuple[int, Event] | None:
        """The next event, with the index of the stream that it is from; `None` where none came for so many seconds.

        Raises:
            Exception: What a stream raised.
        """
        if self._events.empty():
            try:
                async with asyncio.timeout(patience):
                    event = await self._events.get()
            except TimeoutError:
                return None
        else:
            event = self._events.get_nowait()
        if isinstance(event, Exception):
            raise event
        return event

    async def _read(self, index: int, stream: AsyncGenerator[Event]) -> None:
        try:
            async with aclosing(stream):
                async for event in stream:
                    await self._events.put((index, event))
        except Exception as error:  # noqa: BLE001 - it is raised where the events are read
            await self._events.put(error)
