"""Whether an oracle is down, and when to try it again: the rules. `pacing.py` does the waiting."""

from __future__ import annotations

__all__ = ["Breaker"]

_DOWN = {"connection", "server-error", "timeout", "bad-reply"}
_REFUSING = "rate-limit"
_REFUSING_SECONDS = 20.0
"""An oracle that refuses everything for as long as this is as good as down: its quota for the day is spent, say."""
_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_MOST_ASKED = 3600.0
_SEVERAL = 8


class Breaker:
    """Opens when several requests fail and none succeeds in between; then one is tried at a time, ever more seldom.

    Before the first success one is enough: a server that is still loading should be left in peace. A request that
    fails while others succeed is suspect: when only such requests fail, they are at fault themselves.

    Args:
        ceiling: The most requests in flight: of few requests, few can fail one after the other.

    Attributes:
        down_since: When the oracle began to be down; `None` while it is not.
        reason: Why the oracle is down.
        next_try: When it may be tried again.
        probing: Whether it is being tried.
        probes: How many tries failed.
    """

    def __init__(self, ceiling: int) -> None:
        self.down_since: float | None = None
        self.reason = ""
        self.next_try = 0.0
        self.probing = False
        self.probes = 0
        self._worked = False
        self._several = min(_SEVERAL, ceiling + 1)
        self._failing: dict[str, bool] = {}  # the request, and whether it was refused as one too many
        self._failing_since = 0.0
        self._suspects: set[str] = set()

    def well(self, key: str) -> None:
        """Note that the oracle answered a request."""
        self._worked = True
        if self.down_since is not None:
            self.down_since = None
            self.probing = False
            self._failing.clear()
        elif self._failing:
            self._suspects.update(self._failing)
            self._failing.clear()
        if self._suspects:
            self._suspects.discard(key)

    def forget(self, key: str) -> None:
        """Note that a request will not be asked again."""
        if self._suspects:
            self._suspects.discard(key)

    def fault(self, key: str, reason: str, now: float, *, asked: float = 0.0, probe: bool = False) -> None:
        """Note that a request came to nothing.

        Args:
            key: Which.
            reason: Why.
            now: The time.
            asked: Seconds that the oracle asks us to wait.
            probe: Whether it was sent to try the oracle.
        """
        if self.down_since is not None:
            if probe:
                self._probe_failed(reason, now, asked)
            return
        refused = reason == _REFUSING
        if not refused and reason not in _DOWN:
            return
        if not self._failing:
            self._failing_since = now
        self._failing[key] = refused
        if refused and now - self._failing_since < _REFUSING_SECONDS:
            return
        alike = {key for key, was_refused in self._failing.items() if was_refused == refused}
        enough = len(alike) >= self._several and len(alike - self._suspects) >= min(2, self._several - 1)
        if enough or (not refused and not self._worked):
            self.down_since, self.reason, self.probes = self._failing_since, reason, 0
            self.next_try = now + max(_FIRST_DELAY, min(asked, _MOST_ASKED))

    def release(self) -> None:
        """Note that a try was not made after all, or told nothing."""
        self.probing = False

    def _probe_failed(self, reason: str, now: float, asked: float) -> None:
        self.probing = False
        if reason == _REFUSING and self.reason != _REFUSING:  # it is up again, and has too much to do
            self.down_since = None
            self._failing.clear()
            return
        self.probes += 1
        self.reason = reason
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(self.probes, 10))
        self.next_try = now + max(delay, min(asked, _MOST_ASKED))
