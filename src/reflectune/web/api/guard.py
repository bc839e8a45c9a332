"""Who may ask the server, before anything of a request is read."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reflectune.web.api.outlet import Outlet
from reflectune.web.api.problems import Problem
from reflectune.web.safety import gives_key, refusal

__all__ = ["KeyGuard"]

_OPEN = "/health"
_NO_OTHERS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class KeyGuard:
    """The layer before the server: with a key it asks for that, without one it serves this machine alone.

    Without a key a page of somebody else's must not be able to use the server through a browser on this machine; with
    one, no such page has it.

    Attributes:
        app: What lies behind it.
        key: The key that a request has to carry; `None` for none.
    """

    app: ASGIApp
    key: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] != _OPEN:
            problem = self._problem(scope["method"], Headers(scope=scope))
            if problem is not None:
                await Outlet(send).problem(problem, receive)
                return
        await self.app(scope, receive, send)

    def _problem(self, method: str, headers: Headers) -> Problem | None:
        if self.key is None:
            why = refusal(method, headers, _NO_OTHERS)
            return None if why is None else Problem(*why, code="refused")
        if "authorization" not in headers:
            message = "This server asks for an API key, as in `Authorization: Bearer KEY`."
            return Problem(401, message, code="missing_api_key")
        if not gives_key(headers, self.key):
            return Problem(401, "The API key is not the one that this server asks for.", code="invalid_api_key")
        return None
