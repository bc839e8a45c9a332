"""One stage as a process of its own: its memory is freed when it ends, and it dies with the journey."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile

__all__ = ["Ended", "bound_to_parent", "carried_out"]

_LOOK = 0.2
_NOTE = 5.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux
_BOUND = "REFLECTUNE_ENDS_WITH_PARENT"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        exit: Its exit code; 130 also where a signal of ours ended it.
        seconds: How long it took.
        printed: What it wrote to standard output.
        interrupted: Whether somebody wanted to stop meanwhile.
    """

    exit: int
    seconds: float
    printed: str
    interrupted: bool


def carried_out(words: Sequence[str], launch: str | None, tick: Callable[[float], None]) -> Ended:
    """Run a command of reflectune to its end. What it shows goes to our standard error.

    Ctrl-C reaches it by itself, being typed for all processes of the terminal; a `kill` of ours is passed on. Either
    way it is waited for while it finishes what is in flight.

    Args:
        words: The command and its arguments.
        launch: What starts it on several devices; by default this Python does.
        tick: Is told every few seconds how long it has taken.
    """
    before = [*shlex.split(launch), "-m"] if launch else [sys.executable, "-m"]
    began = told = time.monotonic()
    with TemporaryFile() as printed:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*before, "reflectune", *words],
            stdout=printed,
            env=os.environ | {_BOUND: "1"},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread of ours runs while a stage is started
        )
        with _waited_for(process) as interrupts:
            while process.poll() is None:
                time.sleep(_LOOK)
                if time.monotonic() - told >= _NOTE:
                    told = time.monotonic()
                    tick(told - began)
        printed.seek(0)
        code = process.returncode
        ended = 130 if code in {-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM} else code
        text = printed.read().decode("utf-8", "replace")
        return Ended(ended, time.monotonic() - began, text, bool(interrupts))


@contextmanager
def _waited_for(process: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """Wait for a process also after Ctrl-C and `kill`; gives a list of the signals that came."""
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        if number == signal.SIGTERM:
            process.send_signal(number)

    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)} if ours else {}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()


def bound_to_parent() -> None:
    """In a stage: end with the process that started this one, be it a launcher, where a journey started that.

    `torchrun` starts its workers itself; when it is killed with the journey, they would go on.
    """
    if os.environ.get(_BOUND):
        _die_with_parent()


def _die_with_parent() -> None:
    """Let the kernel kill this process with its parent; elsewhere than on Linux it goes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
