"""The process that serves: it says where, has no patience with slow clients, and ends without breaking off answers."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reflectune.web.api.service import Service
from reflectune.web.listening import LISTENING, Telling

__all__ = ["serve"]

_LONGEST_HEAD = 64 * 1024
_LOOK = 0.05
_MOST_FILES = 65536
_LAST_WORDS = 3
"""Seconds in which answers that are broken off have to say so."""

_log = logging.getLogger(__name__)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also gives up on a request whose head does not come, or has no end.

    Args:
        head_timeout: Seconds that the head of a request may take.
        how: What uvicorn passes.
    """

    def __init__(self, *how: Any, head_timeout: float, **named: Any) -> None:
        super().__init__(*how, **named)
        self._head_timeout = head_timeout
        self._head_size = 0
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._have_head()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._have_head()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._late is not None:
            self._head_size += len(data)
            if self._head_size > _LONGEST_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too long.")

    def _await_head(self) -> None:
        if self._late is None:
            self._head_size = 0
            self._late = self.loop.call_later(self._head_timeout, self.timeout_keep_alive_handler)

    def _have_head(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Server(Telling):
    """A server which drains before it closes its doors.

    Args:
        config: uvicorn's settings.
        service: Who answers.
        ready: Is told its URL as soon as it listens.

    Attributes:
        interrupted: Whether it was told twice, and broke off what it was doing.
    """

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[str], None]) -> None:
        super().__init__(config, ready)
        self.interrupted = False
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        with suppress(NotImplementedError, RuntimeError):  # not on this platform, or not in the main thread
            for number in numbers:
                loop.add_signal_handler(number, self._told_to_end)
        try:
            yield
        finally:
            with suppress(NotImplementedError, RuntimeError):
                for number in numbers:
                    loop.remove_signal_handler(number)

    def _told_to_end(self) -> None:
        if self._draining is None:
            self._service.end()
            if busy := self._service.admission.busy:
                grace = self._service.limits.grace
                _log.warning("Ending: %d in flight, for %g s at the most. Ctrl-C again breaks off.", busy, grace)
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        else:
            self.interrupted = True

    async def _drain(self) -> None:
        """Let answers come to their end as long as there is grace, then break them off."""
        loop = asyncio.get_running_loop()
        last = loop.time() + self._service.limits.grace
        try:
            while self._service.admission.busy and loop.time() < last and not self.interrupted:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)
            self._service.cut()
        finally:
            self.should_exit = True


def serve(app: ASGIApp, service: Service, taken: socket.socket, ready: Callable[[str], None], *, log: bool) -> bool:
    """Serve until the process is told to end by SIGINT or SIGTERM, and the answers in flight have ended.

    Args:
        app: The app.
        service: Who answers in it.
        taken: Where it listens.
        ready: Is told the address as soon as it does.
        log: Whether every request is logged.

    Returns:
        Whether it came to its end in peace; it did not where it was told a second time.
    """
    config = uvicorn.Config(
        app,
        http=partial(_Protocol, head_timeout=service.limits.read_timeout),  # type: ignore[arg-type]  # makes protocols
        ws="none",
        loop="asyncio",
        interface="asgi3",
        log_config=None,
        access_log=log,
        timeout_graceful_shutdown=_LAST_WORDS,
        **LISTENING,
    )
    _open_as_many_files_as_may_be()
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING if log else logging.CRITICAL)
    server = _Server(config, service, ready)
    server.run(sockets=[taken])
    return not server.interrupted


def _open_as_many_files_as_may_be() -> None:
    """Every stream takes two connections, and the usual limit is 1,024 files."""
    try:
        import resource
    except ImportError:  # not on this platform
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
