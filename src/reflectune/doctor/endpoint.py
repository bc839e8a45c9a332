"""Whether an endpoint can be reached, and speaks as OpenAI's does: its list of models is asked for, once."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import orjson

from reflectune.doctor.finding import Finding
from reflectune.errors import OracleError, ReflectuneError
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.faults import error_of, read_complaint
from reflectune.oracles.naming import Address, settings_of, variables
from reflectune.oracles.wire import Wire

__all__ = ["endpoint"]

_SECONDS = 5.0
_SHOWN = 5
_NAME = "endpoint"


def endpoint(base_url: str | None, key_env: str, *, offline: bool = False, seconds: float = _SECONDS) -> Finding:
    """Ask an endpoint which models it has.

    Args:
        base_url: Where it is; else OPENAI_BASE_URL says it. Where neither does, nothing is asked.
        key_env: The variable that holds its key.
        offline: Whether to ask nothing at all.
        seconds: How long to wait for the answer.
    """
    try:
        url = base_url or variables().get("OPENAI_BASE_URL")
        if not url:
            mend = "Name one with --base-url or OPENAI_BASE_URL to have it asked."
            return Finding(name=_NAME, state="without", told="none is named", mend=mend)
        settings = settings_of("any", Address(base_url=url, key_env=key_env))
        if offline:
            return Finding(name=_NAME, state="without", told=f"{settings.base_url}, not asked (--offline)")
        return asyncio.run(_ask(settings, seconds))
    except ReflectuneError as error:
        return Finding(name=_NAME, state="broken", told=error.what, mend=_mend_of(error))


async def _ask(settings: ApiSettings, seconds: float) -> Finding:
    wire, url = Wire(settings), settings.models_url
    try:
        async with asyncio.timeout(seconds):
            status, _, raw = await wire.send("GET", url)
    except TimeoutError:
        mend = "Check that the server is up, and that no firewall or proxy swallows what is sent to it."
        raise OracleError(f"{url} did not answer within {seconds:g} s.", mend=mend) from None
    finally:
        await wire.aclose()
    if status != 200:  # noqa: PLR2004 - HTTP's own number
        raise error_of(read_complaint(status, raw), settings, url=url)
    try:
        models = [str(model["id"]) for model in orjson.loads(raw)["data"]]
    except (ValueError, KeyError, TypeError):
        raise OracleError(
            f"{url} answered, but not as an OpenAI-compatible endpoint does.",
            mend="Check the address (--base-url): most endpoints want it to end in /v1.",
        ) from None
    return Finding(name=_NAME, state="good", told=f"{settings.base_url} answers; {_models(models)}")


def _models(names: list[str]) -> str:
    if not names:
        return "it lists no model"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"models: {', '.join(names[:_SHOWN])}{more}"


def _mend_of(error: ReflectuneError) -> str:
    """What helps, more exactly than the error itself says it where the network's own error tells more."""
    cause = error.__context__
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return "Check the spelling of the host, and that this machine can look names up or has a proxy that does."
    if isinstance(cause, aiohttp.ClientConnectorSSLError):
        return "Check whether it speaks TLS there at all: http:// in place of https://, or another port."
    if isinstance(cause, aiohttp.ClientConnectorError):
        if isinstance(cause.os_error, ConnectionRefusedError):
            return "Nothing listens there: start the server, or check the host and the port."
        if isinstance(cause.os_error, socket.gaierror):
            return "Check the spelling of the host."
    return error.mend or "Ask again in a while."
