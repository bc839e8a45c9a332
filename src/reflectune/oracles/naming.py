"""From the name of a model to the oracle that it names.

`local`, `local:FILE.gguf` and `local:HUB/NAME` run in this process; anything else is an endpoint's model, as
`gpt-4o-mini` or `MODEL@URL`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from dotenv import dotenv_values
from pydantic import ValidationError

from reflectune.errors import SettingsError
from reflectune.oracles import Oracle
from reflectune.oracles.endpoint import ApiSettings

_OPENAI = "https://api.openai.com/v1"
_IN_A_PLACE = re.compile(r"[/\\]|\.gguf$")


@dataclass(frozen=True, slots=True)
class Address:
    """What is needed to reach an oracle, besides its name.

    Attributes:
        base_url: Where an endpoint's model is served; by default OPENAI_BASE_URL, else OpenAI.
        key_env: The variable, of the environment or of `.env`, that holds the endpoint's key.
        timeout: Seconds until a request is given up and tried again.
        connections: The most connections to an endpoint.
    """

    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    connections: int = 32


def open_oracle(name: str, address: Address | None = None, recall: Callable[[str], str | None] | None = None) -> Oracle:
    """Make the oracle that a name stands for.

    Args:
        name: What the oracle is called.
        address: Where an endpoint is, and how it is reached.
        recall: Gives what an earlier process found out about the endpoint of an oracle, as `knowledge_of` told it.

    Raises:
        SettingsError: The name is empty or ends in `@`, or the endpoint needs a key and there is none.
        MissingExtraError: A local model needs the extra `local`.
        OracleError: A local model's file is missing or cannot be read.
    """
    address = address or Address()
    if name == "local" or name.startswith("local:"):
        from reflectune.oracles.local import LocalOracle

        return LocalOracle.open(name)
    from reflectune.oracles.api import ApiOracle, Capabilities

    settings = settings_of(name, address)
    oracle = ApiOracle(settings)
    known = recall(oracle.name) if recall else None
    if known is None:
        return oracle
    try:
        return ApiOracle(settings, Capabilities.model_validate_json(known))
    except ValidationError:  # written by a version that knew other ones: they are found out afresh
        return oracle


def settings_of(name: str, address: Address) -> ApiSettings:
    """What is needed to ask the model of an endpoint, `MODEL` or `MODEL@URL`.

    Raises:
        SettingsError: The name is empty, ends in `@` or is like a file's, or the endpoint needs a key and has none.
    """
    model, at, url = name.partition("@")
    if not model:
        raise SettingsError(f"{name!r} names no model.", mend="Write MODEL, MODEL@URL, or local.")
    if at and not url.strip():
        raise SettingsError(
            f"{name!r} has no address after the @.",
            mend=f"Write {model}@URL (is the variable that holds it set?), or {model} alone.",
        )
    values = variables()
    base_url = url or base_url_of(name, address) or _OPENAI
    if base_url.startswith(_OPENAI) and (model.startswith(("hf:", "~")) or _IN_A_PLACE.search(model)):
        raise SettingsError(
            f"{model} is named like a file, a folder or a model of a hub, and {_OPENAI} has none of that name.",
            mend="Check the path. A GGUF file is local:FILE.gguf or local:ORG/NAME, a served model MODEL@URL.",
        )
    key = values.get(address.key_env)
    if not key and base_url.startswith(_OPENAI):
        raise SettingsError(
            f"{_OPENAI} needs a key, and the variable {address.key_env} is not set.",
            mend=f"export {address.key_env}=..., write it into .env, name another variable with --key-env, "
            "or name the model local, which needs none.",
        )
    return ApiSettings(
        model=model,
        base_url=base_url,
        key=key,
        key_env=address.key_env,
        timeout=address.timeout,
        connections=address.connections,
    )


def key_of(address: Address) -> dict[str, str]:
    """The key of an endpoint as the variable that holds it, for a process elsewhere; nothing where there is none."""
    key = variables().get(address.key_env)
    return {address.key_env: key} if key else {}


def base_url_of(name: str, address: Address) -> str | None:
    """Where an endpoint's model is served: as the address says, else OPENAI_BASE_URL, else OpenAI."""
    if name == "local" or name.startswith("local:") or "@" in name:
        return address.base_url
    return address.base_url or variables().get("OPENAI_BASE_URL") or _OPENAI


def variables() -> dict[str, str | None]:
    """The environment's variables, and those of `.env` that it lacks.

    Raises:
        SettingsError: `.env` cannot be read.
    """
    try:
        return {**dotenv_values(".env"), **os.environ}
    except UnicodeDecodeError as error:
        raise SettingsError(f".env is not UTF-8: {error}.", mend="Save it as UTF-8.") from error


def knowledge_of(oracle: Oracle) -> str | None:
    """What an oracle found out about its endpoint, for the next process; `None` where there is nothing to know."""
    from reflectune.oracles.api import ApiOracle

    return oracle.capabilities.model_dump_json() if isinstance(oracle, ApiOracle) else None
