"""`--dry-run`: what a command would ask, and about what that would cost, without asking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import typer

from reflectune.cli.intake import taken
from reflectune.cli.job import check_batch, source_of
from reflectune.cli.money import Range, dollars
from reflectune.cli.most import TOKENS_PER_BYTE, price_for
from reflectune.cli.screen import err
from reflectune.oracles.prices import Price
from reflectune.prompts import Language, Prompts
from reflectune.recipe import Recipe, RecycleSettings
from reflectune.records import Example, Reflection
from reflectune.recycling import requests_per_row, waves_per_row

_NOTHING = Range(0.0, 0.0, 0.0)
_REQUESTS_AGAIN = Range(1.0, 1.03, 1.2)
"""How many times a request is made on the whole: replies that are rejected are asked for again."""
_REWRITE = Range(0.7, 1.3, 3.0)
"""How long a rewritten pair is, in lengths of the old one."""
_CRITIQUE = Range(200.0, 450.0, 1000.0)
"""Tokens of a critique and of the JSON around it."""
_TURN = Range(10.0, 60.0, 200.0)
"""Tokens of one turn of a dialogue."""


@dataclass(slots=True)
class Estimate:
    """What a command would ask.

    Attributes:
        rows: How many rows there are.
        unread: How many of them cannot be recycled, by reason.
        requests: How many requests it takes, if no reply is rejected.
        prompt_tokens: Tokens that are sent.
        completion_tokens: Tokens that are received.
        cost: US dollars; `None` where the price is unknown.
    """

    rows: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    prompt_tokens: Range = _NOTHING
    completion_tokens: Range = _NOTHING
    cost: Range | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON: the best guesses, and between which figures they lie."""
        guesses = {
            "prompt_tokens": self.prompt_tokens.plain(),
            "completion_tokens": self.completion_tokens.plain(),
            "cost": self.cost.plain(6) if self.cost else None,
        }
        likely = {name: guess["likely"] if guess else None for name, guess in guesses.items()}
        ranges = {name: [guess["low"], guess["high"]] if guess else None for name, guess in guesses.items()}
        return {
            "rows": self.rows,
            "failed": self.unread.total(),
            "requests": self.requests,
            **likely,
            "ranges": ranges,
        }


def estimate(recipe: Recipe) -> Estimate:
    """Count the rows and the requests that they take, and estimate tokens and cost.

    No network is used and no model is loaded. The ranges are wide: how long the replies are is not known before some
    were seen.
    """
    check_batch(recipe)
    settings = recipe.recycle
    dialogue = settings.ask == "dialogue" or (settings.ask is None and recipe.oracle.split(":")[0] == "local")
    each = requests_per_row(settings, dialogue=dialogue)
    rubric = _rubric_bytes(Prompts(settings.prompts), settings, dialogue=dialogue)
    found, pair_bytes = Estimate(), 0
    for row in taken(source_of(recipe), recipe):
        found.rows += 1
        if row.failure is not None:
            found.unread[row.failure.reason] += 1
        if row.example is not None:
            pair_bytes += _bytes_of(row.example)
    found.requests = each * (found.rows - found.unread.total())
    replies = _product(Range(1, 1, 1).times(found.requests), _REQUESTS_AGAIN)
    sent = TOKENS_PER_BYTE.times(found.requests * rubric + each * pair_bytes)
    found.prompt_tokens = _product(sent, _REQUESTS_AGAIN)
    if dialogue:
        found.completion_tokens = _product(replies, _TURN)
    else:
        pairs = _product(_product(TOKENS_PER_BYTE.times(each * pair_bytes), _REWRITE), _REQUESTS_AGAIN)
        found.completion_tokens = _product(replies, _CRITIQUE).plus(pairs)
    price = price_for(recipe)
    found.cost = _cost(found, price, batch=recipe.batch) if price else None
    return found


def show_estimate(recipe: Recipe, run: Path, *, as_json: bool, quiet: bool = False) -> None:
    """Print an estimate; where the run is there already, that it counts what is done once more."""
    found = estimate(recipe)
    if as_json:
        typer.echo(orjson.dumps(found.plain()).decode())
        return
    if quiet:
        return
    err.print(f"{recipe.data}: {found.rows:,} rows, {source_of(recipe).describe()}")
    for reason, count in sorted(found.unread.items()):
        err.print(f"  {count:,} cannot be recycled: {reason}")
    err.print(f"{found.requests:,} requests to {recipe.oracle}, and more for each reply that is rejected")
    if recipe.batch:
        err.print(f"in batches at half the price: {waves_per_row(recipe.recycle)} after each other, up to a day each")
    err.print(f"tokens sent      {found.prompt_tokens.tokens()}")
    err.print(f"tokens received  {found.completion_tokens.tokens()}")
    err.print(f"cost             {_told(found.cost)}")
    if found.cost and recipe.budget and found.cost.high > recipe.budget:
        share = recipe.budget / found.cost.likely
        enough = "may not be enough" if share > 1 else f"is enough for about {share:.0%} of it"
        err.print(f"The budget of {dollars(recipe.budget)} {enough}.")
    if (run / "state.sqlite").is_file():
        err.print(f"This is for all rows; what {run} has done of them is not asked again.")
    if found.requests and (found.cost is None or found.cost.high):
        err.print("How long the replies are is guessed. `--sample 20` asks for 20 rows, keeps them, and measures.")


def _told(cost: Range | None) -> str:
    if cost is None:
        return "unknown: state the price with --prices"
    return cost.money() if cost.high else "nothing: the model runs in this process"


def _cost(found: Estimate, price: Price, *, batch: bool) -> Range:
    sent, received = price.cost(1, 0, batch=batch), price.cost(0, 1, batch=batch)
    return found.prompt_tokens.times(sent).plus(found.completion_tokens.times(received))


def _product(one: Range, other: Range) -> Range:
    return Range(one.low * other.low, one.likely * other.likely, one.high * other.high)


def _rubric_bytes(prompts: Prompts, settings: RecycleSettings, *, dialogue: bool) -> int:
    """The mean size of the fixed part of a request."""
    language: Language = settings.lang or "en"
    if dialogue:  # each conversation begins with one of the three sets of worked examples
        return len(prompts.text(language, "dialogue_pairs.yaml").encode()) // 3
    kinds: tuple[Reflection, ...] = (*settings.reflections, *(("response",) if settings.versions == "all" else ()))
    sizes = [len(prompts.text(language, f"structured_{kind}.txt").encode()) for kind in kinds]
    return sum(sizes) // len(sizes)


def _bytes_of(example: Example) -> int:
    texts = [example.question, example.response, example.system, *(turn.content for turn in example.history)]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
