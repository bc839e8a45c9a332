"""A chat completion that grows delta by delta."""

from __future__ import annotations

from typing import Any

from reflectune.oracles import Piece
from reflectune.oracles.replies import read_reply, text_of
from reflectune.records import Reply
from reflectune.tags import Part, Think

__all__ = ["Growing"]


class Growing:
    """A reply put together from the chunks of a streamed chat completion.

    Attributes:
        ended: Whether it was said why the reply ended.
    """

    def __init__(self) -> None:
        self.ended = False
        self._think = Think()
        self._said: dict[str, list[str]] = {"content": [], "reasoning_content": [], "refusal": []}
        self._finish_reason: Any = None
        self._usage: Any = None
        self._logprobs: Any = None

    def take(self, chunk: Any) -> list[Piece]:
        """More of the reply.

        Args:
            chunk: The body of a chunk, parsed.

        Raises:
            ValueError: It is no chunk of a completion; the text says what is wrong.
        """
        if not isinstance(chunk, dict):
            raise ValueError("an event that is no object")  # noqa: TRY004 - the type is the endpoint's affair
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index"):
            return []
        if choice.get("finish_reason"):
            self._finish_reason, self.ended = choice["finish_reason"], True
        if self._finish_reason == "error":
            raise ValueError("a reply that broke off with an error")
        if self._logprobs is None and isinstance(choice.get("logprobs"), dict):
            self._logprobs = choice["logprobs"]
        delta = choice.get("delta") or choice.get("message")
        return self._more(delta) if isinstance(delta, dict) else []

    def end(self) -> tuple[list[Piece], Reply]:
        """What was held back, and the whole reply."""
        message = {name: "".join(texts) for name, texts in self._said.items()}
        choice = {"message": message, "finish_reason": self._finish_reason, "logprobs": self._logprobs}
        reply = read_reply({"choices": [choice], "usage": self._usage})
        pieces = _pieces(self._think.end())
        if reply.finish_reason == "refusal":
            pieces.append(Piece(text=reply.text))
        return pieces, reply

    def _more(self, delta: dict[str, Any]) -> list[Piece]:
        reasoning = text_of(delta.get("reasoning_content") or delta.get("reasoning"))
        content, refusal = text_of(delta.get("content")), text_of(delta.get("refusal"))
        for name, text in (("content", content), ("reasoning_content", reasoning), ("refusal", refusal)):
            if text:
                self._said[name].append(text)
        pieces = [Piece(reasoning=reasoning)] if reasoning else []
        return pieces + _pieces(self._think.feed(content)) if content else pieces


def _pieces(parts: list[Part]) -> list[Piece]:
    return [
        Piece(reasoning=part.text) if part.kind == "thinking" else Piece(text=part.text) for part in parts if part.text
    ]
