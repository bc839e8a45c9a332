"""`/v1/chat/completions`: from a request to its answer, or to the reason why there is none."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from reflectune.inference import Answered
from reflectune.web.api.asked import Asked, read_asked
from reflectune.web.api.body import Gone, disconnected, read_body
from reflectune.web.api.choice import Choice
from reflectune.web.api.merged import Merged
from reflectune.web.api.outlet import Outlet
from reflectune.web.api.problems import Problem
from reflectune.web.api.service import Service

__all__ = ["Completion"]

_GONE = "499"
_HEARTBEATS_OFF = 3600.0

_log = logging.getLogger(__name__)


class Completion(Response):
    """The response to one request: an ASGI application of its own, which also notices when the client goes.

    Args:
        service: Who answers.
    """

    def __init__(self, service: Service) -> None:
        self.background = None
        self._service = service
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._created = int(time.time())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count how it went."""
        began = time.monotonic()
        outlet = Outlet(send, self._id)
        status = _GONE
        try:
            status = await self._respond(scope, receive, outlet)
        finally:
            self._count(outlet, status, began)

    async def _respond(self, scope: Scope, receive: Receive, outlet: Outlet) -> str:
        """Read the request, answer it, and say with which status it ended."""
        try:
            raw = await read_body(scope, receive, self._service.limits)
            asked = read_asked(raw, QueryParams(scope["query_string"]).get("tags", ""), self._service.settings)
            self._check_model(asked)
            there = await _as_long_as_there(self._work(asked, outlet), receive)
        except Gone:
            return _GONE
        except Problem as problem:
            await self._refuse(problem, outlet, receive)
            return str(problem.status)
        except HTTPException as refused:  # by a layer of the app that it is part of, such as for the size of the body
            await self._refuse(Problem(refused.status_code, refused.detail, code="refused"), outlet, receive)
            return str(refused.status_code)
        except Exception:  # noqa: BLE001 - whatever it is, the client learns no more than that
            _log.exception("A request failed for a fault of ours.")
            fault = Problem(500, "The server failed: this is a fault of its own.", code="internal_error")
            await self._refuse(fault, outlet, receive)
            return "500"
        return "200" if there else _GONE

    async def _refuse(self, problem: Problem, outlet: Outlet, receive: Receive) -> None:
        if outlet.status:
            self._service.metrics.cut.labels(str(problem.status)).inc()
        elif problem.code in {"queue_full", "queue_timeout", "shutting_down"}:
            self._service.metrics.refused.labels(problem.code).inc()
        await outlet.problem(problem, receive)

    def _check_model(self, asked: Asked) -> None:
        name = self._service.name
        if asked.model not in {"", name}:
            raise Problem(
                404,
                f"There is no model {asked.model[:100]!r} here: it is {name}.",
                param="model",
                code="model_not_found",
            )

    async def _work(self, asked: Asked, outlet: Outlet) -> None:
        """Answer within the request's turn."""
        service = self._service
        choices = [
            Choice(
                index,
                asked.tags,
                reflects=asked.reflects,
                without_output=service.limits.without_output,
                stop=asked.stop,
            )
            for index in range(asked.choices)
        ]
        async with service.turn(), Merged(service.answers(asked)) as events:
            if asked.stream:
                await self._stream(asked, choices, events, outlet)
            else:
                await self._whole(choices, events, outlet)

    async def _whole(self, choices: list[Choice], events: Merged[Any], outlet: Outlet) -> None:
        left = len(choices)
        while left:
            told = await events.next(_HEARTBEATS_OFF)
            if told is None:
                continue
            index, event = told
            if isinstance(event, Answered):
                choices[index].end(event)
                left -= 1
            else:
                choices[index].delta(event)
        listed = [
            {"index": choice.index, "message": choice.message, "logprobs": None, **choice.ending} for choice in choices
        ]
        await outlet.json({**self._head("chat.completion"), "choices": listed, "usage": self._usage(choices)})

    async def _stream(self, asked: Asked, choices: list[Choice], events: Merged[Any], outlet: Outlet) -> None:
        beginning = [self._chunk(asked, choice.index, {"role": "assistant", "content": ""}) for choice in choices]
        left = len(choices)
        while left:
            told = await events.next(self._service.limits.heartbeat)
            if told is None:
                await outlet.beat()
                continue
            index, event = told
            choice = choices[index]
            chunks, beginning = beginning, []
            if isinstance(event, Answered):
                left -= 1
                if (delta := choice.end(event)) is not None:
                    chunks.append(self._chunk(asked, index, delta))
                chunks.append(self._chunk(asked, index, {}, choice.ending))
            elif (delta := choice.delta(event)) is not None:
                chunks.append(self._chunk(asked, index, delta))
            if chunks:
                await outlet.events(*chunks)
        usage = self._usage(choices)
        if asked.include_usage:
            await outlet.events({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        await outlet.done()

    def _chunk(
        self, asked: Asked, index: int, delta: dict[str, Any], ending: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, **(ending or {"finish_reason": None})}
        usage = {"usage": None} if asked.include_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._service.name}

    def _usage(self, choices: list[Choice]) -> dict[str, Any] | None:
        """The tokens of all choices together, over all requests that they took; `None` where a model does not say."""
        answers = [choice.answered for choice in choices if choice.answered is not None]
        sent = sum(one.prompt_tokens for one in answers)
        written = sum(one.completion_tokens for one in answers)
        self._service.metrics.tokens.labels("prompt").inc(sent)
        self._service.metrics.tokens.labels("completion").inc(written)
        if any(one.raw and not one.completion_tokens for one in answers):
            return None
        usage: dict[str, Any] = {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written}
        content, reasoning = (any(kinds) for kinds in zip(*(choice.kinds for choice in choices), strict=True))
        if not (content and reasoning):  # else nobody counts them apart
            usage["completion_tokens_details"] = {"reasoning_tokens": written if reasoning else 0}
        return usage

    def _count(self, outlet: Outlet, status: str, began: float) -> None:
        metrics = self._service.metrics
        metrics.requests.labels(status).inc()
        if outlet.first_at is not None and outlet.status == 200:  # noqa: PLR2004
            metrics.first_byte.observe(outlet.first_at - began)
            if status == "200":
                metrics.duration.observe(time.monotonic() - began)


async def _as_long_as_there(work: Coroutine[Any, Any, None], receive: Receive) -> bool:
    """Work as long as the client is there; says whether it was to the end."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        there = working.done()
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)
    if there:
        working.result()
    return there
