"""What the headers of a reply say about how fast one may ask.

Four dialects are read: OpenAI's and its imitators' (`x-ratelimit-limit-requests`), Anthropic's
(`anthropic-ratelimit-requests-limit`), the plain one (`x-ratelimit-limit` or `ratelimit-limit`) and the IETF's drafts
(`RateLimit` with `RateLimit-Policy`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

__all__ = ["Allowance", "header_number", "read_allowance"]

_MINUTE = 60.0
_LONGEST_PACED = 300.0
"""Seconds. A limit for a longer time, such as a day's, is a stock to draw on and no pace to keep."""
_SHORTEST_WAIT = 2.0
"""Seconds. Resets are rounded up, and an even pace may leave nothing over for a moment."""
_SURELY_FASTER = 2.0
"""Times. What is left and the reset are rounded."""
_EPOCH = 1e9
_EPOCH_MS = 1e12
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")


def _three(pattern: str) -> tuple[str, str, str]:
    """The headers for a limit, for what remains of it and for its reset."""
    return pattern.format("limit"), pattern.format("remaining"), pattern.format("reset")


# What is counted, the window that the name or the provider's manual states, and the headers.
_NAMED = tuple(
    (kind, window, _three(pattern.replace("KIND", kind)))
    for pattern, window in (
        ("x-ratelimit-{}-KIND", None),
        ("x-ratelimit-{}-KIND-minute", _MINUTE),
        ("anthropic-ratelimit-KIND-{}", _MINUTE),
    )
    for kind in ("requests", "tokens")
)
_PLAIN = (_three("x-ratelimit-{}"), _three("ratelimit-{}"))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an endpoint allows.

    Attributes:
        rpm: Requests a minute; `None` where it does not say.
        tpm: Tokens a minute, sent and received; `None` where it does not say.
        wait: Seconds until it takes anything at all; 0 where it does at once.
        sure: Whether the time that the limits are for is known, and not merely taken to be a minute.
    """

    rpm: float | None = None
    tpm: float | None = None
    wait: float = 0.0
    sure: bool = True


@dataclass(frozen=True, slots=True)
class _Quota:
    """One limit.

    Attributes:
        limit: How much is allowed in a window.
        remaining: How much of it is left.
        reset: Seconds until nothing of it is used.
        window: Seconds that the limit is for, where that is said.
        at_once: Whether it is given back all at once when the window ends, and not little by little.
    """

    limit: float | None
    remaining: float | None = None
    reset: float | None = None
    window: float | None = None
    at_once: bool = False

    @property
    def sure(self) -> bool:
        """Whether the window is told, or can be told from how long it takes to get back what was used.

        Where much is used the limit may be more than one can ever use in one go, and then it tells nothing.
        """
        if self.window is not None or self.limit is None:
            return True
        if self.reset is None or self.remaining is None:
            return False
        return self.limit < 2 or self.remaining >= self.limit / 2  # noqa: PLR2004

    @property
    def per_minute(self) -> float | None:
        """How much is allowed a minute; `None` where the window is long or there is no limit."""
        if not self.limit:  # zero is an account that may not ask at all, which the endpoint says by refusing
            return None
        if self.window is not None:
            return self.limit * _MINUTE / self.window if self.window <= _LONGEST_PACED else None
        if self.reset is not None and self.reset > _MINUTE + 1:
            return None
        if self.reset and self.remaining is not None and self.sure:
            pace = (self.limit - self.remaining) / self.reset * _MINUTE
            return pace if pace > _SURELY_FASTER * self.limit else self.limit
        return self.limit

    @property
    def wait(self) -> float:
        """Seconds until more is allowed."""
        if not self.at_once or self.reset is None or self.remaining is None or self.remaining >= 1:
            return 0.0
        pace = self.per_minute
        shortest = max(_SHORTEST_WAIT, 2 * _MINUTE / pace) if pace else _SHORTEST_WAIT
        return self.reset if self.reset > shortest else 0.0


def read_allowance(headers: Mapping[str, str], now: float) -> Allowance | None:
    """Read the rate-limit headers of a reply.

    Args:
        headers: The reply's headers; names are looked up in lower case, so the mapping should not mind case.
        now: Seconds since 1970: some endpoints name the moment of the reset.

    Returns:
        What they say; `None` where they say nothing.
    """
    quotas = list(_named(headers, now))
    if not any(kind == "requests" for kind, _ in quotas):
        quotas += _unnamed(headers, now)
    if not quotas:
        return None
    paces: dict[str, float] = {}
    for kind, quota in quotas:
        pace = quota.per_minute
        if pace is not None:
            paces[kind] = min(pace, paces.get(kind, math.inf))
    return Allowance(
        paces.get("requests"),
        paces.get("tokens"),
        max(quota.wait for _, quota in quotas),
        all(quota.sure for _, quota in quotas),
    )


def _named(headers: Mapping[str, str], now: float) -> Iterator[tuple[str, _Quota]]:
    """The limits whose headers name what they count. They are buckets that fill up again little by little."""
    for kind, window, (limit, remaining, reset) in _NAMED:
        most = headers.get(limit)
        if most is not None and (number := header_number(most)):
            yield kind, _Quota(number, header_number(headers.get(remaining)), _seconds(headers.get(reset), now), window)


def _unnamed(headers: Mapping[str, str], now: float) -> Iterator[tuple[str, _Quota]]:
    """The limits of the plain dialect and of the IETF's drafts. They are windows, with a quota for each."""
    states, policies = _states(headers, now), _policies(headers)
    for name, kind, limit, window in policies:
        state = states.pop(name, None)
        if state is None and "" in states and (len(policies) == 1 or states[""].limit == limit):
            state = states.pop("")
        quota = _Quota(limit, window=window, at_once=True)
        yield kind, replace(quota, remaining=state.remaining, reset=state.reset) if state else quota
    for state in states.values():
        yield "requests", state


def _states(headers: Mapping[str, str], now: float) -> dict[str, _Quota]:
    """What is left of each limit by the name of its policy; the name is empty where there is none."""
    for limit, remaining, reset in _PLAIN:
        most = headers.get(limit)
        if most is not None:
            left, until = header_number(headers.get(remaining)), _seconds(headers.get(reset), now)
            return {"": _Quota(header_number(most.partition(",")[0].partition(";")[0]), left, until, at_once=True)}
    value = headers.get("ratelimit")
    if value is None:
        return {}
    items = _items(value)
    if any("=" in name for name, _ in items):  # limit=100, remaining=9, reset=12
        said = {key: number for key, _, number in (name.partition("=") for name, _ in items)}
        left, until = header_number(said.get("remaining")), _seconds(said.get("reset"), now)
        return {"": _Quota(header_number(said.get("limit")), left, until, at_once=True)}
    return {
        name: _Quota(None, header_number(told.get("r")), header_number(told.get("t")), at_once=True)
        for name, told in items
    }


def _policies(headers: Mapping[str, str]) -> list[tuple[str, str, float, float]]:
    """The policies: name, what they count, how much of it, and the seconds that it is for."""
    value = headers.get("ratelimit-policy")
    if value is None:  # or behind the limit itself: 100, 100;w=60, 5000;window=3600
        value = headers.get("x-ratelimit-limit") or headers.get("ratelimit-limit") or ""
    policies = []
    for name, told in _items(value) if ";" in value else ():
        limit, window = header_number(told.get("q", name)), header_number(told.get("w", told.get("window")))
        unit = told.get("qu", "tokens" if "token" in name else "requests")
        if limit and window and unit in {"requests", "tokens"}:
            policies.append((name, unit, limit, window))
    return policies


def _items(value: str) -> list[tuple[str, dict[str, str]]]:
    """The members of a list, each with its parameters: `"burst";q=100;w=60, ...`."""
    items = []
    for member in value.split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        items.append((name.strip('"'), {key.strip(): told.strip().strip('"') for key, _, told in pairs}))
    return items


def header_number(value: str | None) -> float | None:
    """A header's number, if it is finite and not negative."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds(value: str | None, now: float) -> float | None:
    """Seconds until a reset: told as such, as a duration (`6m0s`), or as a moment (since 1970, or a date)."""
    if value is None:
        return None
    number = header_number(value)
    if number is not None:
        if number < _EPOCH:
            return number
        return max(0.0, (number / 1000 if number >= _EPOCH_MS else number) - now)
    parts = _DURATION.findall(value)
    if parts and "".join(amount + unit for amount, unit in parts) == value.strip():
        return sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return _until(value, now)


def _until(date: str, now: float) -> float | None:
    """Seconds until a date, as RFC 3339 or HTTP writes it."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return max(0.0, read(date).timestamp() - now)
        except ValueError:
            continue
    return None
