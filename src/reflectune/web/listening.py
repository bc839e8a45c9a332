"""Listen on an address, and say where."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from reflectune.errors import SettingsError

__all__ = ["bound", "listen"]

_BACKLOG = 2048
_KEEP_ALIVE = 75
"""Seconds; longer than clients keep an idle connection, so that none is closed under a request that is on its way."""


def bound(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address.

    Args:
        host: A name or an address.
        port: The port; 0 for any that is free.

    Raises:
        SettingsError: The address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sends small writes of such at once
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as error:
        taken.close()
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"Nothing can listen on {host}, port {port}: {why}.", mend="Name another with --port, or 0 for any."
        ) from error
    return taken


def listen(app: ASGIApp, taken: socket.socket, ready: Callable[[str], None], *, grace: int = 5) -> None:
    """Serve an app until the process is told to end (SIGINT, SIGTERM).

    Args:
        app: The app.
        taken: Where it listens.
        ready: Is told the address as soon as it does.
        grace: Seconds that replies which have begun may take after that.
    """
    address, port = taken.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=grace,
    )
    server = _Server(config, lambda: ready(url))
    server.run(sockets=[taken])


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
