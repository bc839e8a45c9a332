"""What a person sees while a command runs: progress on standard error, and errors with their mend."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from reflectune.errors import ReflectuneError

_PLAIN_EVERY = 10.0
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONE = re.compile(r"[\ud800-\udfff]")

err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def clean(text: str) -> str:
    """A text without what would steer a terminal: no control characters but line breaks and tabs."""
    return _LONE.sub("\ufffd", _STEERING.sub("", text))


def complain(error: ReflectuneError) -> None:
    """Print an error and its mend; what an endpoint or a file says in them steers no terminal."""
    err.print(Text.assemble(("Error: ", "bold red"), clean(error.what)))
    if error.mend:
        err.print(Text(clean(error.mend), style="yellow"))


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a stage at one moment.

    Attributes:
        finished: Rows that ended, well or not.
        tokens: Tokens that the oracle wrote since the command began.
        reasons: How many rows failed, by reason.
        retried: Tries that the oracle was too busy to answer.
        money: What was spent and what it will come to; empty where it costs nothing.
        note: What else there is to say, such as that the oracle is overloaded.
        idle: Whether nothing goes on, so that a speed would say nothing.
    """

    finished: int
    tokens: int
    reasons: dict[str, int]
    retried: int = 0
    money: str = ""
    note: str = ""
    idle: bool = False

    def rates(self, seconds: float, began_with: int) -> str:
        """Rows and tokens a second, the money, failures by reason, and the note, in one line."""
        seconds = max(seconds, 1e-6)
        parts = []
        if self.note:
            parts.append(self.note)
        if not self.idle:
            speeds = f"{(self.finished - began_with) / seconds:.1f} rows/s", f"{self.tokens / seconds:,.0f} tokens/s"
            parts += speeds
        if self.money:
            parts.append(self.money)
        if self.retried:
            parts.append(f"{self.retried:,} tried again")
        if self.reasons:
            parts.append("failed: " + ", ".join(f"{name} {count}" for name, count in sorted(self.reasons.items())))
        return " · ".join(parts)


class Meter:
    """A progress bar on a terminal, a plain line every ten seconds elsewhere, nothing when quiet.

    Args:
        total: How many rows there are.
        finished: How many of them are done already.
        quiet: Whether to show nothing.
        unit: What is counted.
    """

    def __init__(self, total: int, finished: int, *, quiet: bool, unit: str = "rows") -> None:
        self._unit = unit
        self._total = total
        self._began_with = finished
        self._began = time.monotonic()
        self._printed = self._began
        self._quiet = quiet
        self._bar: Progress | None = None
        if err.is_terminal and not quiet:
            self._bar = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[rates]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
                console=err,
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task("", total=total, completed=finished, rates="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, reading: Reading) -> None:
        """Show how far the stage has come."""
        if self._quiet:
            return
        now = time.monotonic()
        rates = reading.rates(now - self._began, self._began_with)
        if self._bar:
            self._bar.update(self._task, completed=reading.finished, rates=rates)
        elif now - self._printed >= _PLAIN_EVERY:
            self._printed = now
            err.print(f"{reading.finished:,} of {self._total:,} {self._unit} · {rates}{self._left(reading, now)}")

    def _left(self, reading: Reading, now: float) -> str:
        done = reading.finished - self._began_with
        if not done or reading.idle:
            return ""
        seconds = (self._total - reading.finished) * (now - self._began) / done
        return f" · about {_clock(seconds)} left"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def say_what_changed(before: Mapping[str, Any], now: Mapping[str, Any], *, quiet: bool) -> None:
    """Say which settings differ from those of an earlier time."""
    for name, value in now.items():
        if before[name] != value:
            say(f"Since the last time {name} changed: {before[name]} → {value}", quiet=quiet)


def say(text: Any, *, quiet: bool) -> None:
    """Print to standard error unless quiet."""
    if not quiet:
        err.print(text)
