"""Oracles: models that are asked for critiques and rewrites."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from reflectune.oracles.allowance import Allowance
from reflectune.records import Reply, Request, Sampling

__all__ = ["Oracle", "Piece", "StreamingOracle"]


@dataclass(frozen=True, slots=True)
class Piece:
    """What an oracle has just written of a reply.

    Attributes:
        text: More of the reply itself.
        reasoning: More of what a reasoning model thinks before it.
    """

    text: str = ""
    reasoning: str = ""


class Oracle(Protocol):
    """A model that answers requests.

    Attributes:
        name: The model and where it is, such as `gpt-4o-mini@https://api.openai.com/v1`; part of every request's key.
        concurrency: How many requests it can usefully have in flight; `None` where the caller chooses.
        sampling: How it draws tokens unless told otherwise.
        text_limit: The most characters that a string in a JSON reply may have; `None` for no limit. A small model needs
            one so that it cannot run on for ever inside a string.
        dialogue: Whether it is better asked one field per turn than for one large JSON value.
        allowance: How fast its last reply, good or not, said that it may be asked; `None` where it did not say.
    """

    name: str
    concurrency: int | None
    sampling: Sampling
    text_limit: int | None
    dialogue: bool

    @property
    def allowance(self) -> Allowance | None: ...  # noqa: D102 - see above

    async def complete(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            OracleBusy: The oracle cannot answer now but may later.
            RequestRefused: It will never answer this request.
            OracleError: It cannot be used at all.
        """
        ...

    async def aclose(self) -> None:
        """Free what the oracle holds."""
        ...


class StreamingOracle(Oracle, Protocol):
    """An oracle whose replies can be read while they are written."""

    def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Answer one request piece by piece; last comes the whole reply. Closing the generator ends the writing.

        Raises:
            OracleBusy, RequestRefused, OracleError: As `complete` does; also in the middle of a reply.
        """
        ...
