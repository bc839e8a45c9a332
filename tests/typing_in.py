"""Type commands as a reader of the documentation would, and see how they end."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_KEY = "a-key-of-some-length"
TYPIST = Path(__file__).with_name("typist.py")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, and what it said."""

    code: int
    stdout: str
    stderr: str


class Typist:
    """A process that types commands; see `typist.py`.

    Args:
        base_url: The server that every endpoint is.
        notes: A folder for what commands say.
        more: Variables that are set besides.
    """

    def __init__(self, base_url: str, notes: Path, more: dict[str, str] | None = None) -> None:
        self._notes = notes
        environment = {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": base_url,
            "SERVE_KEY": _KEY,
            "UI_KEY": _KEY,
            "COLUMNS": "120",
            # What lies in this machine's cache is not there for a reader, and the hub is not asked.
            "HF_HOME": str(notes / "hub"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            # Threads do not come through a fork: neither a pool of them nor those of an allocator.
            "OMP_NUM_THREADS": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(TYPIST)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment | (more or {}),
        )

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def type(self, command: str, folder: Path, stdin: str = "", seconds: float = 300) -> Ended:
        """Type a command, and wait for its end."""
        code = self._ask(command, folder, stdin, seconds)["code"]
        return Ended(code, self._said("stdout"), self._said("stderr"))

    def start(self, command: str, folder: Path) -> int:
        """Type a command that stays, and give its process."""
        return int(self._ask(command, folder, "", 0, stays=True)["pid"])

    def stop(self, pid: int) -> Ended:
        """Press Ctrl-C in a command that stays."""
        code = self._send({"pid": pid, "seconds": 30.0, "imported": str(self._notes / "imported")})["code"]
        return Ended(code, self._said("stdout"), self._said("stderr"))

    def said(self) -> str:
        """What the command has said up to now."""
        return self._said("stdout") + self._said("stderr")

    def _said(self, stream: str) -> str:
        return (self._notes / stream).read_text(encoding="utf-8")

    def _ask(self, command: str, folder: Path, stdin: str, seconds: float, *, stays: bool = False) -> dict[str, int]:
        (self._notes / "stdin").write_text(stdin)
        (self._notes / "imported").unlink(missing_ok=True)
        return self._send(
            {
                "words": shlex.split(command)[1:],
                "folder": str(folder),
                **{name: str(self._notes / name) for name in ("stdin", "stdout", "stderr", "imported")},
                "pid": 0,
                "stays": stays,
                "seconds": seconds,
            }
        )

    def _send(self, asked: dict[str, object]) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, int] = json.loads(self._process.stdout.readline())
        return answer
