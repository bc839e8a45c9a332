"""Calls to the keeper, put together: what is said within two milliseconds goes in one message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from reflectune.cluster.told import Trouble

__all__ = ["Call", "Line", "Outcome"]

_TOGETHER_SECONDS = 0.002

Call = tuple[str, tuple[Any, ...]]
"""A method of the keeper's and its arguments."""
Outcome = Any
"""What it returned, or a `Trouble` that says what it raised."""


class Line:
    """Carries calls from one worker.

    Args:
        send: Carries several calls and brings what each came to.
    """

    def __init__(self, send: Callable[[Sequence[Call]], Awaitable[Sequence[Outcome]]]) -> None:
        self._send = send
        self._calls: list[Call] = []
        self._answers: list[asyncio.Future[Any]] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the keeper's.

        Raises:
            ReflectuneError: What it raised.
            Exception: The line broke.
        """
        loop = asyncio.get_running_loop()
        if not self._calls:
            loop.call_later(_TOGETHER_SECONDS, self._go)
        answer: asyncio.Future[Any] = loop.create_future()
        self._calls.append((name, arguments))
        self._answers.append(answer)
        return await answer

    def _go(self) -> None:
        calls, answers = self._calls, self._answers
        self._calls, self._answers = [], []
        task = asyncio.create_task(self._carry(calls, answers))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _carry(self, calls: Sequence[Call], answers: Sequence[asyncio.Future[Any]]) -> None:
        try:
            outcomes = await self._send(calls)
        except BaseException as problem:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for answer in answers:
                if not answer.done():
                    answer.set_exception(problem)
            return
        for answer, outcome in zip(answers, outcomes, strict=True):
            if answer.done():  # whoever waited was cancelled
                continue
            if isinstance(outcome, Trouble):
                answer.set_exception(outcome.error())
            else:
                answer.set_result(outcome)
