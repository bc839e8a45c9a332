"""How many requests and tokens a minute an oracle may be sent: the rules. `pacing.py` does the waiting.

The rate is the least of what the user set, what the oracle's headers state and what its refusals teach.
"""

from __future__ import annotations

import math

from reflectune.oracles.allowance import Allowance
from reflectune.oracles.refusals import Learned, Sent
from reflectune.records import Reply, Request

__all__ = ["Appetite", "Rates", "Schedule", "Stated"]

_MINUTE = 60.0
_MARGIN = 0.98
"""Of a rate that was set or stated: clocks differ, and requests do not arrive as evenly as they are sent."""
_REQUEST_SLACK = 0.02
_TOKEN_SLACK = 2.0
"""Seconds. What a request takes is known only afterwards, so tokens are made up for over a longer time."""
_UNLIMITED = (math.inf, math.inf, "")


class Schedule:
    """Things evenly spaced in time.

    Being late by at most `slack` seconds is made up for; after a longer pause the spacing begins anew.

    Attributes:
        due: The moment from which the next may go.
    """

    __slots__ = ("_slack", "due")

    def __init__(self, slack: float) -> None:
        self.due = -math.inf
        self._slack = slack

    def take(self, amount: float, per_second: float, now: float) -> None:
        """Send something of this amount."""
        start = self.due if now - self.due < self._slack else now
        self.due = start + amount / per_second

    def settle(self, amount: float, per_second: float) -> None:
        """Correct what was sent by so much: more, or less where it is negative."""
        self.due += amount / per_second


class Stated:
    """A limit as the headers state it: the least of the last minute or two.

    In a window of fixed length what is left and the time to its end can look, for some of the time, like a faster pace.
    """

    __slots__ = ("_earlier", "_least", "_since")

    def __init__(self) -> None:
        self._since = -math.inf
        self._least = self._earlier = (True, math.inf)

    def note(self, per_minute: float, now: float, *, sure: bool) -> None:
        """Take note of a statement; what is sure outdoes what is not."""
        if now - self._since > _MINUTE:
            self._since, self._earlier, self._least = now, self._least, (True, math.inf)
        self._least = min(self._least, (not sure, per_minute))

    @property
    def per_minute(self) -> float | None:
        """The limit; `None` while there is none."""
        least = min(self._least, self._earlier)[1]
        return None if least == math.inf else least


class Appetite:
    """How many tokens a request will take, going by those before it."""

    _SHARE = 0.05
    _TOKENS_PER_CHARACTER = 0.3

    def __init__(self) -> None:
        self._per_character = self._TOKENS_PER_CHARACTER
        self._completion: float | None = None

    def estimate(self, request: Request) -> float:
        """Tokens that a request and its reply will probably take."""
        reply = request.sampling.max_tokens if self._completion is None else self._completion
        return _size(request) * self._per_character + reply

    def learn(self, request: Request, reply: Reply) -> None:
        """Take note of what a request took."""
        if not reply.prompt_tokens:
            return  # an oracle that does not count
        share = 1.0 if self._completion is None else self._SHARE
        before = self._completion or 0.0
        self._completion = before + share * (reply.completion_tokens - before)
        self._per_character += share * (reply.prompt_tokens / _size(request) - self._per_character)


def _size(request: Request) -> int:
    return max(1, sum(len(message.content) for message in request.messages))


class Rates:
    """The rates that govern, and when the next request may go.

    Args:
        rpm: Requests a minute that the user allows; `None` for no limit of theirs.
        tpm: Tokens a minute that the user allows, sent and received.

    Attributes:
        limited: Whether any rate is known.
    """

    def __init__(self, rpm: float | None = None, tpm: float | None = None) -> None:
        self._set = (rpm, tpm)
        self._stated = (Stated(), Stated())
        self._learned = Learned()
        self._appetite = Appetite()
        self._requests = Schedule(_REQUEST_SLACK)
        self._tokens = Schedule(_TOKEN_SLACK)
        self._limits = (_UNLIMITED, _UNLIMITED)
        self._govern()

    @property
    def rpm(self) -> float | None:
        """Requests a minute; `None` where nothing limits them."""
        per_second = self._limits[0][0]
        return None if per_second == math.inf else per_second * _MINUTE

    @property
    def due(self) -> float:
        """The moment from which the next request may go."""
        return max(self._requests.due, self._tokens.due)

    def describe(self) -> str:
        """The rate that governs and where it comes from; empty where there is none."""
        tokens = self._tokens.due > self._requests.due
        _, per_minute, whose = self._limits[tokens]
        return f"at {per_minute:,.0f} {'tokens' if tokens else 'requests'}/min ({whose})" if whose else ""

    def take(self, request: Request | None, now: float) -> tuple[Sent, float]:
        """Send a request.

        Args:
            request: Which; `None` where nobody counts tokens.
            now: The time.

        Returns:
            What is to be known of it later, and the tokens that it was taken to need.
        """
        requests, tokens = self._limits[0][0], self._limits[1][0]
        sent = self._learned.sent(now, requests)
        if not self.limited:
            return sent, 0.0
        # A rate that holds nobody up is not tried out by a higher one.
        if self._learned.per_second is not None and now - self._requests.due < _REQUEST_SLACK:
            self._learned.grow(now)
            self._govern()
        if requests < math.inf:
            self._requests.take(1, requests, now)
        if tokens == math.inf or request is None:
            return sent, 0.0
        needed = self._appetite.estimate(request)
        self._tokens.take(needed, tokens, now)
        return sent, needed

    def answered(self, request: Request | None, needed: float, reply: Reply) -> None:
        """Take note of what a request took."""
        if self._limits[1][0] == math.inf or request is None:
            return
        self._appetite.learn(request, reply)
        if needed and reply.prompt_tokens:
            self._tokens.settle(reply.prompt_tokens + reply.completion_tokens - needed, self._limits[1][0])

    def failed(self, needed: float) -> None:
        """Take note that a request took nothing."""
        if needed and self._limits[1][0] < math.inf:
            self._tokens.settle(-needed, self._limits[1][0])

    def refused(self, sent: Sent, now: float) -> None:
        """Take note that a request was refused because there were too many."""
        self._learned.refused(sent, now)
        self._govern()

    def state(self, allowance: Allowance, now: float) -> None:
        """Take note of what the oracle allows."""
        for stated, per_minute in zip(self._stated, (allowance.rpm, allowance.tpm), strict=True):
            if per_minute:
                stated.note(per_minute, now, sure=allowance.sure)
        self._govern()

    def _govern(self) -> None:
        """Find the least of all limits."""
        learned = self._learned.per_second
        found = None if learned is None else learned * _MINUTE / _MARGIN
        requests, tokens = (
            min(_limit(own, "as you set it"), _limit(stated.per_minute, "the endpoint's limit"))
            for own, stated in zip(self._set, self._stated, strict=True)
        )
        self._limits = (min(requests, _limit(found, "found by trying")), tokens)
        self.limited = self._limits != (_UNLIMITED, _UNLIMITED)


def _limit(per_minute: float | None, whose: str) -> tuple[float, float, str]:
    """A limit as what is used of it a second, itself, and whose it is."""
    return (per_minute * _MARGIN / _MINUTE, per_minute, whose) if per_minute else _UNLIMITED
