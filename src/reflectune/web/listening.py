"""Listen on an address, and say where."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from reflectune.errors import SettingsError

__all__ = ["LISTENING", "Telling", "bound", "listen", "url_of"]

_KEEP_ALIVE = 75
"""Seconds; longer than clients keep an idle connection, so that none is closed under a request that is on its way."""
LISTENING: dict[str, Any] = {
    "proxy_headers": False,
    "server_header": False,
    "backlog": 2048,
    "timeout_keep_alive": _KEEP_ALIVE,
}
"""What of uvicorn's settings is the same for every server."""


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


def url_of(taken: socket.socket) -> str:
    """The URL of a server that listens there."""
    address, port = taken.getsockname()[:2]
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def listen(app: ASGIApp, taken: socket.socket, ready: Callable[[str], None], *, grace: int = 5) -> None:
    """Serve an app until the process is told to end (SIGINT, SIGTERM).

    Args:
        app: The app.
        taken: Where it listens.
        ready: Is told the address as soon as it does.
        grace: Seconds that replies which have begun may take after that.
    """
    config = uvicorn.Config(
        app,
        log_level=logging.WARNING,
        access_log=False,
        timeout_graceful_shutdown=grace,
        **LISTENING,
    )
    Telling(config, ready).run(sockets=[taken])


class Telling(uvicorn.Server):
    """uvicorn's server, which tells its URL as soon as it listens.

    Args:
        config: uvicorn's settings.
        ready: Is told.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        for taken in sockets or ():
            self._ready(url_of(taken))
