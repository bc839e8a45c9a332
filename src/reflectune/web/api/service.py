"""A model that answers requests, within bounds."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from reflectune.errors import OracleBusy, OracleError
from reflectune.inference import Answered, Forgetful, Part, answer
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Stopped
from reflectune.oracles.pacing import Pace
from reflectune.recipe import ChatSettings
from reflectune.web.api.admission import Admission
from reflectune.web.api.asked import Asked
from reflectune.web.api.metrics import Metrics
from reflectune.web.api.passing import Passed, passing
from reflectune.web.api.problems import Problem, problem_of
from reflectune.web.api.schemas import BySchema
from reflectune.web.api.settings import Limits

__all__ = ["Service"]

_SAMPLES = 2**20
_APART = 32
"""Between the samples of two answers, each of which may take that many draws."""

_log = logging.getLogger(__name__)


class Service:
    """A model that answers requests, within bounds.

    Args:
        oracle: The model.
        name: What clients call it.
        settings: How it is talked to where a request is silent.
        limits: How much it takes on, and for how long.

    Attributes:
        created: When the service began, in seconds since 1970.
        metrics: What it counts.
        admission: Whose turn it is.
        ending: Whether it takes on nothing more.
    """

    def __init__(
        self, oracle: Oracle, name: str, settings: ChatSettings | None = None, limits: Limits | None = None
    ) -> None:
        self.oracle = oracle
        self.name = name
        self.settings = settings or ChatSettings()
        self.limits = limits or Limits()
        self.created = int(time.time())
        self.admission = Admission(self.limits.max_concurrency, self.limits.queue, self.limits.queue_timeout)
        self.metrics = Metrics(lambda: self.admission.busy, lambda: self.admission.waiting)
        self.ending = False
        self._models = BySchema(oracle)
        self._gate = asyncio.Semaphore(self.limits.max_concurrency)
        self._turns: set[asyncio.Timeout] = set()
        self._cut = False
        self._sample = random.randrange(_SAMPLES)  # noqa: S311 - keeps no secret

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the request's turn, and work on it as long as an answer may take.

        Raises:
            Problem: 429 or 503: it does not get one; 504: it took too long; 503: the server ends.
        """
        async with self.admission.turn():
            limit = asyncio.timeout(self.limits.timeout)
            try:
                async with limit:
                    self._turns.add(limit)
                    try:
                        yield
                    finally:
                        self._turns.discard(limit)
            except TimeoutError:
                if not limit.expired():
                    raise
                if self._cut:
                    raise Problem(503, "The server is shutting down.", code="shutting_down", retry_after=5.0) from None
                message = f"The answer was not ready within {self.limits.timeout:g} s."
                raise Problem(504, message, code="timeout") from None

    def answers(self, asked: Asked) -> list[AsyncGenerator[Part | Answered]]:
        """The answers to a request, one for each choice."""
        return [self._answer(asked, sample) for sample in self._samples(asked)]

    def end(self) -> None:
        """Take on nothing more, and send away who waits. What is worked on may come to its end."""
        self.ending = True
        self.admission.close()

    def cut(self) -> None:
        """Break off what is worked on."""
        self._cut = True
        now = asyncio.get_running_loop().time()
        for turn in self._turns:
            if not turn.expired():
                turn.reschedule(now)

    async def aclose(self) -> None:
        """Free what the model holds."""
        await self.oracle.aclose()

    def _samples(self, asked: Asked) -> range:
        """Which draws the choices are: of equal requests without a seed each draws anew."""
        begin = 0
        if asked.settings.seed is None:
            begin = self._sample
            self._sample = (begin + asked.choices * _APART) % _SAMPLES
        return range(begin, begin + asked.choices * _APART, _APART)

    async def _answer(self, asked: Asked, sample: int) -> AsyncGenerator[Part | Answered]:
        """One answer.

        The engine lives as long as the answer does: what the model says to one client, such as that it is asked too
        often, does not hold up the others, and nothing is remembered.

        Raises:
            Problem: The model gives none.
        """
        settings = asked.settings
        many = settings.rounds > 0 or settings.best_of > 1
        oracle = passing(self._models.oracle(asked.schema), self._gate, patient=many)
        engine = Engine(oracle, Forgetful(), Pace(oracle.concurrency or _APART))
        try:
            parts = answer(asked.messages, engine, settings, stop=asked.stop, schema=asked.schema, sample=sample)
            async with aclosing(parts):
                async for event in parts:
                    yield event
        except OracleError as error:
            cause = error.busy if isinstance(error, Passed) else error
            _log.log(logging.INFO if isinstance(cause, OracleBusy) else logging.WARNING, "%s", cause)
            raise problem_of(cause) from error
        except Stopped as stopped:
            raise Problem(503, "The model behind this server cannot be asked.", code="upstream_error") from stopped
