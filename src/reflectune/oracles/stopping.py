"""Texts before which a reply is to end, where nobody else sees to it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Stops", "stopped"]


def stopped(text: str, stop: Sequence[str]) -> str | None:
    """The text before the one of the texts that is whole first; `None` where none comes in it."""
    found = ((text.find(one), len(one)) for one in stop if one)
    ends = [(place + length, place) for place, length in found if place >= 0]
    return text[: min(ends)[1]] if ends else None


class Stops:
    """Ends a text that is still growing.

    Args:
        stop: The texts before any of which it ends.

    Attributes:
        reached: Whether it has ended.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self.reached = False
        self._stop = tuple(one for one in stop if one)
        self._longest = max(map(len, self._stop), default=0)
        self._held = ""

    def feed(self, chunk: str) -> str:
        """What of the text is sure to come before the end."""
        if self.reached or not self._stop:
            return "" if self.reached else chunk
        text = self._held + chunk
        cut = stopped(text, self._stop)
        if cut is not None:
            self.reached, self._held = True, ""
            return cut
        # The longest end of the text that a stop begins with
        first = max(0, len(text) - self._longest + 1)
        safe = next(
            (place for place in range(first, len(text)) if any(one.startswith(text[place:]) for one in self._stop)),
            len(text),
        )
        self._held = text[safe:]
        return text[:safe]

    def end(self) -> str:
        """What was held back, where the text ends by itself."""
        held, self._held = self._held, ""
        return held
