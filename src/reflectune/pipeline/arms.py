"""What each student learns from: the recycled rows, and the baselines that they are compared with.

An honest comparison holds everything but the data fixed. `random` and `longest` have as many rows as `recycled`
(arXiv 2402.04833 for the longest responses), `same-tokens` as many tokens to learn from.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Literal

from reflectune.errors import RunError
from reflectune.formats import Row, convert, open_source, write_rows
from reflectune.recipe.pipeline import Arm
from reflectune.records import Example, Record
from reflectune.runs import RunDir
from reflectune.runs.export import PROVENANCE

__all__ = ["FILE", "ArmFacts", "Counter", "made", "read_rows", "written"]

FILE = "arms.json"
_MOST_TURNS = 20
"""So often, at the most, are the original rows repeated to have as many tokens: more would be learnt by heart."""
Counter = Callable[[str], int]
"""How many tokens a text has, for the student."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What arms are made of.

    Attributes:
        original: All rows as they were read.
        recycled: What selection kept, or all that was recycled.
    """

    original: tuple[Example, ...]
    recycled: tuple[Example, ...]


class ArmFacts(Record):
    """What a student learns from, in figures.

    Attributes:
        rows: How many rows, repeated ones counted again.
        instruction_tokens: Tokens of all instructions with their inputs, as the student counts them.
        response_tokens: Tokens of all responses.
        mean_response_characters: The mean length of a response.
    """

    rows: int
    instruction_tokens: int
    response_tokens: int
    mean_response_characters: float


def read_rows(run: Path, of: Literal["selected", "recycled"] | None = None) -> Rows:
    """The original rows of a run, and what it has written.

    Args:
        run: The run's folder.
        of: What was selected, or all that was recycled; by default what was selected, where anything was.

    Raises:
        RunError: It has written nothing, or nothing was kept.
    """
    with RunDir(run, look=True) as folder:
        original = tuple(row.example for row in folder.rows("recycle") if row.example is not None)
    names = ("selected.jsonl", "recycled.jsonl") if of is None else (f"{of}.jsonl",)
    path = next((run / name for name in names if (run / name).is_file()), None)
    if path is None:
        raise RunError(f"The run {run} has written no data yet.", mend="Recycle it, or select from it, first.")
    kept = [_with_id(row) for row in open_source(path).rows() if row.example is not None] if path.stat().st_size else []
    if not kept:
        raise RunError(
            f"{path} holds no row, so there is nothing to train on.",
            mend="See why rows failed or were dropped: reflectune runs show, or select --show 3.",
        )
    return Rows(original, tuple(kept))


def _with_id(row: Row) -> Example:
    """The pair of a row that a run wrote, under the id that it has there."""
    if row.example is None:
        raise ValueError(f"Row {row.number} holds no pair.")
    origin = row.raw.get(PROVENANCE)
    own = origin.get("id") if isinstance(origin, dict) else None
    return replace(row.example, id=own) if isinstance(own, str) else row.example


def made(arm: Arm, rows: Rows, count: Counter, seed: int = 0) -> list[Example]:
    """The rows of an arm, in the order in which they are written. Pure: the same seed draws the same.

    Args:
        arm: Which.
        rows: What it is made of.
        count: Counts a text's tokens, for `same-tokens`.
        seed: Seed of what is drawn.

    Raises:
        ValueError: The arm learns from nothing that is written here.
    """
    fewer = min(len(rows.recycled), len(rows.original))
    if arm == "original":
        return list(rows.original)
    if arm == "recycled":
        return list(rows.recycled)
    if arm == "random":
        drawn = set(random.Random(seed).sample(range(len(rows.original)), fewer))  # noqa: S311 - no secret
        return [example for place, example in enumerate(rows.original) if place in drawn]
    if arm == "longest":
        by_length = sorted(range(len(rows.original)), key=lambda place: (-len(rows.original[place].response), place))
        longest = set(by_length[:fewer])
        return [example for place, example in enumerate(rows.original) if place in longest]
    if arm == "same-tokens":
        wanted = sum(count(example.response) for example in rows.recycled)
        return _as_many_tokens(rows.original, wanted, count, seed)
    raise ValueError(f"The arm {arm} learns from no rows of a run.")


def _as_many_tokens(rows: Sequence[Example], wanted: int, count: Counter, seed: int) -> list[Example]:
    """Rows in random order, again and again, up to so many tokens of responses; the last row that comes nearest."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    sizes = {place: count(rows[place].response) for place in order}
    taken: list[Example] = []
    total = 0
    if not sum(sizes.values()):
        return taken
    for number, place in enumerate(cycle(order)):
        if total + sizes[place] / 2 > wanted or number >= _MOST_TURNS * len(order):
            break
        total += sizes[place]
        taken.append(rows[place])
    return taken


def written(arm: Arm, examples: Iterable[Example], folder: Path, count: Counter) -> ArmFacts:
    """Write an arm's rows as `ARM.jsonl`; a row that stands there again gets an id of its own.

    Raises:
        SettingsError: The folder cannot be written.
    """
    rows, seen = list(examples), dict[str, int]()
    talks = any(example.history for example in rows)

    def plain() -> Iterable[dict[str, object]]:
        for example in rows:
            seen[example.id] = seen.get(example.id, 0) + 1
            name = example.id if seen[example.id] == 1 else f"{example.id}-again-{seen[example.id]}"
            yield {"id": name, **convert(example, example.version, "messages" if talks else "alpaca")}

    write_rows(folder / f"{arm}.jsonl", plain())
    return ArmFacts(
        rows=len(rows),
        instruction_tokens=sum(count(example.question) for example in rows),
        response_tokens=sum(count(example.response) for example in rows),
        mean_response_characters=sum(len(example.response) for example in rows) / max(len(rows), 1),
    )
