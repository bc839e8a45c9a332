"""Which keys are set, and what stands between this machine and the network. No part of a key is ever told."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from reflectune.doctor.finding import Finding
from reflectune.errors import SettingsError
from reflectune.oracles.naming import variables

__all__ = ["authorities", "keys", "proxies"]

_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def keys(names: Iterable[str]) -> list[Finding]:
    """Whether each variable is set in the environment or in `.env`."""
    try:
        values = variables()
    except SettingsError as error:
        return [Finding(name=".env", state="broken", told=error.what, mend=error.mend)]
    return [_key(name, values) for name in dict.fromkeys(names)]


def _key(name: str, values: Mapping[str, str | None]) -> Finding:
    value = (values.get(name) or "").strip()
    place = "the environment" if name in os.environ else ".env"
    if value and not (value.isascii() and value.isprintable()):
        return Finding(
            name=name,
            state="broken",
            told=f"set in {place}, with a character that no HTTP header can carry",
            mend=f"Set {name} again, to the key alone: no quotes, no line breaks.",
        )
    if value:
        return Finding(name=name, state="good", told=f"set in {place}")
    if name == "HF_TOKEN" and _hub_login().is_file():
        return Finding(name=name, state="good", told="not set, but `hf auth login` left a key")
    return Finding(name=name, state="without", told="not set", mend=f"export {name}=..., or write it into .env")


def _hub_login() -> Path:
    """Where the hub's own program keeps its key."""
    base = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_TOKEN_PATH") or Path(base) / "token")


def proxies() -> Finding:
    """The proxies that requests go through; a password in an address is not told."""
    found = getproxies()
    told = ", ".join(f"{scheme}: {_host(value, scheme)}" for scheme, value in sorted(found.items()))
    return Finding(name="proxies", state="good", told=told or "none")


def _host(value: str, scheme: str) -> str:
    """A proxy's address without a user's name and password."""
    if scheme == "no":
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        return "cannot be read as an address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else value.rpartition("@")[2]


def authorities() -> Finding:
    """The certificate authorities that TLS trusts."""
    set_ones = {name: value for name in _AUTHORITIES if (value := os.environ.get(name))}
    told = f", set by {', '.join(set_ones)}" if set_ones else ""
    for name, value in set_ones.items():
        if not Path(value).exists():
            mend = f"Let {name} name the file of the authorities, or unset it."
            return Finding(name="authorities", state="broken", told=f"{name}={value} is not there", mend=mend)
    places = ssl.get_default_verify_paths()
    count = ssl.create_default_context().cert_store_stats()["x509_ca"]
    if count or (places.capath and any(Path(places.capath).iterdir())):
        trusted = f"{count} trusted" if count else f"those in {places.capath}"
        return Finding(name="authorities", state="good", told=trusted + told)
    return Finding(
        name="authorities",
        state="broken",
        told="TLS trusts nobody, so no https endpoint can be reached",
        mend="apt-get install ca-certificates, or point SSL_CERT_FILE to your authorities",
    )
