"""A process that types commands of ours: each runs in a child of its own that has everything imported already.

    python tests/typist.py

It reads one JSON object a line, what is typed and in which folder, and answers each with one. What a command imports is
imported here after it, so that the next one has it: a command takes the time that it needs, without the seconds that an
interpreter and its imports take.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

ANSWERS = os.dup(1)
"""Where answers go: what is imported may print something of its own."""
UNSHARED = ("xllamacpp", "uvicorn", "ray", "__main__")
"""What starts threads or keeps state of its own, and so does not go well through a fork."""


def child(asked: SimpleNamespace) -> None:
    """Be the command, and end as it ends."""
    folder = Path(asked.folder)
    os.chdir(folder)
    for number, path, flags in (
        (0, asked.stdin, os.O_RDONLY),
        (1, asked.stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, asked.stderr, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(path, flags, 0o644), number)
    sys.argv = ["reflectune", *asked.words]
    code = 0
    try:
        from reflectune.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    Path(asked.imported).write_text("\n".join(sys.modules))
    os._exit(code)


def learn(path: Path) -> None:
    """Import what a child had to import."""
    names = path.read_text().splitlines() if path.is_file() else []
    for name in names:
        if name not in sys.modules and name.partition(".")[0] not in UNSHARED:
            with suppress(Exception), warnings.catch_warnings(action="ignore"):
                importlib.import_module(name)


def wait(pid: int, seconds: float) -> int:
    """The exit code of a child; one that takes too long is ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -9


def answer(pid: int, code: int | None) -> None:
    """Say how a command ended, or which process it is."""
    os.write(ANSWERS, json.dumps({"pid": pid, "code": code}).encode() + b"\n")


def main() -> None:
    """Type until the input ends."""
    os.dup2(2, 1)
    importlib.import_module("reflectune.cli")
    for line in sys.stdin:
        asked = SimpleNamespace(**json.loads(line))
        if asked.pid:
            os.kill(asked.pid, signal.SIGINT)
            code = wait(asked.pid, asked.seconds)
            answer(0, code)
            learn(Path(asked.imported))
            continue
        pid = os.fork()
        if not pid:
            child(asked)
        code = None if asked.stays else wait(pid, asked.seconds)
        answer(pid, code)
        learn(Path(asked.imported))


if __name__ == "__main__":
    main()
