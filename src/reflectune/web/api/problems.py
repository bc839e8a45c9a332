"""What goes wrong, in the words and with the status that clients of such endpoints know."""

from __future__ import annotations

import math
import re
from typing import Any

from reflectune.errors import OracleBusy, OracleError, RequestRefused

__all__ = ["Problem", "problem_of"]

_FROM = re.compile(r"\S+ answered \d{3}: ")
"""How the message of an endpoint's refusal begins: with an address that is no affair of the client's."""
_RETRY_SECONDS = 1.0
_BUSY: dict[str, tuple[int, str, str]] = {
    "rate-limit": (429, "rate_limit_exceeded", "The model behind this server allows no more requests now."),
    "connection": (503, "upstream_unreachable", "The model behind this server cannot be reached."),
    "server-error": (503, "upstream_error", "The model behind this server is out of order or overloaded."),
    "timeout": (504, "timeout", "The model behind this server did not answer in time."),
    "bad-reply": (502, "bad_upstream_reply", "The model behind this server sent a broken reply."),
}
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_SERVER_ERROR = 500


class Problem(Exception):  # noqa: N818 - most are the client's
    """A request that does not get what it asked for.

    Args:
        status: The HTTP status.
        message: What is wrong, for a person.
        param: The field of the request that is at fault.
        code: What is wrong, for a program.
        retry_after: Seconds after which another try may do better; `None` where that is not known.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The error as clients read it."""
        kind = "server_error" if self.status >= _SERVER_ERROR else _KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        headers = {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})  # noqa: PLR2004


def problem_of(error: OracleError) -> Problem:
    """What a client is told of what the model behind the server said.

    The model's own words are passed on where they are about the request. What else it says, such as where it is or
    that its key is wrong, is for whoever runs the server.
    """
    if isinstance(error, OracleBusy):
        status, code, message = _BUSY.get(error.reason, _BUSY["server-error"])
        wait = error.retry_after
        if wait is None and status in {429, 503}:
            wait = _RETRY_SECONDS
        return Problem(status, message, code=code, retry_after=wait)
    if isinstance(error, RequestRefused):
        told = _FROM.sub("", error.what, count=1)
        if error.reason == "context-overflow":
            return Problem(400, told, param="messages", code="context_length_exceeded")
        return Problem(400, told, code=error.reason.replace("-", "_"))
    return Problem(502, "The model behind this server cannot be used.", code="upstream_unusable")
