"""Who may ask the app, and what its replies forbid the browser.

A page of somebody else's can make a browser send requests to a server on this machine. It cannot read the replies as
long as the name in the address is not its own (DNS rebinding), and it cannot do anything as long as requests that
change something are refused when they come from another origin.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reflectune.errors import SettingsError

__all__ = ["POLICY", "Guard", "check_binding", "gives_key", "host_name", "is_loopback", "refusal"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_STATIC = "/static/"
_LARGEST_BODY = 4 * 1024 * 1024


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, and nobody else can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_binding(host: str, key: str | None, key_env: str | None) -> None:
    """Refuse to listen where others can reach it without a key.

    Raises:
        SettingsError: The host is not this machine's own, and there is no key.
    """
    if not is_loopback(host) and not key:
        named = f"the variable {key_env} is not set" if key_env else "there is no key"
        raise SettingsError(
            f"Others could reach a server on {host}, and {named}.",
            mend="Name a variable that holds a key with --api-key-env, or listen on 127.0.0.1.",
        )


def host_name(header: str) -> str:
    """The name in a `Host` header, in lower case, without its port and brackets; nothing where it makes no sense."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def refusal(method: str, headers: Headers, hosts: frozenset[str] | None) -> tuple[int, str] | None:
    """Why a request is refused, as status and reason; `None` where it is not.

    Args:
        method: Its method.
        headers: Its headers.
        hosts: The names by which this server may be called besides this machine's own; `None` for any.
    """
    named = headers.getlist("host")
    host = host_name(named[0]) if len(named) == 1 else ""
    if hosts is not None and host not in hosts and not is_loopback(host):
        return 421, "This server is not called by that name."
    if method in _SAFE:
        return None
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return 403, "Another site may not do that."
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != named[0]:
        return 403, "Another site may not do that."
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return 415, "The body has to be JSON, with the content type application/json."
    return None


def gives_key(headers: Headers, key: str) -> bool:
    """Whether a request carries the key, as a bearer token or as the password of basic authentication.

    The comparison takes as long for a key that is nearly right as for any other of its length.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
    elif scheme.lower() != "bearer":
        return False
    return secrets.compare_digest(given.encode(), key.encode())


@dataclass(frozen=True, slots=True)
class Guard:
    """The layer that every request and every reply of the app goes through.

    Attributes:
        app: What lies behind it.
        hosts: The names by which the server may be called besides this machine's own; `None` for any.
        key: The key that a request has to carry; `None` for none.
        largest_body: Of a request, in bytes.
    """

    app: ASGIApp
    hosts: frozenset[str] | None = frozenset()
    key: str | None = None
    largest_body: int = _LARGEST_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _seal(MutableHeaders(scope=message), kept=scope["path"].startswith(_STATIC))
            await send(message)

        if why := refusal(scope["method"], headers, self.hosts):
            await _refused(*why)(scope, receive, sealed)
        elif self.key is not None and not gives_key(headers, self.key):
            response = _refused(401, "This server asks for its key.")
            response.headers["WWW-Authenticate"] = 'Basic realm="reflectune", charset="UTF-8"'
            await response(scope, receive, sealed)
        else:
            await self.app(scope, _limited(receive, self.largest_body), sealed)


def _seal(headers: MutableHeaders, *, kept: bool) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-cache" if kept else "no-store")


def _limited(receive: Receive, largest: int) -> Receive:
    size, told = 0, False

    async def limited() -> Message:
        nonlocal size, told
        message = await receive()
        size += len(message.get("body", b""))
        if size > largest and not told:
            told = True  # who refuses it may still take what is on its way: a client that sends cannot read
            raise HTTPException(413, f"The body has more than {largest >> 20} MB.")
        return message

    return limited


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": {"message": why}}, status)
