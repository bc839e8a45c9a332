"""Several drafts of an answer, drawn at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.inference.parts import Ended, Part, Told
from reflectune.inference.replying import in_tags, plainly
from reflectune.inference.talk import Talk

__all__ = ["Draft", "Lost", "draw"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that came.

    Attributes:
        number: Which, from 1.
        text: The answer in it, without the white space around; empty where it has none.
        ended: How it came to its end.
    """

    number: int
    text: str
    ended: Ended


@dataclass(frozen=True, slots=True)
class Lost:
    """A draft that did not come.

    Attributes:
        number: Which, from 1.
        problem: Why.
    """

    number: int
    problem: OracleError


@dataclass(frozen=True, slots=True)
class _Pen:
    parts: asyncio.Queue[Part | None]
    writing: asyncio.Task[Draft | Lost]


async def draw(talk: Talk) -> AsyncGenerator[tuple[int, Part] | Draft | Lost]:
    """Have all drafts written at once, and tell of them one after the other, the first one while it is written.

    Raises:
        OracleError: The oracle cannot be used at all, or no draft came.
    """
    pens = [_begin(talk, number) for number in range(1, talk.settings.best_of + 1)]
    came = 0
    problems = []
    try:
        for number, pen in enumerate(pens, 1):
            while (part := await pen.parts.get()) is not None:
                yield number, part
            outcome = await pen.writing
            if isinstance(outcome, Draft):
                came += 1
            else:
                problems.append(outcome.problem)
            yield outcome
    finally:
        for pen in pens:
            pen.writing.cancel()
        await asyncio.gather(*(pen.writing for pen in pens), return_exceptions=True)
    if not came:
        raise problems[0]


def _begin(talk: Talk, number: int) -> _Pen:
    parts = asyncio.Queue[Part | None]()
    writing = asyncio.create_task(_write(talk, number, parts))
    writing.add_done_callback(lambda _: parts.put_nowait(None))
    return _Pen(parts, writing)


async def _write(talk: Talk, number: int, parts: asyncio.Queue[Part | None]) -> Draft | Lost:
    request = talk.request(number - 1)
    reply = in_tags(talk.engine, request) if talk.tagged else plainly(talk.engine, request)
    told, ended = Told("output" if talk.tagged else "text"), Ended()
    try:
        async with aclosing(reply) as events:
            async for event in events:
                if isinstance(event, Ended):
                    ended = event
                else:
                    told.take(event)
                    parts.put_nowait(event)
    except (OracleBusy, RequestRefused) as problem:
        return Lost(number, problem)
    text = told.output if told.output is not None else told.text
    return Draft(number, text.strip(), ended)
