"""How an answer looks in a terminal while it is written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from reflectune.cli.screen import clean
from reflectune.inference import Answered, Part, PartKind
from reflectune.language import length

__all__ = ["Folding", "Screen", "console", "told"]

Folding = Literal["shown", "folded", "silent"]
"""Thinking is shown; or one line says how long it is; or nothing tells of it."""

_STYLES: dict[PartKind, str] = {"thinking": "dim", "reflection": "magenta", "output": "", "text": ""}
_LABELLED = ("thinking", "reflection")
_ERASE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
_REFRESH_SECONDS = 0.2
_LOOK_SECONDS = 0.3
_NO_OUTPUT = "There is no <output> in this reply: this is all that it says outside of its thinking."
_NOTHING = "There is no <output> in this reply, and nothing else outside of its thinking."
_CUT_OFF = "The reply was cut off at its most tokens; --max-tokens allows more."


def console(*, stderr: bool = False) -> Console:
    """A console that prints texts as they are."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


class Screen:
    """Shows one answer.

    Args:
        out: Where the answer goes.
        aside: Where thinking and notes go.
        folding: What is shown of the thinking.
        holds_text: Whether what stands in no tag waits until it is known that there is no `<output>`.
    """

    def __init__(self, out: Console, aside: Console, folding: Folding, *, holds_text: bool = False) -> None:
        self._out = out
        self._aside = aside
        self._folding = folding
        self._holds_text = holds_text
        self._held: list[str] = []
        self._kind: PartKind | None = None
        self._label = False
        self._open: Console | None = None  # the console whose last line has not ended
        self._folded: list[str] = []
        self._reflections = 0
        self._refreshed = 0.0

    def take(self, part: Part) -> None:
        """Show more of the answer."""
        if part.begins:
            self._begin(part.kind)
        text = clean(part.text)
        if not text:
            return
        if part.kind in _LABELLED:
            self._think(part.kind, text)
        elif part.kind == "text" and self._holds_text:
            self._held.append(text)
        else:
            self._unfold()
            self._write(self._out, text)

    def end(self, answered: Answered) -> None:
        """Show what is left to say of the whole answer."""
        self._unfold()
        if answered.output is None and self._held:
            self._write(self._out, "".join(self._held))
        self.close()
        if answered.output is None:
            said = "no-output" in answered.faults and answered.raw and (self._held or self._kind == "text")
            self.note(_NO_OUTPUT if said else _NOTHING)
        if answered.finish_reason == "length":
            self.note(_CUT_OFF)
        elif answered.finish_reason not in ("stop", "eos"):
            self.note(f"The reply ended for another reason: {clean(answered.finish_reason)}")

    def close(self) -> None:
        """End the line."""
        if self._folded:
            self._unfold()
        if self._open is not None:
            self._open.print()
            self._open = None

    def _begin(self, kind: PartKind) -> None:
        before, self._kind = self._kind, kind
        if kind in _LABELLED:
            self._label = True
            self._folded += ["\n"] if self._folded else []
            self._reflections += kind == "reflection"
        elif kind == "text" and self._holds_text:
            self._held += ["\n\n"] if self._held else []
        elif before is not None and (self._folding == "shown" or before not in _LABELLED):
            self.close()
            self._aside.print()

    def _think(self, kind: PartKind, text: str) -> None:
        if self._folding == "silent":
            return
        if self._folding == "folded":
            self._folded.append(text)
            self._refresh()
            return
        if self._label:
            self.close()
            self._write(self._aside, f"{kind}\n", f"{_STYLES[kind]} bold")
            self._label = False
        self._write(self._aside, text, _STYLES[kind])

    def _refresh(self) -> None:
        """Say in place how long the thinking is by now, where the terminal can."""
        now = time.monotonic()
        if not _in_place(self._aside) or now - self._refreshed < _REFRESH_SECONDS:
            return
        self._refreshed = now
        self._aside.control(_ERASE)
        self._aside.print(Text(f"thinking ... {self._size()}", "dim"), end="")

    def _unfold(self) -> None:
        """Leave behind how long the thinking was."""
        if not self._folded:
            return
        if _in_place(self._aside):
            self._aside.control(_ERASE)
        self._aside.print(Text(f"thought {self._size()} (/show shows it)", "dim"))
        self._folded = []

    def _size(self) -> str:
        words = length("".join(self._folded))
        count = self._reflections
        reflected = f", {count} reflection{'s' * (count != 1)}" if count else ""
        return f"{words:,} word{'s' * (words != 1)}{reflected}"

    def _write(self, console: Console, text: str, style: str = "") -> None:
        console.print(Text(text, style), end="")
        self._open = None if text.endswith("\n") else console

    def note(self, text: str) -> None:
        """Say something beside the answer."""
        self.close()
        self._aside.print(Text(text, "dim"))


def _in_place(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal


async def told(
    events: AsyncGenerator[Part | Answered], screen: Screen | None, waiting: Callable[[], str] = str
) -> Answered:
    """Show an answer as it comes, if anywhere, and give the whole of it.

    Args:
        events: The answer.
        screen: Where it is shown.
        waiting: Says why the model has not begun; empty where there is no reason.
    """
    async with aclosing(events):
        watching = asyncio.create_task(_watch(screen, waiting)) if screen is not None else None
        try:
            async for event in events:
                if isinstance(event, Answered):
                    if screen is not None:
                        screen.end(event)
                    return event
                if screen is not None:
                    screen.take(event)
        finally:
            if watching is not None:
                watching.cancel()
    raise AssertionError("the last event is the whole answer")


async def _watch(screen: Screen, waiting: Callable[[], str]) -> None:
    """Say once why an answer does not begin."""
    while not (why := waiting()):  # noqa: ASYNC110 - what an engine counts tells nobody
        await asyncio.sleep(_LOOK_SECONDS)
    screen.note(f"The model is busy ({why}): it is asked again. Ctrl-C gives up.")
