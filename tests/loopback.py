"""Start the loopback server and end it again."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

SERVER = Path(__file__).with_name("server.py")


class Loopback:
    """A running loopback server.

    Args:
        flags: Its command line, see `server.py`.
        script: Another script that prints a base URL and serves.

    Attributes:
        base_url: Where it serves, `/v1` included.
    """

    def __init__(self, *flags: str, script: Path = SERVER) -> None:
        self._process = subprocess.Popen([sys.executable, str(script), *flags], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            self.stop()
            raise RuntimeError(f"{script.name} did not start with {flags}")

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def stats(self) -> dict[str, Any]:
        """What it was asked, and how it answered: see `Endpoint.stats` in `server.py`."""
        return stats_of(self.base_url)

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(timeout=60)  # a busy machine is no fault
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Loopback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def stats_of(base_url: str) -> dict[str, Any]:
    """What the server at an address was asked, and how it answered."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    try:
        connection.request("GET", "/stats")
        stats: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return stats
