"""How much a server takes on, and how long anything may take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings

__all__ = ["Limits", "WithoutOutput"]

WithoutOutput = Literal["empty", "whole"]


class Limits(Settings):
    """How much a server takes on, and how long anything may take.

    Attributes:
        max_concurrency: The most requests that are worked on, and the most that the model is asked at once.
        queue: The most requests that wait for their turn; more are refused.
        queue_timeout: Seconds that a request may wait for its turn.
        timeout: Seconds that an answer may take, from its turn to its last byte.
        read_timeout: Seconds in which a request has to arrive, its body included.
        max_body: The largest body, in MB of 2**20 bytes.
        grace: Seconds that answers in flight may take once the server is told to end.
        heartbeat: Seconds of silence in a stream after which a comment is sent, so that nobody takes it for dead.
        without_output: What `content` is where a model that was to answer in tags did not: empty, or the whole reply.
    """

    max_concurrency: int = Field(default=64, ge=1)
    queue: int = Field(default=256, ge=0)
    queue_timeout: float = Field(default=30.0, gt=0)
    timeout: float = Field(default=600.0, gt=0)
    read_timeout: float = Field(default=30.0, gt=0)
    max_body: float = Field(default=8.0, gt=0)
    grace: float = Field(default=30.0, ge=0)
    heartbeat: float = Field(default=15.0, gt=0)
    without_output: WithoutOutput = "empty"

    @property
    def largest_body(self) -> int:
        """The largest body, in bytes."""
        return int(self.max_body * 2**20)
