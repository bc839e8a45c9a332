"""Where an OpenAI-compatible endpoint is, and the key that opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from yarl import URL

from reflectune.errors import SettingsError

__all__ = ["ApiSettings"]

_SECRET_QUERY = {"key", "api_key", "api-key", "apikey", "token", "access_token"}
_SHORTEST_SECRET = 6
"""Local servers are given keys such as `none`; to hide those would only garble their messages."""


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Which model to ask, and where.

    Attributes:
        model: The model's name at the endpoint.
        base_url: The address, with or without a trailing slash or `/chat/completions`; it is kept without them.
        key: The API key; `None` sends none. It is in no representation, message or log.
        key_env: The environment variable that holds the key, for messages.
        timeout: Seconds that one request may take.
        connections: The most connections at once; 0 for no limit.

    Raises:
        SettingsError: The address or the key cannot be used.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    key: str | None = field(default=None, repr=False)
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    connections: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _normalised(self.base_url, self.key_env))
        if self.key is None:
            return
        key = self.key.strip()
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(
                f"The key in {self.key_env} holds a character that no HTTP header can carry.",
                mend=f"Set {self.key_env} again, to the key alone: no quotes, no line breaks.",
            )
        object.__setattr__(self, "key", key or None)

    @property
    def chat_url(self) -> str:
        """Where requests go."""
        return self.under("/chat/completions")

    @property
    def models_url(self) -> str:
        """Where the endpoint lists its models."""
        return self.under("/models")

    def scrub(self, text: str) -> str:
        """The text with the key blotted out, for endpoints that echo it."""
        if self.key is None or len(self.key) < _SHORTEST_SECRET:
            return text
        return text.replace(self.key, "***")

    def under(self, tail: str) -> str:
        """The address of something else that the endpoint serves, such as `/files`."""
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=parts.path + tail))


def _normalised(url: str, key_env: str) -> str:
    """The base URL without `/chat/completions`, trailing slashes and fragment."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and bool(URL(url.strip()).host)
    except ValueError:  # a port that is no number, a host that is no name
        usable = False
    if not usable:
        raise SettingsError(
            f"{url.rpartition('@')[2]!r} is not the address of an endpoint.",
            mend="Write it in full, such as http://localhost:8000/v1 or https://api.openai.com/v1.",
        )
    query = {name.lower() for name, _ in parse_qsl(parts.query)}
    if parts.username or parts.password or query & _SECRET_QUERY:
        raise SettingsError(
            f"The address of {parts.hostname} holds a password or a key, and addresses are written into runs.",
            mend=f"Leave it out of the address and put the key into the environment variable {key_env}.",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return urlunsplit(parts._replace(path=path, fragment=""))
