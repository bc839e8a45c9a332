"""What goes on while a transformers model writes: pieces for whoever reads along, and when it is enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reflectune.oracles.stopping import Stops, stopped

__all__ = ["Aloud", "Enough"]

_INCOMPLETE = "\ufffd"
_TOKENS_BEFORE_A_STOP = 8
"""A stop may begin in the middle of a token, and be spelled with more tokens than it has characters."""


class Aloud:
    """Tells what is written as soon as it is text: a streamer, as transformers calls that.

    Args:
        tokenizer: The model's tokenizer.
        say: Told of each piece.
        stop: The texts before any of which the reply ends.
    """

    def __init__(self, tokenizer: Any, say: Callable[[str], None], stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._say = say
        self._stops = Stops(stop)
        self._said: list[str] = []
        self._tokens: list[int] | None = None
        # What came out and what did not share a few tokens: how a token is spelled depends on those before it.
        self._first = self._next = 0

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._said)

    def put(self, tokens: Any) -> None:
        """Take tokens; the first ones are the prompt's."""
        if self._tokens is None:
            self._tokens = []
            return
        self._tokens += tokens.flatten().tolist()
        self._read(last=False)

    def end(self) -> None:
        """Tell what was held back."""
        self._read(last=True)
        self._tell(self._stops.end())

    def _read(self, *, last: bool) -> None:
        tokens = self._tokens or []
        before = self._decoded(tokens[self._first : self._next])
        after = self._decoded(tokens[self._first :])
        if len(after) <= len(before) or (after.endswith(_INCOMPLETE) and not last):
            return
        self._first, self._next = self._next, len(tokens)
        self._tell(self._stops.feed(after[len(before) :]))

    def _decoded(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _tell(self, text: str) -> None:
        if text:
            self._said.append(text)
            self._say(text)


class Enough:
    """Says of each row of a batch whether its reply may end: a stopping criterion, as transformers calls that.

    Args:
        torch: The library.
        tokenizer: The model's tokenizer.
        width: Tokens of a prompt.
        stops: For each row the texts before any of which its reply ends.
        unwanted: Whether nobody waits for the batch any more.

    Attributes:
        lengths: For each row that came to a stop, the tokens up to there.
    """

    def __init__(
        self, torch: Any, tokenizer: Any, width: int, stops: Sequence[Sequence[str]], unwanted: Callable[[], bool]
    ) -> None:
        self.lengths: dict[int, int] = {}
        self._torch = torch
        self._tokenizer = tokenizer
        self._width = width
        self._stops = {row: tuple(stop) for row, stop in enumerate(stops) if stop}
        self._unwanted = unwanted

    def __call__(self, tokens: Any, scores: Any, **_: Any) -> Any:  # noqa: ARG002 - what transformers hands over
        """Whether each row is at its end."""
        count = tokens.shape[0]
        if self._unwanted():
            return self._torch.ones(count, dtype=self._torch.bool, device=tokens.device)
        length = tokens.shape[1] - self._width
        for row, stop in self._stops.items():
            if row in self.lengths:
                continue
            last = min(length, max(map(len, stop)) + _TOKENS_BEFORE_A_STOP)
            if stopped(self._tokenizer.decode(tokens[row, -last:], skip_special_tokens=True), stop) is not None:
                self.lengths[row] = length
        ended = [row in self.lengths for row in range(count)]
        return self._torch.tensor(ended, dtype=self._torch.bool, device=tokens.device)
