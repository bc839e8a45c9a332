"""Doubles for tests: an oracle that says what you tell it to, and a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator

from reflectune.oracles import Piece
from reflectune.oracles.allowance import Allowance
from reflectune.oracles.stopping import stopped
from reflectune.records import Reply, Request, Sampling

Said = str | Reply | Exception
_PIECE = 5
"""Characters: a tag never comes whole."""


class ScriptedOracle:
    """An oracle whose replies are scripted.

    Args:
        script: The replies in the order in which they are given, or a function from the request to its reply. An
            exception is raised instead of being returned.
        name: The oracle's name.
        dialogue: Whether it is asked one field per turn.

    Attributes:
        requests: Every request that it was asked, in order.
    """

    def __init__(
        self,
        script: Iterable[Said] | Callable[[Request], Said],
        *,
        name: str = "scripted",
        dialogue: bool = False,
    ) -> None:
        self.name = name
        self.concurrency: int | None = 4
        self.sampling = Sampling()
        self.text_limit: int | None = None
        self.dialogue = dialogue
        self.allowance: Allowance | None = None
        self.requests: list[Request] = []
        self._say = script if callable(script) else _in_turn(iter(script))

    async def complete(self, request: Request) -> Reply:
        """Give the next scripted reply.

        Raises:
            AssertionError: The script has come to its end.
        """
        self.requests.append(request)
        said = self._say(request)
        if isinstance(said, Exception):
            raise said
        reply = said if isinstance(said, Reply) else _reply(request, said)
        cut = stopped(reply.text, request.stop)
        return reply if cut is None else reply.model_copy(update={"text": cut, "finish_reason": "stop"})

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        """Give the next scripted reply in small pieces, with other tasks' turn in between.

        Raises:
            AssertionError: The script has come to its end.
        """
        reply = await self.complete(request)
        for kind, text in (("reasoning", reply.reasoning or ""), ("text", reply.text)):
            for begin in range(0, len(text), _PIECE):
                yield Piece(**{kind: text[begin : begin + _PIECE]})
                await asyncio.sleep(0)
        yield reply

    async def aclose(self) -> None:
        """Do nothing: there is nothing to free."""


class MemoryStore:
    """A `Store` that forgets everything when the process ends.

    Attributes:
        replies: Replies by the key of their request.
        results: (fingerprint, body, reason of failure) by stage and row.
    """

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.results: dict[tuple[str, str], tuple[str, bytes, str | None]] = {}

    def reply(self, key: str) -> Reply | None:
        """The reply kept under this key; `None` where there is none."""
        return self.replies.get(key)

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:  # noqa: ARG002
        """Keep a reply."""
        self.replies[key] = reply

    def result(self, stage: str, row: str, fingerprint: str) -> bytes | None:
        """The JSON of a row's result, if it was made under the same fingerprint."""
        kept = self.results.get((stage, row))
        return kept[1] if kept and kept[0] == fingerprint else None

    async def keep_result(self, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        """Keep a row's result."""
        self.results[stage, row] = (fingerprint, body, failed)


def _reply(request: Request, said: str) -> Reply:
    words = sum(len(message.content.split()) for message in request.messages)
    return Reply(text=said, prompt_tokens=words, completion_tokens=len(said.split()))


def _in_turn(said: Iterator[Said]) -> Callable[[Request], Said]:
    def say(request: Request) -> Said:
        try:
            return next(said)
        except StopIteration:
            raise AssertionError(f"The script has no reply for: {request.messages[-1].content[:200]}") from None

    return say
