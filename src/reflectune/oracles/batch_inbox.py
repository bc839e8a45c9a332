"""What a provider's batches have brought, read when a row asks for it."""

from __future__ import annotations

from typing import Any

import orjson

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.api import ApiOracle
from reflectune.oracles.budget import Budget
from reflectune.records import Reply, Request
from reflectune.runs.outbox import Outbox, Posted

__all__ = ["AfterBatches", "Inbox"]

_MOST_TRIES = 5
"""Batches that may come back without an answer to a request before its row fails."""


class Inbox:
    """The outcomes that have come back and are not among the run's replies yet.

    Args:
        api: The endpoint, which knows how to read its own replies.
        outbox: Where they are kept.
        budget: What keeps count of the money, if anything does. What is with the provider is held, what has come back
            is spent.
    """

    def __init__(self, api: ApiOracle, outbox: Outbox, budget: Budget | None) -> None:
        self._api = api
        self._outbox = outbox
        self._budget = budget
        outbox.tidy()
        outbox.hold_nothing_for_outcomes()
        if budget is not None:
            budget.hold(outbox.held)

    def posted(self, key: str) -> Posted | None:
        """What is known of a request; `None` where it was given to no batch."""
        return self._outbox.get(key)

    async def read(self, key: str, posted: Posted, request: Request) -> Reply | None:
        """The reply that has come back for a request; `None` where there is none, and it is to be asked again.

        Raises:
            RequestRefused: The oracle will never answer this request, or did not in several batches.
            OracleError: It cannot be used at all, and said so in several batches.
        """
        if posted.outcome is None:
            return None
        self.release(max(posted.held, 0.0))
        try:
            reply = await self._reply(orjson.loads(posted.outcome), request)
        except RequestRefused:
            self._outbox.forget(key)
            raise
        except OracleError as fault:  # also where credit had run out: whoever goes on has seen to that
            if posted.tries + 1 < _MOST_TRIES:
                self._outbox.unhold(key)
                return None
            self._outbox.forget(key)
            if isinstance(fault, OracleBusy):
                raise RequestRefused(fault.what, reason=fault.reason, mend=fault.mend) from None
            raise
        reply = reply.model_copy(update={"batch": True})
        if self._budget is not None and posted.held < 0:
            self._budget.refund(reply)  # it was counted when the run was opened, and is now counted as a reply
        return reply

    def release(self, amount: float) -> None:
        """Hold so much less."""
        if self._budget is not None:
            self._budget.release(amount)

    async def _reply(self, outcome: dict[str, Any], request: Request) -> Reply:
        response = outcome.get("response")
        if isinstance(response, dict) and isinstance(status := response.get("status_code"), int):
            return await self._api.read(request, status, response.get("body"))
        error = outcome.get("error")
        code, message = (error.get("code"), error.get("message")) if isinstance(error, dict) else (error, None)
        reason = "expired" if "expired" in str(code) else "server-error"
        raise OracleBusy(f"A batch came back without an answer: {code}: {message}", reason=reason)


class AfterBatches:
    """An endpoint that is asked directly, once what batches have brought before is read.

    Args:
        api: The endpoint.
        inbox: What they have brought.
    """

    def __init__(self, api: ApiOracle, inbox: Inbox) -> None:
        self.name = api.name
        self.concurrency = api.concurrency
        self.sampling = api.sampling
        self.text_limit = api.text_limit
        self.dialogue = api.dialogue
        self._api = api
        self._inbox = inbox

    @property
    def allowance(self) -> Allowance | None:
        """How fast the endpoint's last reply said that it may be asked."""
        return self._api.allowance

    async def complete(self, request: Request) -> Reply:
        """Answer one request, as `ApiOracle.complete` does."""
        key = request.key(self.name)
        posted = self._inbox.posted(key)
        reply = await self._inbox.read(key, posted, request) if posted else None
        return await self._api.complete(request) if reply is None else reply

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()
