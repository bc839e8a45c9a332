"""`judge --dry-run`: what would be asked, and about what that would cost, without asking."""

from __future__ import annotations

from typing import Any

import orjson
import typer

from reflectune.cli.money import Range
from reflectune.cli.most import TOKENS_PER_BYTE, price_for
from reflectune.cli.screen import say
from reflectune.evaluate.judge import Matched, Pair, requests_per_pair
from reflectune.exports.kit import counted
from reflectune.prompts import Prompts
from reflectune.recipe import JudgeSettings, Recipe

_VALUE = Range(100.0, 180.0, 400.0)
"""Tokens of two critiques and ten scores as JSON."""
_TURN = Range(2.0, 8.0, 40.0)
"""Tokens of one turn of a dialogue: most are scores."""


def show_judge_estimate(
    recipe: Recipe,
    settings: JudgeSettings,
    judges: tuple[str, ...],
    found: Matched,
    *,
    as_json: bool,
    quiet: bool = False,
) -> None:
    """Print what each judge would be asked."""
    told: list[dict[str, Any]] = []
    for name in judges:
        dialogue = settings.is_dialogue(default=name.split(":")[0] == "local")
        requests = len(found.pairs) * requests_per_pair(dialogue=dialogue)
        sent = _sent(settings, found, requests, dialogue=dialogue)
        received = (_TURN if dialogue else _VALUE).times(requests)
        cost = _cost(recipe.model_copy(update={"oracle": name}), sent, received)
        told.append(
            {
                "judge": name,
                "requests": requests,
                "prompt_tokens": sent.plain(0),
                "completion_tokens": received.plain(0),
                "cost": cost.plain(6) if cost else None,
            }
        )
        if not as_json:
            say(f"{counted(requests, 'request')} to {name}, and more for each reply that is rejected", quiet=quiet)
            say(f"  tokens sent      {sent.tokens()}", quiet=quiet)
            say(f"  tokens received  {received.tokens()}", quiet=quiet)
            unknown = "unknown: state the price with --prices"
            free = "nothing: the model runs in this process"
            say(f"  cost             {(cost.money() if cost.high else free) if cost else unknown}", quiet=quiet)
    if as_json:
        summary = {
            "items": len(found.pairs) + len(found.lost),
            "pairs": len(found.pairs),
            "failed": len(found.lost),
            "requests": sum(one["requests"] for one in told),
            "judges": told,
        }
        typer.echo(orjson.dumps(summary).decode())


def _sent(settings: JudgeSettings, found: Matched, requests: int, *, dialogue: bool) -> Range:
    rubric = "judge_dialogue_system.txt" if dialogue else "judge_structured.txt"
    each = requests // max(len(found.pairs), 1)
    texts = sum(map(_bytes_of, found.pairs)) * each
    return TOKENS_PER_BYTE.times(texts + requests * len(Prompts(settings.prompts).text("en", rubric).encode()))


def _bytes_of(pair: Pair) -> int:
    question = pair.question
    turns = "".join(turn.content for turn in question.history)
    return len((question.system + turns + question.question + pair.a + pair.b).encode("utf-8", "replace"))


def _cost(recipe: Recipe, sent: Range, received: Range) -> Range | None:
    price = price_for(recipe)
    if price is None:
        return None
    return Range(*(price.cost(getattr(sent, end), getattr(received, end)) for end in ("low", "likely", "high")))
