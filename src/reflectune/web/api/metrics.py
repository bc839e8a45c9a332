"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from reflectune.optional import load_optional

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WHOLE = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counts of one server, in a registry of their own.

    Attributes:
        requests: Requests for an answer that have ended, by status; `499` where the client went first.
        refused: Requests that the server would not take on, by the reason.
        cut: Streams that broke off with an error.
        tokens: Tokens sent to the model and written by it, by kind.
        first_byte: Seconds from a request to the first byte of its answer.
        duration: Seconds from a request to the last byte of its answer.
    """

    def __init__(self, in_flight: Callable[[], float], queued: Callable[[], float]) -> None:
        """Make the counters.

        Args:
            in_flight: Tells how many requests are worked on.
            queued: Tells how many wait.
        """
        self._library = load_optional("prometheus_client", "The server's metrics", "web")
        self._registry = self._library.CollectorRegistry()
        self.requests = self._counter("requests", "Requests for an answer that have ended, by status.", "status")
        self.refused = self._counter("refused", "Requests that were not taken on, by reason.", "reason")
        self.cut = self._counter("cut", "Streams that broke off, by the status of the error.", "status")
        self.tokens = self._counter("tokens", "Tokens sent to the model and written by it.", "kind")
        self.first_byte = self._seconds("first_byte_seconds", "From a request to the first byte of its answer.", _FIRST)
        self.duration = self._seconds("duration_seconds", "From a request to the last byte of its answer.", _WHOLE)
        self._gauge("in_flight", "Requests that are worked on.", in_flight)
        self._gauge("queued", "Requests that wait for their turn.", queued)
        for kind in ("prompt", "completion"):
            self.tokens.labels(kind)

    def written(self) -> bytes:
        """All of them, in the text format."""
        text: bytes = self._library.generate_latest(self._registry)
        return text

    def _counter(self, name: str, told: str, label: str) -> Counter:
        counter: Counter = self._library.Counter(f"reflectune_{name}", told, (label,), registry=self._registry)
        return counter

    def _seconds(self, name: str, told: str, buckets: tuple[float, ...]) -> Histogram:
        histogram: Histogram = self._library.Histogram(
            f"reflectune_{name}", told, registry=self._registry, buckets=buckets
        )
        return histogram

    def _gauge(self, name: str, told: str, value: Callable[[], float]) -> None:
        self._library.Gauge(f"reflectune_{name}", told, registry=self._registry).set_function(value)
