"""`--dry-run` of the commands whose replies have a longest length: what they may take and cost at the most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from reflectune.cli.job import settled
from reflectune.cli.money import Range, dollars, own_prices
from reflectune.cli.screen import say
from reflectune.exports.kit import counted
from reflectune.generation.naming import is_folder
from reflectune.oracles.local import SMALL_MODEL
from reflectune.oracles.prices import Price, price_of
from reflectune.recipe import Recipe
from reflectune.records import Sampling

TOKENS_PER_BYTE = Range(1 / 5, 1 / 4, 1 / 3)
"""Of UTF-8, in a byte-pair vocabulary: about four letters of English, or one and a third Chinese characters."""


@dataclass(frozen=True, slots=True)
class Most:
    """What a model may be asked at the most, where no reply is rejected.

    Attributes:
        model: The model.
        requests: How many requests there are.
        each: The most tokens of a reply.
        sent: Tokens of the prompts; `None` where they are not known yet.
        price: What its tokens cost; `None` where that is unknown.
    """

    model: str
    requests: int
    each: int
    sent: Range | None
    price: Price | None

    @property
    def received(self) -> int:
        """The most tokens of all replies."""
        return self.requests * self.each

    @property
    def cost(self) -> float | None:
        """The most US dollars; `None` where the price or the prompts are unknown, and nothing is not the price."""
        if self.price is None or (self.sent is None and self.price.cost(1, 0)):
            return None
        return self.price.cost(self.sent.high if self.sent else 0, self.received)


def most(
    recipe: Recipe, requests: int, prompts: int | None, sampling: Callable[[Sampling], Sampling], model: str = ""
) -> Most:
    """What a model may be asked at the most.

    Args:
        recipe: The model, its address and the user's prices.
        requests: How many requests there are.
        prompts: Bytes of all prompts as UTF-8; `None` where they are not known.
        sampling: How tokens are drawn, given how the model draws them by itself.
        model: The model, where it is another than the recipe's.
    """
    recipe = recipe.model_copy(update={"oracle": model or recipe.oracle})
    default = SMALL_MODEL if recipe.oracle.split(":")[0] == "local" else Sampling()
    sent = None if prompts is None else TOKENS_PER_BYTE.times(prompts)
    return Most(recipe.oracle, requests, sampling(default).max_tokens, sent, price_for(recipe))


def price_for(recipe: Recipe) -> Price | None:
    """The price of the model that a recipe names; `None` where it is unknown."""
    name = recipe.oracle
    if is_folder(name):
        return Price(input=0, output=0)
    if name.split(":")[0] != "local" and "@" not in name:
        name = f"{name}@{settled(recipe).base_url}"
    return price_of(name, own_prices(recipe))


def show_most(found: Sequence[Most], *, quiet: bool) -> None:
    """Say what each model may be asked, and what that may cost."""
    for one in found:
        say(f"at most {counted(one.requests, 'request')} to {one.model}", quiet=quiet)
        say(
            f"  tokens sent      {one.sent.tokens() if one.sent else 'unknown before the prompts are loaded'}",
            quiet=quiet,
        )
        say(f"  tokens received  at most {one.received:,} ({one.each:,} each)", quiet=quiet)
        say(f"  cost             {_told(one)}", quiet=quiet)


def plain_most(found: Sequence[Most]) -> dict[str, Any]:
    """For JSON: the tokens and the cost of all of them, at the most; what is unknown of one is unknown of all."""
    sent = _sum([None if one.sent is None else round(one.sent.high) for one in found])
    cost = _sum([one.cost for one in found])
    return {
        "tokens": {"sent": sent, "received": sum(one.received for one in found)},
        "cost": None if cost is None else round(cost, 6),
    }


def _sum(parts: Sequence[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _told(one: Most) -> str:
    if one.price is None:
        return "unknown: state the price with --prices"
    if one.cost is None:
        return f"at most {dollars(one.price.cost(0, one.received))} for the replies; what the prompts cost is unknown"
    return f"at most {dollars(one.cost)}" if one.cost else "nothing: the model runs in this process"
