"""What an oracle's tokens cost: by the user's own price file, else by the public prices of genai-prices.

A price that is not known is unknown, never zero. Only models in this process are known to cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from reflectune.errors import SettingsError
from reflectune.records import Record, Reply
from reflectune.runs import Spent

__all__ = ["Price", "cost_of", "price_of", "read_prices"]

_PER = 1_000_000


class Price(Record):
    """What a model's tokens cost, in US dollars for a million of them.

    Attributes:
        input: Tokens sent.
        output: Tokens received, reasoning included.
        cached_input: Tokens sent that came from the oracle's prefix cache; by default as `input`.
        batch: The share of the price that a reply from a provider's batch costs.
    """

    input: float = Field(ge=0, allow_inf_nan=False)
    output: float = Field(ge=0, allow_inf_nan=False)
    cached_input: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    batch: float = Field(default=0.5, ge=0, le=1)

    def cost(self, prompt: float, completion: float, *, cached: float = 0, batch: bool = False) -> float:
        """US dollars for some tokens.

        Args:
            prompt: Tokens sent.
            completion: Tokens received.
            cached: Those of the tokens sent that came from the oracle's prefix cache.
            batch: Whether they went through a provider's batch.
        """
        cached = min(cached, prompt)
        rate = self.input if self.cached_input is None else self.cached_input
        dollars = ((prompt - cached) * self.input + cached * rate + completion * self.output) / _PER
        return dollars * self.batch if batch else dollars

    def of(self, reply: Reply) -> float:
        """US dollars for a reply."""
        return self.cost(reply.prompt_tokens, reply.completion_tokens, cached=reply.cached_tokens, batch=reply.batch)


@dataclass(frozen=True, slots=True)
class PriceList:
    """A user's own prices.

    Attributes:
        prices: By the oracle's whole name (`MODEL@URL`), or by the model alone.
    """

    prices: dict[str, Price]

    def of(self, oracle: str) -> Price | None:
        """The price of an oracle; `None` where the list has none."""
        return self.prices.get(oracle) or self.prices.get(oracle.partition("@")[0])


def read_prices(path: Path) -> PriceList:
    """Read a price file: YAML or JSON, a model or `MODEL@URL` to its `input`, `output`, `cached_input` and `batch`.

    Raises:
        SettingsError: It is missing, cannot be read, or a price in it does not fit.
    """
    example = "Write lines such as `my-model: {input: 0.15, output: 0.60}`, in US dollars for a million tokens."
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PriceList(TypeAdapter(dict[str, Price]).validate_python(values))
    except FileNotFoundError:
        raise SettingsError(f"There is no price file {path}.", mend="Check --prices.") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", mend=example) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {where or 'the file'}: {first['msg']}.", mend=example) from error


def price_of(oracle: str, own: PriceList | None = None) -> Price | None:
    """The price of an oracle's tokens.

    Args:
        oracle: Its name: `MODEL@URL`, or `local:...` or `hf:...` for a model in this process.
        own: The user's own prices, which go before the public ones.

    Returns:
        The price; `None` where it is unknown.
    """
    if own is not None and (price := own.of(oracle)):
        return price
    model, _, url = oracle.partition("@")
    if not url:
        return Price(input=0, output=0) if model.split(":")[0] in {"local", "hf"} else None
    return _public_price(model, url)


def cost_of(spent: Iterable[Spent], own: PriceList | None) -> float | None:
    """US dollars for what a run's replies took; `None` where the price of one of its oracles is unknown."""
    total = 0.0
    for part in spent:
        price = price_of(part.oracle, own)
        if price is None:
            return None
        total += price.cost(part.prompt_tokens, part.completion_tokens, cached=part.cached_tokens, batch=part.batch)
    return total


def _public_price(model: str, url: str) -> Price | None:
    from genai_prices import Usage, calc_price

    def dollars(**tokens: int) -> float:
        return float(calc_price(Usage(**tokens), model, provider_api_url=url).total_price) * _PER / 1000

    # A thousand tokens: models whose price rises with the length of the prompt are taken at their lowest.
    try:
        sent, received = dollars(input_tokens=1000), dollars(output_tokens=1000)
        return Price(input=sent, output=received, cached_input=dollars(input_tokens=1000, cache_read_tokens=1000))
    except LookupError:
        return None
