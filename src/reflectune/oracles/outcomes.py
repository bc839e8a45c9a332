"""What comes of asking an oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from reflectune.records import Reply

__all__ = ["Answer", "Rejected", "Unacceptable", "Usage"]

T = TypeVar("T")


class Unacceptable(Exception):  # noqa: N818 - a verdict on a reply, which the engine catches
    """Raised by the reader of a reply that cannot be used.

    Args:
        reason: A short name that can be counted, such as `copy`.
        detail: One sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A reply that was read into a value."""

    value: T
    reply: Reply


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that came to nothing.

    Attributes:
        reason: A short name that can be counted.
        detail: One sentence for a person.
        reply: The reply that was rejected; `None` where the oracle gave none.
    """

    reason: str
    detail: str
    reply: Reply | None = None


@dataclass(slots=True)
class Usage:
    """What an engine has done since it was made.

    Attributes:
        requests: Replies that the oracle gave.
        cached: Replies that the store had.
        rejected: Replies that were read and not accepted.
        retried: Tries that the oracle was too busy to answer.
        prompt_tokens: Tokens sent, as the oracle counts them.
        cached_tokens: Those of the tokens sent that came from the oracle's prefix cache.
        completion_tokens: Tokens received.
        busy: Why the oracle was last too busy, and when on the monotonic clock.
    """

    requests: int = 0
    cached: int = 0
    rejected: int = 0
    retried: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    busy: tuple[str, float] | None = None

    def add(self, other: Usage) -> None:
        """Count what another engine has done for the same purpose."""
        for name in (
            "requests",
            "cached",
            "rejected",
            "retried",
            "prompt_tokens",
            "cached_tokens",
            "completion_tokens",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.busy = other.busy or self.busy
