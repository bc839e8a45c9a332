"""The model behind a server, as one request sees it: asked within the server's bounds, its refusals passed on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles import Oracle, Piece, StreamingOracle
from reflectune.oracles.allowance import Allowance
from reflectune.records import Reply, Request

__all__ = ["Passed", "passing"]


class Passed(OracleError):  # noqa: N818 - what it carries is named as an error or not
    """What the model said, on its way to the client, who decides whether to try again.

    Args:
        busy: What it said.
    """

    def __init__(self, busy: OracleBusy) -> None:
        super().__init__(busy.what, mend=busy.mend)
        self.busy = busy


class _Passing:
    """An oracle that waits for a place among the requests of all clients, and has no patience.

    Args:
        oracle: The model.
        gate: Bounds how often it is asked at once.
        patient: Whether a busy model is asked again, as where the work of many requests would be lost with one.
    """

    def __init__(self, oracle: Oracle, gate: asyncio.Semaphore, *, patient: bool) -> None:
        self.name = oracle.name
        self.concurrency = oracle.concurrency
        self.sampling = oracle.sampling
        self.text_limit = oracle.text_limit
        self.dialogue = oracle.dialogue
        self._oracle = oracle
        self._gate = gate
        self._patient = patient

    @property
    def allowance(self) -> Allowance | None:
        """What the model says that it allows."""
        return self._oracle.allowance

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            Passed, OracleError: As the model does.
        """
        async with self._gate:
            try:
                return await self._oracle.complete(request)
            except OracleBusy as busy:
                raise self._passed(busy) from busy

    async def aclose(self) -> None:
        """Nothing: the model goes on with the server."""

    def _passed(self, busy: OracleBusy) -> OracleError:
        return busy if self._patient else Passed(busy)


class _Streaming(_Passing):
    """The same for a model whose replies can be read while they are written."""

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Answer one request piece by piece; last comes the whole reply.

        Raises:
            Passed, OracleError: As the model does.
        """
        oracle = cast("StreamingOracle", self._oracle)
        async with self._gate:
            try:
                async with aclosing(oracle.stream(request)) as pieces:
                    async for piece in pieces:
                        yield piece
            except OracleBusy as busy:
                raise self._passed(busy) from busy


def passing(oracle: Oracle, gate: asyncio.Semaphore, *, patient: bool) -> Oracle:
    """The model as one request sees it.

    Args:
        oracle: The model.
        gate: Bounds how often it is asked at once.
        patient: Whether the engine may ask a busy model again.
    """
    kind = _Streaming if hasattr(oracle, "stream") else _Passing
    return kind(oracle, gate, patient=patient)
