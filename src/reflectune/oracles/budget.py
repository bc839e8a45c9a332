"""A limit on what a run may spend."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from reflectune.errors import OracleError
from reflectune.oracles.capabilities import WRAPPER_TOKENS
from reflectune.oracles.prices import Price
from reflectune.records import Reply, Request, Schema

__all__ = ["Budget", "BudgetReached"]

_BYTES_PER_TOKEN = 3.0
"""Of UTF-8, at least: English has about four to a token, and a Chinese character, which is three, seldom more than one
token. So a request is taken to be rather longer than it is."""


class BudgetReached(Exception):  # noqa: N818 - not a fault
    """Raised in place of asking where the next reply might not be paid for any more."""


class Budget:
    """Money for a run. A request is sent only when the longest reply that it may get can still be paid for.

    So the limit holds: as it comes nearer fewer requests are in flight, and the last cents are left over.

    Args:
        limit: US dollars in all.
        price: What the oracle's tokens cost.
        spent: US dollars that were spent before.
        batch: Whether requests go through a provider's batches: then they hold their money for longer than a call, and
            whoever sends them calls `hold` and `release`.

    Attributes:
        spent: US dollars spent so far.
    """

    def __init__(self, limit: float, price: Price, *, spent: float = 0.0, batch: bool = False) -> None:
        self.limit = limit
        self.spent = spent
        self._price = price
        self._batch = batch
        self._holders = 0
        self._reserved = 0.0
        self._held = 0.0
        self._schemas: dict[str, int] = {}
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def room_for(self, request: Request) -> AsyncIterator[None]:
        """Hold the money for one reply; waits for replies in flight where they may leave enough.

        Raises:
            BudgetReached: Nothing is in flight, and what is left is too little.
        """
        if self._batch:
            yield
            return
        most = self.most(request)
        while self.spent + self._reserved + self._held + most > self.limit:
            if not self._holders:
                raise BudgetReached
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._holders += 1
        self._reserved += most
        try:
            yield
        finally:
            self._holders -= 1
            self._reserved = self._reserved - most if self._holders else 0.0
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)

    def hold(self, amount: float) -> None:
        """Hold so many US dollars until `release`; `left` says whether there are as many."""
        self._held += amount

    @property
    def left(self) -> float:
        """US dollars that are neither spent nor held."""
        return self.limit - self.spent - self._held

    def release(self, amount: float) -> None:
        """Hold so much less."""
        self._held = max(0.0, self._held - amount)

    def refund(self, reply: Reply) -> None:
        """Take note that a reply which is about to be paid was counted before."""
        self.spent -= self._price.of(reply)

    def pay(self, reply: Reply) -> None:
        """Take note of a reply that was given."""
        self.spent += self._price.of(reply)

    def most(self, request: Request, *, batch: bool | None = None) -> float:
        """The most that a reply to this request can cost, in US dollars.

        Args:
            request: What is asked.
            batch: Whether by batch; by default as requests are sent here.
        """
        batch = self._batch if batch is None else batch
        size = sum(len(message.content.encode("utf-8", "replace")) for message in request.messages)
        reply = request.sampling.max_tokens
        if request.schema is not None:
            size += self._size_of(request.schema)
            reply += WRAPPER_TOKENS
        return self._price.cost(size / _BYTES_PER_TOKEN, reply, batch=batch)

    def _size_of(self, schema: Schema) -> int:
        """Bytes of a schema, which is sent along, or spelled out in the prompt."""
        if schema.mark not in self._schemas:
            self._schemas[schema.mark] = len(orjson.dumps(schema.body))
        return self._schemas[schema.mark]

    def check_counted(self, reply: Reply) -> None:
        """Refuse to go on where the oracle does not say what its replies take: a limit could not be kept to.

        Raises:
            OracleError: It does not say.
        """
        if self.limit < math.inf and self._price.output and not (reply.prompt_tokens or reply.completion_tokens):
            raise OracleError(
                "The endpoint does not say how many tokens its replies take, so --budget cannot be kept to.",
                mend="Leave out --budget, or ask an endpoint that reports `usage`.",
            )
