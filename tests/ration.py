"""A token bucket for the loopback server: so many requests a minute, and 429 for the others."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any


class Ration:
    """What a client may ask.

    Args:
        rpm: Requests a minute that the bucket fills up with; 0 grants everything.
        burst: The most that it holds.
        headers: Whether every reply says how much is left, as OpenAI's do.
        retry_after: What a refusal says: `exact` seconds, whole ones (`ceil`), or `none`.
    """

    def __init__(self, rpm: float, burst: float, *, headers: bool = False, retry_after: str = "exact") -> None:
        self._per_second = rpm / 60
        self._burst = burst
        self._states = headers
        self._retry_after = retry_after
        self._level = burst
        self._filled_at = self._began = time.monotonic()
        self._counts: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}

    def granted(self) -> bool:
        """Take one request out of the bucket, if it holds one."""
        if not self._per_second:
            return True
        now = time.monotonic()
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        granted = self._level >= 1
        self._level -= granted
        if not any(self._counts.values()):
            self._began = now
        self._counts[granted][int(now - self._began)] += 1
        return granted

    def headers(self, *, granted: bool) -> dict[str, str]:
        """The headers of a reply."""
        if not self._per_second:
            return {}
        said = {}
        if self._states:
            said = {
                "x-ratelimit-limit-requests": f"{60 * self._per_second:.0f}",
                "x-ratelimit-remaining-requests": f"{self._level:.0f}",
                "x-ratelimit-reset-requests": f"{(self._burst - self._level) / self._per_second:.3f}s",
            }
        if granted or self._retry_after == "none":
            return said
        seconds = (1 - self._level) / self._per_second
        return said | {"Retry-After": str(math.ceil(seconds)) if self._retry_after == "ceil" else f"{seconds:.3f}"}

    def stats(self) -> dict[str, Any]:
        """How many requests were granted and refused in each second since the first: `[second, granted, refused]`."""
        granted, refused = self._counts[True], self._counts[False]
        return {"timeline": [[second, granted[second], refused[second]] for second in sorted(granted | refused)]}
