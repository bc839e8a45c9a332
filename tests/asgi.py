"""Ask an app for something without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    """What an app replied."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks an app, one request after the other."""

    app: Any

    def get(self, address: str, **headers: str) -> Answer:
        return self._run(self._ask("GET", address, b"", headers))

    def post(self, address: str, body: Any, **headers: str) -> Answer:
        return self._run(
            self._ask("POST", address, json.dumps(body).encode(), {"content_type": "application/json", **headers})
        )

    def _run(self, asking: Coroutine[Any, Any, Answer]) -> Answer:
        with ThreadPoolExecutor(1) as thread:  # where a browser test has left a loop running in this one
            return thread.submit(asyncio.run, asking).result()

    async def _ask(self, method: str, address: str, body: bytes, headers: dict[str, str]) -> Answer:
        path, _, query = address.partition("?")
        named = {"host": "127.0.0.1", "content-length": str(len(body))} | headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        said: list[dict[str, Any]] = []
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if left:
                return left.pop()
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: Any) -> None:
            said.append(dict(message))

        await self.app(scope, receive, send)
        begun = next(message for message in said if message["type"] == "http.response.start")
        content = b"".join(message.get("body", b"") for message in said if message["type"] == "http.response.body")
        replied = {name.decode().lower(): value.decode() for name, value in begun["headers"]}
        return Answer(begun["status"], replied, content)
