"""One stage as a process of its own: its memory is freed when it ends, and it dies with the journey."""

from __future__ import annotations

import ctypes
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile

__all__ = ["Ended", "carried_out"]

_LOOK = 0.2
_NOTE = 5.0
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended.

    Attributes:
        exit: Its exit code; 130 also where a signal of ours ended it.
        seconds: How long it took.
        printed: What it wrote to standard output.
    """

    exit: int
    seconds: float
    printed: str


def carried_out(words: Sequence[str], launch: str | None, tick: Callable[[float], None]) -> Ended:
    """Run a command of reflectune to its end. What it shows goes to our standard error.

    Ctrl-C reaches it by itself, being typed for all processes of the terminal; a signal that is sent to us alone is
    passed on. Either way it is waited for while it finishes what is in flight.

    Args:
        words: The command and its arguments.
        launch: What starts it on several devices; by default this Python does.
        tick: Is told every few seconds how long it has taken.
    """
    before = [*shlex.split(launch), "-m"] if launch else [sys.executable, "-m"]
    began = told = time.monotonic()
    with TemporaryFile() as printed:
        # preexec_fn is safe here: no thread of ours runs while a stage is started
        process = subprocess.Popen([*before, "reflectune", *words], stdout=printed, preexec_fn=_die_with_parent)  # noqa: PLW1509, S603
        stop = signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
        try:
            while process.poll() is None:
                with suppress(KeyboardInterrupt):
                    time.sleep(_LOOK)
                if time.monotonic() - told >= _NOTE:
                    told = time.monotonic()
                    tick(told - began)
        finally:
            signal.signal(signal.SIGTERM, stop)
            if process.poll() is None:
                process.kill()
                process.wait()
        printed.seek(0)
        code = process.returncode
        ended = 130 if code in {-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM} else code
        return Ended(ended, time.monotonic() - began, printed.read().decode("utf-8", "replace"))


def _die_with_parent() -> None:
    """Let the kernel end the stage where the journey's own process is killed; elsewhere than on Linux it goes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
