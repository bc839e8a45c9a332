"""`--dry-run`: what a command would ask, without asking."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import orjson
import typer

from reflectune.cli.screen import err
from reflectune.cli.work import source_of
from reflectune.prompts import Language, Prompts
from reflectune.recipe import Recipe
from reflectune.records import Example
from reflectune.recycling import requests_per_row

_BYTES_PER_TOKEN = 4.0
"""Of UTF-8, in a byte-pair vocabulary: about four letters of English, or one and a third Chinese characters."""


def show_estimate(recipe: Recipe, *, as_json: bool) -> None:
    """Count the rows and the requests that they take, and estimate the tokens of the prompts.

    No network is used and no model is loaded.
    """
    source = source_of(recipe)
    settings = recipe.recycle
    dialogue = settings.ask == "dialogue" or (settings.ask is None and recipe.oracle.split(":")[0] == "local")
    each = requests_per_row(settings, dialogue=dialogue)
    rubric = _rubric_bytes(Prompts(settings.prompts), settings.lang or "en", dialogue=dialogue)
    rows, unread, prompt_bytes = 0, Counter[str](), 0
    for row in islice(source.rows(), recipe.limit):
        rows += 1
        if row.failure is not None:
            unread[row.failure.reason] += 1
        if row.example is not None:
            prompt_bytes += each * (rubric + _bytes_of(row.example))
    requests = each * (rows - unread.total())
    tokens = round(prompt_bytes / _BYTES_PER_TOKEN)
    if as_json:
        estimate = {"rows": rows, "failed": unread.total(), "requests": requests, "prompt_tokens": tokens, "cost": None}
        typer.echo(orjson.dumps(estimate).decode())
        return
    err.print(f"{recipe.data}: {rows:,} rows, {source.describe()}")
    for reason, count in sorted(unread.items()):
        err.print(f"  {count:,} cannot be recycled: {reason}")
    err.print(f"{requests:,} requests to {recipe.oracle}, {each} a row, and more for each reply that is rejected")
    err.print(f"about {tokens:,} tokens of prompts; the replies come on top. The cost is unknown.")


def _rubric_bytes(prompts: Prompts, language: Language, *, dialogue: bool) -> int:
    """The mean size of the fixed part of a request."""
    if dialogue:  # each conversation begins with one of the three sets of worked examples
        return len(prompts.text(language, "dialogue_pairs.yaml").encode()) // 3
    sizes = [len(prompts.text(language, f"structured_{kind}.txt").encode()) for kind in ("instruction", "response")]
    return sum(sizes) // len(sizes)


def _bytes_of(example: Example) -> int:
    texts = [example.question, example.response, example.system, *(turn.content for turn in example.history)]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)
