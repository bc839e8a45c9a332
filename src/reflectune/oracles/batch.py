"""An endpoint that is asked through its provider's batches: half the price, and up to a day for each wave.

A wave goes over every row that is pending. What the run's replies cannot answer is noted down for a batch, and the row
is left for later; what batches brought back by then is read. When the wave has gone over all rows the last batch is
sent, all of them are waited for, and the next wave begins. So rows need not be kept in memory, and a process that is
started again goes on with the batches of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import ceil
from typing import TypeVar

import orjson

from reflectune.oracles.allowance import Allowance
from reflectune.oracles.api import ApiOracle
from reflectune.oracles.batch_inbox import Inbox
from reflectune.oracles.batch_mail import Mail
from reflectune.oracles.batch_wire import ENDPOINT
from reflectune.oracles.budget import Budget
from reflectune.oracles.pacing import Stopped
from reflectune.records import Reply, Request
from reflectune.runs.outbox import OpenBatch

__all__ = ["BatchOracle", "Deferred"]

_WORTH_A_WAVE = 0.25
"""Of the money that there was at the start. Replies cost less than was held for them, and what is left over pays for a
next, smaller wave; but a wave may take a day, so the last ones are left to a higher budget."""


Row = TypeVar("Row")


class Deferred(Stopped):
    """Raised in place of a reply that a batch will bring: the row is left for the next wave."""


class BatchOracle:
    """An oracle whose replies come in batches. Use it with `Engine`, and call `exchange` after each wave.

    The first request of a kind is asked directly, at the full price, to find out what the endpoint takes: a batch that
    is refused for one parameter would be a day lost.

    Args:
        api: The endpoint.
        inbox: What batches have brought.
        mail: What sends them.
        budget: What may be spent; by default there is no limit.
        per_row: How many requests a row takes in all: a row is begun only where the money may do for all of them.
        at_once: How many of these it asks for at the same time.

    Attributes:
        short: Whether the last wave left requests out because the money for them may be lacking.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        api: ApiOracle,
        inbox: Inbox,
        mail: Mail,
        *,
        budget: Budget | None = None,
        per_row: int = 1,
        at_once: int = 1,
    ) -> None:
        self.name = api.name
        self.concurrency = api.concurrency
        self.sampling = api.sampling
        self.text_limit = api.text_limit
        self.dialogue = api.dialogue
        self.allowance: Allowance | None = None
        self.short = False
        self._per_row = per_row
        self._api = api
        self._inbox = inbox
        self._mail = mail
        self._budget = budget
        self._at_once = at_once
        self._finding_out = asyncio.Lock()
        self._begun = self._noted = 0
        self._held_in_wave = self._worth_a_wave = 0.0
        mail.release = inbox.release
        if budget is not None:
            self._worth_a_wave = _WORTH_A_WAVE * budget.left

    @property
    def open(self) -> list[OpenBatch]:
        """The batches that are with the provider."""
        return self._mail.open

    async def complete(self, request: Request) -> Reply:
        """The reply that a batch brought for a request.

        Raises:
            Deferred: There is none yet: it was, or is now, noted down for a batch.
            RequestRefused: The oracle will never answer this request, or did not in several batches.
            OracleError: It cannot be used at all.
        """
        key = request.key(self.name)
        posted = self._inbox.posted(key)
        if (posted is not None and posted.outcome is None) or self._mail.holds(key):
            raise Deferred
        if posted is not None and (reply := await self._inbox.read(key, posted, request)) is not None:
            return reply
        if not self._api.knows(request):
            async with self._finding_out:
                if not self._api.knows(request):
                    return await self._ask_directly(request)
        await self._note_down(key, request, tries=posted.tries + 1 if posted else 0)
        raise Deferred

    async def begin(self, tell: Callable[[str], None]) -> None:
        """Take up the batches of an earlier process.

        Args:
            tell: Is called with what there is to say while batches are made and waited for.

        Raises:
            OracleError: The provider cannot be used, or did not take a batch.
        """
        self._mail.tell = tell
        try:
            await self._mail.recover()
            await self._mail.settle()
        except Stopped:
            return

    def wave(self, pending: Iterable[Row]) -> Iterator[Row]:
        """The rows that the next wave goes over: all that are pending, in the same order each time.

        Where the money is short they are only as many as it lasts for, and then those again until they are done: so
        that it is not spent on beginnings.
        """
        self.short = False
        self._noted = 0
        self._held_in_wave = 0.0
        for row in islice(pending, self._begun or None):
            if (self.short and not self._begun) or self._mail.full:
                return
            yield row

    async def exchange(self, landed: int) -> bool:
        """Send what was noted down, and wait for every batch.

        Args:
            landed: How many rows of the wave are done.

        Returns:
            Whether anything came back, so that another wave is due.

        Raises:
            OracleError: The provider cannot be used, or did not take a batch.
        """
        beginning = not self._begun
        if beginning and self.short and self._held_in_wave * self._per_row < self._worth_a_wave:
            return False
        if not beginning:
            self._begun -= landed
        elif self.short:
            self._begun = ceil(self._noted / self._at_once)
        try:
            await self._mail.send()
            sent = bool(self.open)
            await self._mail.settle()
        except Stopped:
            return False
        return sent or (not beginning and not self._begun)

    async def aclose(self) -> None:
        """Close the connections."""
        self._mail.close()
        await self._api.aclose()

    async def _ask_directly(self, request: Request) -> Reply:
        most = self._budget.most(request, batch=False) if self._budget else 0.0
        self._hold(most)
        try:
            return await self._api.complete(request)
        finally:
            self._inbox.release(most)

    async def _note_down(self, key: str, request: Request, *, tries: int) -> None:
        if self._mail.full:
            raise Deferred
        held = self._budget.most(request) if self._budget else 0.0
        self._hold(held, and_more=0.0 if self._begun else (self._per_row - 1) * (self._held_in_wave + held))
        self._noted += 1
        self._held_in_wave += held
        asked = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": self._api.body(request)}
        await self._mail.add(key, orjson.dumps(asked) + b"\n", tries=tries, held=held)

    def _hold(self, amount: float, *, and_more: float = 0.0) -> None:
        """Hold money for a request, where there is some more beside it.

        Raises:
            Deferred: There is too little left.
        """
        if self._budget is None:
            return
        if self._budget.left < amount + and_more:
            self.short = True
            raise Deferred
        self._budget.hold(amount)
