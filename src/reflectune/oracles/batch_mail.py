"""Sends requests to a provider as batches, waits for them and takes in what they bring; nothing is lost or sent twice.

A batch carries a name of ours in its metadata. It is written down before the batch is made, so a process that starts
after one that died in between can ask the provider whether there is such a batch.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import orjson

from reflectune.errors import OracleBusy, OracleError, RunError
from reflectune.oracles.batch_wire import Batch, BatchWire
from reflectune.oracles.pacing import PATIENCE, Pace, Stopped, delay_before
from reflectune.runs.outbox import OpenBatch, Outbox

__all__ = ["BatchLimits", "Mail"]

_TRIES_OF_THE_UNREACHABLE = 3
_LANDED_AT_ONCE = 500
_FIRST_LOOK = 0.25
_LAST_LOOK = 60.0
_MORE_SELDOM = 1.3
"""Seconds between two looks at the open batches: they grow by this factor, up to a minute."""
_QUEUE_FULL = "token_limit_exceeded"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be: OpenAI's limits.

    Attributes:
        requests: The most requests.
        size: The most bytes of its file.
    """

    requests: int = 50_000
    size: int = 200_000_000


class Mail:
    """The batches of a run.

    Args:
        wire: Speaks with the provider.
        outbox: What remembers requests and batches.
        folder: Where a batch's file is written before it is sent.
        pace: What wakes those who wait when the run is told to stop.
        limits: How large a batch may be.

    Attributes:
        tell: Is called with what there is to say while batches are made and waited for.
        release: Is called with the US dollars that need not be held any more, where a batch is not made after all.
    """

    def __init__(
        self, wire: BatchWire, outbox: Outbox, folder: Path, pace: Pace, *, limits: BatchLimits | None = None
    ) -> None:
        self.tell: Callable[[str], None] = lambda _: None
        self.release: Callable[[float], None] = lambda _: None
        self._wire = wire
        self._outbox = outbox
        self._folder = folder
        self._pace = pace
        self._limits = limits or BatchLimits()
        self._queue = outbox.most_requests
        self._letter: _Letter | None = None
        self._leaving: _Letter | None = None
        self._writing = asyncio.Lock()
        self._reached = False

    @property
    def open(self) -> list[OpenBatch]:
        """The batches that are with the provider."""
        return self._outbox.open()

    def holds(self, key: str) -> bool:
        """Whether a request is written into the next batch already, or into the one that is being sent."""
        return any(key in letter.notes for letter in (self._letter, self._leaving) if letter is not None)

    @property
    def full(self) -> bool:
        """Whether nothing more can be sent before what is with the provider has come back.

        So it is once the provider's queue was found to be too small for a whole batch: then one is sent at a time.
        """
        return self._queue is not None and self._letter is not None and self._letter.count >= self._queue

    async def add(self, key: str, line: bytes, *, tries: int, held: float) -> None:
        """Write a request into the next batch, and send that first where it is full.

        Args:
            key: The request's identity.
            line: It as a line of a batch's file.
            tries: How many batches have come back without an answer to it.
            held: The most US dollars that it may cost.
        """
        async with self._writing:
            if self._letter is not None and not self._fits(self._letter, line):
                await self._send()
            if self._letter is None:
                self._letter = _Letter.begun(self._folder)
            self._letter.add(line)
            self._letter.notes[key] = (tries, held)

    async def send(self) -> None:
        """Send what was written since the last batch."""
        async with self._writing:
            await self._send()
        self._outbox.tidy()

    async def recover(self) -> None:
        """Find out which batches were made that were about to be when an earlier process ended."""
        for unsure in (batch for batch in self._outbox.open() if batch.id is None):
            made = await self._patiently(partial(self._wire.find, unsure.mark))
            if made is not None:
                self._outbox.sent(unsure.mark, made.id)
            else:
                self.release(self._outbox.withdraw(unsure.mark))

    async def settle(self) -> None:
        """Wait until no batch is open any more, and take in what they come to.

        Raises:
            Stopped: The run was told to stop.
            OracleError: A batch was not taken, or the provider cannot be used.
        """
        wait = _FIRST_LOOK
        while left := self._outbox.open():
            seen = [(each, await self._patiently(partial(self._wire.look, each.id or ""))) for each in left]
            answered = sum(each.requests if batch.ended else batch.answered for each, batch in seen)
            total = sum(each.requests for each in left)
            self.tell(f"{_count(left)} at the provider, {answered:,} of {total:,} requests answered")
            queued = any(batch.status != "failed" for _, batch in seen)
            for each, batch in seen:
                if batch.ended:
                    await self._collect(each, batch, queued=queued)
            if self._outbox.open():
                await self._rest(wait)
                wait = min(wait * _MORE_SELDOM, _LAST_LOOK)

    def close(self) -> None:
        """Let go of what was not sent; the next process notes it down again."""
        if self._letter is not None:
            self._letter.close()

    def _fits(self, letter: _Letter, line: bytes) -> bool:
        most = min(self._limits.requests, self._queue or self._limits.requests)
        return letter.count < most and letter.size + len(line) <= self._limits.size

    async def _send(self) -> None:
        letter, self._letter = self._letter, None
        if letter is None:
            return
        self._leaving = letter
        self.tell(f"sending a batch of {letter.count:,} requests, {letter.size / 1e6:,.1f} MB")
        try:
            letter.finish()
            file_id = await self._patiently(partial(self._wire.upload, letter.file, f"reflectune-{letter.mark}.jsonl"))
        finally:
            letter.close()
        self._outbox.about_to_send(letter.mark, letter.notes)
        self._leaving = None
        batch = await self._made(file_id, letter.mark)
        self._outbox.sent(letter.mark, batch.id)

    async def _made(self, file_id: str, mark: str) -> Batch:
        """Make a batch, once: a call whose reply was lost may have made it."""
        unsure = False

        async def make() -> Batch:
            nonlocal unsure
            if unsure and (made := await self._wire.find(mark)):
                return made
            try:
                return await self._wire.create(file_id, mark)
            except OracleBusy:
                unsure = True
                raise

        try:
            return await self._patiently(make)
        except OracleError:
            if not unsure:  # else the next process finds out
                self.release(self._outbox.withdraw(mark))
            raise

    async def _collect(self, sent: OpenBatch, batch: Batch, *, queued: bool) -> None:
        """Take in what a batch came to.

        Args:
            sent: The batch as we sent it.
            batch: The batch as the provider has it.
            queued: Whether another one was taken.
        """
        files = [name for name in (batch.output_file_id, batch.error_file_id) if name]
        if batch.status == "failed" and not files:
            self._take_back(sent, batch, queued=queued)
            return
        for name in files:
            await self._patiently(partial(self._land, name, sent.mark))
        missing = {"error": {"code": f"batch_{batch.status}", "message": "Nothing came back for this request."}}
        self._outbox.end(sent.mark, orjson.dumps(missing))

    async def _land(self, file_id: str, mark: str) -> None:
        """Keep what a file of outcomes holds; may be done again, wherever it broke off."""
        some: list[tuple[str, bytes]] = []
        async for outcome in self._wire.outcomes(file_id):
            some.append(outcome)
            if len(some) >= _LANDED_AT_ONCE:
                self._outbox.land(some, mark)
                some.clear()
        self._outbox.land(some, mark)

    def _take_back(self, sent: OpenBatch, batch: Batch, *, queued: bool) -> None:
        """A batch was not taken. Where the provider's queue was only full its requests are noted down again.

        Raises:
            OracleError: There was another reason, or the queue is too small for a single request.
        """
        self.release(self._outbox.withdraw(sent.mark))
        if _QUEUE_FULL not in batch.complaint or (not queued and sent.requests <= 1):
            what = f"The provider did not take batch {batch.id}: {batch.complaint}"
            raise OracleError(what, mend="Mend what it says; then the same command goes on. Or leave out --batch.")
        if not queued:  # nothing of ours was in the queue, so this batch is too large for it
            self._outbox.most_requests = self._queue = max(1, sent.requests // 2)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds: what is busy now is asked again, ever more seldom."""
        loop = asyncio.get_running_loop()
        began, tries = loop.time(), 0
        while True:
            try:
                result = await call()
            except OracleBusy as busy:
                tries += 1
                never = not self._reached and busy.reason == "connection" and tries >= _TRIES_OF_THE_UNREACHABLE
                if never or loop.time() - began > PATIENCE:
                    raise OracleError(busy.what, mend=busy.mend) from busy
                self.tell(f"trying again: {busy.what}")
                await self._rest(max(delay_before(tries, busy), busy.retry_after or 0.0))
            else:
                self._reached = True
                return result

    async def _rest(self, seconds: float) -> None:
        await self._pace.rest(seconds)
        if self._pace.stopped:
            raise Stopped


@dataclass(slots=True)
class _Letter:
    """A batch's file while it is written. It has no name and is gone with the process.

    Attributes:
        mark: Our name for the batch.
        file: The file.
        size: How many bytes it holds.
        notes: The requests in it by their keys: how many batches have come back without an answer to it, and the most
            US dollars that it may cost.
    """

    mark: str
    file: BinaryIO
    size: int = 0
    notes: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many requests it holds."""
        return len(self.notes)

    @classmethod
    def begun(cls, folder: Path) -> _Letter:
        try:
            return cls(uuid.uuid4().hex, cast("BinaryIO", tempfile.TemporaryFile(dir=folder)))
        except OSError as error:
            raise _unwritten(error) from error

    def add(self, line: bytes) -> None:
        try:
            self.file.write(line)
        except OSError as error:
            raise _unwritten(error) from error
        self.size += len(line)

    def finish(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            raise _unwritten(error) from error

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was told before
            self.file.close()


def _unwritten(error: OSError) -> RunError:
    return RunError(
        f"The file of a batch could not be written: {error}.",
        mend="Free some disk space, then start the same command again: what was sent is kept.",
    )


def _count(batches: list[OpenBatch]) -> str:
    return "1 batch" if len(batches) == 1 else f"{len(batches)} batches"
