"""What a run costs: what it has cost, what it may, and what the rest of it will."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from reflectune.errors import SettingsError
from reflectune.oracles.budget import Budget
from reflectune.oracles.prices import Price, PriceList, cost_of, price_of, read_prices
from reflectune.recipe import Recipe
from reflectune.runs import Maker, RunDir

_TOKENS_SENT = (1.0, 1.0, 0.0)
_TOKENS_RECEIVED = (0.0, 0.0, 1.0)


def own_prices(recipe: Recipe) -> PriceList | None:
    """The price file that a recipe names."""
    return read_prices(recipe.prices) if recipe.prices else None


def budget_of(run: RunDir, recipe: Recipe, oracle: str, *, batch: bool = False) -> Budget | None:
    """What keeps count of a run's money, and keeps to its limit; `None` where the price is unknown.

    Raises:
        SettingsError: There is a limit, and the price is unknown.
    """
    own = own_prices(recipe)
    price = price_of(oracle, own)
    spent = run.spent()
    unknown = next((name for name in (oracle, *(part.oracle for part in spent)) if price_of(name, own) is None), None)
    if recipe.budget is not None and unknown is not None:
        earlier = "" if unknown == oracle else ", which wrote a part of this run"
        raise SettingsError(
            f"The price of {unknown}{earlier} is unknown, so --budget cannot be kept to.",
            mend="State it in a file and name that with --prices, with a line such as"
            f" `{unknown.partition('@')[0]}: {{input: 0.15, output: 0.60}}` (US dollars for a million tokens).",
        )
    if price is None:
        return None
    return Budget(recipe.budget or math.inf, price, spent=cost_of(spent, own) or 0.0, batch=batch)


@dataclass(frozen=True, slots=True)
class Range:
    """A figure that is not known yet.

    Attributes:
        low: It is hardly less.
        likely: The best guess.
        high: It is hardly more.
    """

    low: float
    likely: float
    high: float

    def times(self, factor: float) -> Range:
        """As many times as much."""
        return Range(self.low * factor, self.likely * factor, self.high * factor)

    def plus(self, other: Range) -> Range:
        """Both together, each at its worst at the same time."""
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def plain(self, digits: int | None = None) -> dict[str, float]:
        """For JSON."""
        return {name: round(getattr(self, name), digits) for name in ("low", "likely", "high")}

    def tokens(self) -> str:
        """In words, as tokens."""
        return f"about {self.likely:,.0f} ({self.low:,.0f} to {self.high:,.0f})"

    def money(self) -> str:
        """In words, as US dollars."""
        return f"about {dollars(self.likely)} ({dollars(self.low)} to {dollars(self.high)})"


@dataclass(frozen=True, slots=True)
class Projection:
    """What the rows that are left will take, as far as those that are done can tell.

    The ranges are two standard errors to each side, of the mean over the rows that are done.

    Attributes:
        measured: How many rows it is projected from.
        rows: How many rows are left.
        requests: Requests that they will take, rejected replies included.
        prompt_tokens: Tokens that will be sent.
        completion_tokens: Tokens that will be received.
        cost: US dollars; `None` where the price is unknown.
    """

    measured: int
    rows: int
    requests: float
    prompt_tokens: Range
    completion_tokens: Range
    cost: Range | None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "measured_rows": self.measured,
            "rows": self.rows,
            "requests": round(self.requests),
            "prompt_tokens": self.prompt_tokens.plain(),
            "completion_tokens": self.completion_tokens.plain(),
            "cost": self.cost.plain(6) if self.cost else None,
        }


def projection(run: RunDir, recipe: Recipe, maker: Maker, *, measured: int, rows: int) -> Projection | None:
    """What more rows will take; `None` where none are done yet that could tell.

    Args:
        run: Whose replies tell it.
        recipe: Its settings: prices, and whether it asks through batches.
        maker: Who is asked, and how.
        measured: How many rows these replies made.
        rows: How many more there are.
    """

    def left(weights: tuple[float, float, float]) -> Range:
        taken = run.taken(maker, weights)
        # A row's replies are alike, long ones with long ones, so it is the rows that vary, not the replies.
        per_row = taken.count / measured
        spread = 2 * math.sqrt(taken.variance * per_row * per_row / measured)
        mean = taken.total / measured
        return Range(max(mean - spread, 0.0), mean, mean + spread).times(rows)

    replies = run.taken(maker, _TOKENS_SENT).count
    if not measured or not replies:
        return None
    price = price_of(maker.oracle, own_prices(recipe))
    return Projection(
        measured=measured,
        rows=rows,
        requests=replies / measured * rows,
        prompt_tokens=left(_TOKENS_SENT),
        completion_tokens=left(_TOKENS_RECEIVED),
        cost=left(_weights(price, batch=recipe.batch)) if price else None,
    )


def _weights(price: Price, *, batch: bool) -> tuple[float, float, float]:
    """US dollars for a token: sent, sent and found in the prefix cache, received."""
    return (
        price.cost(1, 0, batch=batch),
        price.cost(1, 0, cached=1, batch=batch),
        price.cost(0, 1, batch=batch),
    )


def dollars(amount: float) -> str:
    """An amount of money, to the cent, and to two figures where it is less than ten of them."""
    places = 2 if amount >= 0.1 or amount <= 0 else 1 - math.floor(math.log10(amount))  # noqa: PLR2004
    return f"${amount:,.{places}f}"
