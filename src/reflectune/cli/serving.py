"""Serve a model: open it, listen, and end in peace."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from reflectune.cli.asking import calm_collector
from reflectune.cli.screen import clean, err, say
from reflectune.cli.showing import key_of
from reflectune.errors import SettingsError
from reflectune.generation import open_model
from reflectune.generation.naming import model_name
from reflectune.optional import load_optional
from reflectune.oracles import Oracle
from reflectune.oracles.naming import Address
from reflectune.prompts import Prompts
from reflectune.recipe import ChatSettings

if TYPE_CHECKING:
    from reflectune.web.api import Service

_AT_ONCE = 64
_INTERRUPTED = 130
_NO_LIMIT = 0


class Harmless(logging.Formatter):
    """Writes what endpoints and clients said without the characters that would steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """What is written for a record."""
        return clean(super().format(record))


@dataclass(frozen=True, slots=True)
class Served:
    """What is to be served, and where.

    Attributes:
        model: The model's name.
        settings: How it is talked to where a request is silent: the fields of `ChatSettings`.
        limits: How much the server takes on: the fields of `Limits`, but for `max_concurrency`.
        name: What clients call the model; by default its own name.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        api_key_env: The variable that holds the key that clients have to send.
        max_concurrency: The most requests that are worked on at once; by default as many as the model likes.
        base_url: Where an endpoint's model is served.
        key_env: The variable that holds the endpoint's key.
        verbose: Whether every request is logged.
        quiet: Whether nothing is said but errors.
    """

    model: str
    settings: dict[str, Any]
    limits: dict[str, Any]
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_key_env: str | None = None
    max_concurrency: int | None = None
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    verbose: bool = False
    quiet: bool = False


def carry_out(served: Served) -> None:
    """Serve until the process is told to end. The address goes to standard output.

    Raises:
        MissingExtraError: The extra `web`, or what the model needs, is not installed.
        OracleError: The model cannot be loaded.
        SettingsError: Nothing can listen there, others could reach it without a key, or a setting does not fit.
    """
    for module in ("fastapi", "uvicorn", "httptools", "prometheus_client"):
        load_optional(module, "The server", "web")
    from reflectune.web.api import create_api
    from reflectune.web.api.server import serve
    from reflectune.web.listening import bound
    from reflectune.web.safety import check_binding

    key = _key_of(served.api_key_env)
    check_binding(served.host, key, served.api_key_env)
    settings = ChatSettings.made_of(served.settings, source="The command")
    Prompts(settings.prompts)
    taken = bound(served.host, served.port)
    try:
        service = _service(served, settings)
    except BaseException:
        taken.close()
        raise
    _log(served)

    def ready(url: str) -> None:
        calm_collector()
        typer.echo(f"{url}/v1")
        sys.stdout.flush()
        say(f"{service.name} is served{_how(service)}. Ctrl-C ends it.", quiet=served.quiet)

    if not serve(create_api(service, key=key), service, taken, ready, log=served.verbose):
        raise typer.Exit(_INTERRUPTED)


def _service(served: Served, settings: ChatSettings) -> Service:
    """The model, within its bounds."""
    from reflectune.web.api import Limits, Service

    oracle = _model(served)
    at_once = served.max_concurrency or oracle.concurrency or _AT_ONCE
    limits = Limits.made_of({**served.limits, "max_concurrency": at_once}, source="The command")
    return Service(oracle, served.name or model_name(served.model), settings, limits)


def _model(served: Served) -> Oracle:
    address = Address(
        base_url=served.base_url,
        key_env=served.key_env,
        timeout=served.limits["timeout"],
        connections=_NO_LIMIT,  # the service asks no more at once than it is told to
    )
    return open_model(served.model, address)


def _key_of(variable: str | None) -> str | None:
    """The key that clients have to send.

    Raises:
        SettingsError: The variable is not set, or what it holds fits in no header.
    """
    key = key_of(variable)
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise SettingsError(
            f"The key in {variable} holds a character that no HTTP header can carry.",
            mend=f"Set {variable} again, to letters and digits.",
        )
    return key


def _how(service: Service) -> str:
    settings = service.settings
    rounds = f", {settings.rounds} round(s) of critique" if settings.rounds else ""
    best_of = f", the best of {settings.best_of}" if settings.best_of > 1 else ""
    words = {"prompt": " and told to reflect", "trained": " and reflects as it learnt to", "off": ""}
    return f"{words[settings.reflecting]}{rounds}{best_of}"


def _log(served: Served) -> None:
    """Send what there is to say about single requests to standard error."""
    handler = logging.StreamHandler(err.file)
    handler.setFormatter(Harmless("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO if served.verbose else logging.ERROR if served.quiet else logging.WARNING)
