"""Start `reflectune serve` in front of the endpoint whose model thinks in tags, and end it again."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import urlsplit

UPSTREAM = Path(__file__).with_name("reflecting_upstream.py")


class Serve:
    """A running server.

    Args:
        flags: The command line after `reflectune serve`; a free port is added.
        environment: Variables besides those of this process.

    Attributes:
        base_url: Where it serves, `/v1` included.
    """

    def __init__(self, *flags: str, **environment: str) -> None:
        self._said: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the server
        self._process = subprocess.Popen(
            [sys.executable, "-m", "reflectune", "serve", *flags, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | environment,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            self.stop()
            raise RuntimeError(f"it did not start with {flags}: {self.said}")

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to standard error."""
        self._said.seek(0)
        return self._said.read()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask for something outside `/v1`: status, headers and body."""
        return self.send("GET", path, b"", **headers)

    def post(self, body: Any, query: str = "", **headers: str) -> tuple[int, dict[str, str], Any]:
        """Ask for a chat completion: status, headers and the JSON of the body."""
        packed = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"}
        status, got, raw = self.send("POST", f"/v1/chat/completions{query}", packed, **(kind | headers))
        return status, got, json.loads(raw)

    def send(self, method: str, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send any request."""
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, named)
            response = connection.getresponse()
            got = {name.lower(): value for name, value in response.getheaders()}
            return response.status, got, response.read()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """One of its metrics, labels included in the name; 0 where it is not told."""
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(f"reflectune_{name} "):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def memory_mb(self) -> float:
        """The memory that it has, in MB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))

    def terminate(self) -> None:
        """Tell it to end."""
        self._process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def wait(self, seconds: float) -> int:
        """Wait until it has ended: its exit code."""
        return self._process.wait(seconds)

    def stop(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Serve:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        said = self.said
        self._said.close()
        assert "Traceback" not in said, said


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: It does not in time.
    """
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never did"
        time.sleep(0.02)
