"""The wire to an endpoint: bodies out, bodies in."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from yarl import URL

from reflectune.errors import OracleBusy, OracleError
from reflectune.oracles.endpoint import ApiSettings

__all__ = ["Wire"]

_LARGEST_BODY = 8 * 1024 * 1024
_CONNECT_SECONDS = 30.0
_LISTING_SECONDS = 10.0
# uvicorn closes an idle connection after 5 s, and a request sent into the close is lost.
_KEEP_ALIVE_SECONDS = 4.0


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
        """Send one body.

        Returns:
            Status, headers and body of the reply.
        """
        seconds = self._settings.timeout
        try:
            async with self._open().post(self._url, data=packed, allow_redirects=False) as response:
                return response.status, response.headers, await _read(response)
        except aiohttp.ConnectionTimeoutError:
            raise self.busy("connection", f"did not take a connection within {_CONNECT_SECONDS:g} s") from None
        except TimeoutError:
            mend = "Give it longer with --timeout, or ask less at once with --max-concurrency."
            raise self.busy("timeout", f"did not answer within {seconds:g} s", mend=mend) from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise OracleError(
                self.said(f"has a certificate that is not trusted: {error}"),
                mend="Check the address (--base-url), or point SSL_CERT_FILE to the authority that signed it.",
            ) from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientHttpProxyError, OSError) as error:
            mend = "Check that the endpoint is running and that the address (--base-url) and the network are right."
            raise self.busy("connection", f"cannot be reached: {error}", mend=mend) from None
        except aiohttp.ClientError as error:
            raise self.busy("bad-reply", f"sent a broken reply: {error}") from None

    def _open(self) -> aiohttp.ClientSession:
        """The session, made in the loop that runs."""
        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": "reflectune"}
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
                body = orjson.loads(await _read(response))
            return [str(model["id"]) for model in body["data"]]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):  # the listing is a courtesy
            return []

    def busy(self, reason: str, what: str, *, mend: str = "") -> OracleBusy:
        """The error for what may pass, with the address in front."""
        return OracleBusy(self.said(what), reason=reason, mend=mend)

    def said(self, what: str) -> str:
        """A sentence about the endpoint, with its address in front and the key blotted out."""
        return self._settings.scrub(f"{self._settings.chat_url} {what}")


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body of a response, as long as it is no flood."""
    chunks, size = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise aiohttp.ClientPayloadError(f"more than {_LARGEST_BODY >> 20} MB")
    return b"".join(chunks)


def _proxy(url: URL) -> URL | None:
    """The proxy that the environment names for a URL.

    aiohttp's own `trust_env` looks it up for every request, and reads `~/.netrc` in a thread each time.
    """
    if url.host is None or proxy_bypass(url.host):
        return None
    proxy = getproxies().get(url.scheme)
    return URL(proxy) if proxy else None
