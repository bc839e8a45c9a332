"""The wire to an endpoint: bodies out, bodies in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from yarl import URL

from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.incoming import LARGEST_BODY, Incoming, read_all

__all__ = ["HttpRefusal", "Wire"]

_CONNECT_SECONDS = 30.0
_LISTING_SECONDS = 10.0
# uvicorn closes an idle connection after 5 s, and a request sent into the close is lost.
_KEEP_ALIVE_SECONDS = 4.0
_JSON = {"Content-Type": "application/json"}
# llama.cpp closes the connection of a stream without saying so, and a request sent into the close is lost.
_STREAMED = {**_JSON, "Connection": "close"}


class HttpRefusal(Exception):  # noqa: N818 - a reply like another, to whoever asked
    """A reply whose status says that there is nothing to read.

    Args:
        status: The HTTP status.
        headers: The reply's headers.
        raw: Its body.
    """

    def __init__(self, status: int, headers: Mapping[str, str], raw: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.raw = raw


class Wire:
    """The connections to an endpoint, opened in the event loop that first sends something.

    Args:
        settings: The endpoint.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._url = URL(settings.chat_url)
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close them all."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, packed: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Send the body of a chat completion.

        Returns:
            Status, headers and body of the reply.

        Raises:
            OracleBusy: No whole reply came.
            OracleError: The endpoint is not to be trusted.
        """
        with self.faults(self._settings.chat_url):
            return await self._send("POST", self._url, data=packed, headers=_JSON)

    async def open(self, packed: bytes) -> Incoming:
        """Send the body of a chat completion whose reply is to be read while it is written; it has to be closed.

        Nothing may come for as long as a whole reply may take.

        Raises:
            OracleBusy: No reply came.
            OracleError: The endpoint is not to be trusted.
        """
        url = self._settings.chat_url
        with self.faults(url):
            response = await self._open().post(
                self._url, allow_redirects=False, data=packed, headers=_STREAMED, timeout=self._patient()
            )
        return Incoming(response, lambda: self.faults(url))

    async def send(self, method: str, url: str, **how: Any) -> tuple[int, Mapping[str, str], bytes]:
        """Send any request, which may take as long as something still comes or goes.

        Args:
            method: The HTTP method.
            url: Where it goes.
            how: What aiohttp takes besides, such as `json` or `data`.

        Returns:
            Status, headers and body of the reply.

        Raises:
            OracleBusy: No whole reply came.
            OracleError: The endpoint is not to be trusted.
        """
        with self.faults(url):
            return await self._send(method, URL(url), timeout=self._patient(), **how)

    async def lines(self, url: str) -> AsyncIterator[bytes]:
        """The lines of a file, however long it is, without their ends.

        Raises:
            OracleBusy: It did not come whole.
            HttpRefusal: It was not to be had.
            OracleError: The endpoint is not to be trusted.
        """
        with self.faults(url):
            async with self._open().get(URL(url), allow_redirects=False, timeout=self._patient()) as response:
                if not response.ok:
                    raise HttpRefusal(response.status, response.headers, await read_all(response))
                rest = b""
                async for chunk in response.content.iter_any():
                    *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
                    if len(rest) > LARGEST_BODY:
                        raise aiohttp.ClientPayloadError(f"a line of more than {LARGEST_BODY >> 20} MB")
                    for line in whole:
                        yield line
                if rest:
                    yield rest

    async def _send(self, method: str, url: URL, **how: Any) -> tuple[int, Mapping[str, str], bytes]:
        async with self._open().request(method, url, allow_redirects=False, **how) as response:
            return response.status, response.headers, await read_all(response)

    @contextmanager
    def faults(self, url: str) -> Iterator[None]:
        """Say in our own errors what went wrong on the way."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            what = f"did not take a connection within {_CONNECT_SECONDS:g} s"
            raise self.busy("connection", what, url=url) from None
        except TimeoutError:
            mend = "Give it longer with --timeout, or ask less at once with --max-concurrency."
            raise self.busy("timeout", f"did not answer within {self._settings.timeout:g} s", mend, url) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise OracleError(
                self.said(f"has a certificate that is not trusted: {error}", url),
                mend="Check the address (--base-url), or point SSL_CERT_FILE to the authority that signed it.",
            ) from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientHttpProxyError, OSError) as error:
            mend = "Check that the endpoint is running and that the address (--base-url) and the network are right."
            raise self.busy("connection", f"cannot be reached: {error}", mend, url) from None
        except aiohttp.ClientError as error:
            raise self.busy("bad-reply", f"sent a broken reply: {error}", url=url) from None

    def _patient(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self._settings.timeout)

    def _open(self) -> aiohttp.ClientSession:
        """The session, made in the loop that runs."""
        if self._session is None:
            headers = {"User-Agent": "reflectune"}
            if self._settings.key is not None:
                headers["Authorization"] = f"Bearer {self._settings.key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._settings.connections, ttl_dns_cache=300, keepalive_timeout=_KEEP_ALIVE_SECONDS
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
                proxy=_proxy(self._url),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=_CONNECT_SECONDS),
            )
        return self._session

    async def models(self) -> list[str]:
        """The names of the models that the endpoint lists; none where it does not say."""
        limit = aiohttp.ClientTimeout(total=_LISTING_SECONDS)
        try:
            url = URL(self._settings.models_url)
            async with self._open().get(url, allow_redirects=False, timeout=limit) as response:
                body = orjson.loads(await read_all(response))
            return [str(model["id"]) for model in body["data"]]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):  # the listing is a courtesy
            return []

    def busy(self, reason: str, what: str, mend: str = "", url: str = "") -> OracleBusy:
        """The error for what may pass, with the address in front."""
        return OracleBusy(self.said(what, url), reason=reason, mend=mend)

    def said(self, what: str, url: str = "") -> str:
        """A sentence about the endpoint, with its address in front and the key blotted out."""
        return self._settings.scrub(f"{url or self._settings.chat_url} {what}")


def _proxy(url: URL) -> URL | None:
    """The proxy that the environment names for a URL.

    aiohttp's own `trust_env` looks it up for every request, and reads `~/.netrc` in a thread each time.
    """
    if url.host is None or proxy_bypass(url.host):
        return None
    proxy = getproxies().get(url.scheme)
    return URL(proxy) if proxy else None
