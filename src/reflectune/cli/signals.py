"""The first Ctrl-C finishes what is in hand, the second stops at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from reflectune.cli.screen import err
from reflectune.oracles.engine import Engine


@contextmanager
def drained_on_signals(in_hand: str) -> Iterator[Callable[[], bool]]:
    """Within it, Ctrl-C and `kill` let what is in hand be finished; a second one stops at once.

    Args:
        in_hand: What is finished first, for the message: "the rows in hand are finished".
    """
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        err.print(f"Stopping: {in_hand}. Press Ctrl-C again to stop at once.")

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_engine_on_signals(engine: Engine) -> None:
    """Let the first Ctrl-C drain what is in flight, and the second stop the running task at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupt() -> None:
        if engine.stopping and task is not None:
            task.cancel()
            return
        err.print("Stopping: waiting for the replies in flight. Press Ctrl-C again to stop at once.")
        engine.stop()

    with suppress(NotImplementedError, RuntimeError):  # not on this platform, or not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
