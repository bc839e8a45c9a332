"""One reply of a model as parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace

from reflectune.errors import OracleError
from reflectune.inference.parts import Ended, Part, Reasoning
from reflectune.oracles import Piece
from reflectune.oracles.engine import Engine
from reflectune.oracles.stopping import Stops
from reflectune.records import Reply, Request
from reflectune.tags import Stream, Think

__all__ = ["in_tags", "plainly"]

_USAGE_SECONDS = 2.0
"""Models tell the tokens at the end of a reply; of one that is closed before nobody knows them."""


async def plainly(engine: Engine, request: Request) -> AsyncGenerator[Part | Ended]:
    """A plain model's reply: all of it is text, but for what a reasoning model thinks before it.

    Raises:
        OracleError: As `Engine.stream` does.
    """
    think, reasoning = Think(), Reasoning()
    reason = "stop"
    async with aclosing(engine.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Reply):
                reason = piece.finish_reason
                continue
            for part in (*reasoning.say(piece.reasoning), *think.feed(piece.text)):
                yield part
    for part in think.end():
        yield part
    yield Ended(reason)


async def in_tags(engine: Engine, request: Request, stop: tuple[str, ...] = ()) -> AsyncGenerator[Part | Ended]:
    """The reply of a model that reflects.

    Args:
        engine: Asks the model.
        request: What it is asked.
        stop: Texts before any of which the answer ends. The rest of the reply is read for its usage alone, and broken
            off where that takes more than two seconds.

    Raises:
        OracleError: As `Engine.stream` does.
    """
    stream, answer, reason = Stream(think=True), _Stopping(stop), "stop"
    reasoning = Reasoning()
    async with aclosing(engine.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Reply):
                reason = piece.finish_reason
                continue
            for part in answer.shown([*reasoning.say(piece.reasoning), *stream.feed(piece.text)]):
                yield part
            if answer.reached:
                await _read_on(pieces)
                break
    for part in answer.shown(stream.end(), last=True):
        yield part
    yield Ended("stop" if answer.reached else reason, _faults(stream, cut=answer.reached))


async def _read_on(pieces: AsyncGenerator[Piece | Reply]) -> None:
    """Let a reply whose answer has ended come to its end, for its usage, as long as that takes little time."""
    with suppress(TimeoutError, OracleError):  # the answer is there, whatever becomes of the rest
        async with asyncio.timeout(_USAGE_SECONDS):
            async for _ in pieces:
                pass


def _faults(stream: Stream, *, cut: bool) -> tuple[str, ...]:
    """The faults of a reply; where we broke it off in its answer, not that this is left open."""
    return tuple(fault for fault in stream.parsed.faults if not (cut and fault == "unclosed-output"))


class _Stopping:
    """Ends the answer before a stop."""

    def __init__(self, stop: tuple[str, ...]) -> None:
        self._stops = Stops(stop)

    @property
    def reached(self) -> bool:
        return self._stops.reached

    def shown(self, parts: list[Part], *, last: bool = False) -> Iterator[Part]:
        """What may be shown of parts; once the answer has ended, nothing."""
        for part in parts:
            if not self.reached:
                yield from self._taken(part)
        if last:
            yield from self._held()

    def _taken(self, part: Part) -> list[Part]:
        if part.kind != "output":
            return [*self._held(), part]
        if not part.text:  # a tag, or white space at the end
            return [part] if part.begins else [*self._held(), part]
        text = self._stops.feed(part.text)
        raw = part.raw.removesuffix(part.text) + text
        return [replace(part, text=text, raw=raw)] if raw or part.begins else []

    def _held(self) -> list[Part]:
        """What was held back, where the answer ends by itself."""
        held = self._stops.end()
        return [Part("output", held, held)] if held else []
