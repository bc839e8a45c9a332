"""What a run was: how it was asked for, what it took, what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import RunError
from reflectune.evaluate.leaderboard import find_evaluations
from reflectune.evaluate.scores import FILE, Evaluation
from reflectune.oracles.prices import cost_of, read_prices
from reflectune.recipe import Recipe
from reflectune.records import Failure
from reflectune.recycling import STAGE
from reflectune.runs import Counts, Maker, RunDir, Spent

__all__ = ["Facts", "evaluations_of", "facts_of"]

_FAILURES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run was.

    Attributes:
        run: Its folder.
        recipe: What was asked for.
        recipe_text: The same as it stands in `recipe.yaml`.
        counts: How far it is.
        makers: Who wrote what is there, and by which prompts.
        written: How many rows each oracle has rewritten, and how many failed with it.
        spent: What the replies took, by oracle.
        cost: US dollars; `None` where a price is unknown.
        marked: How many rows each quality gate marked.
        dropped: The gates whose marked rows are left out of the data.
        failures: Some failed rows of each reason, in input order.
        noted: What `run.json` tells: versions, and what scoring and selecting came to; nothing before it is written.
        evaluations: What models were evaluated on that belong to the run, by the folders that hold the figures.
    """

    run: Path
    recipe: Recipe
    recipe_text: str
    counts: Counts
    makers: tuple[Maker, ...]
    written: dict[str, dict[str, int]]
    spent: tuple[Spent, ...]
    cost: float | None
    marked: dict[str, int]
    dropped: tuple[str, ...]
    failures: dict[str, tuple[Failure, ...]]
    noted: dict[str, Any]
    evaluations: tuple[tuple[Path, Evaluation], ...]

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.run.resolve().name


def facts_of(folder: RunDir) -> Facts:
    """What a run was, as far as it is.

    Raises:
        RunError: It holds no rows, as the folder of a judge does, or its recipe cannot be read.
        SettingsError: The recipe does not fit this version.
    """
    recipe = folder.path / "recipe.yaml"
    if not recipe.is_file() or not folder.size:
        raise RunError(
            f"{folder.path} holds no data that was recycled or scored.",
            mend="Name the folder of `reflectune recycle` or `reflectune score`; evaluations are in the leaderboard.",
        )
    asked, spent = Recipe.load(recipe), tuple(folder.spent())
    return Facts(
        run=folder.path,
        recipe=asked,
        recipe_text=recipe.read_text(encoding="utf-8"),
        counts=folder.counts(STAGE),
        makers=tuple(folder.makers(STAGE)),
        written=folder.written_by(STAGE),
        spent=spent,
        cost=cost_of(spent, read_prices(asked.prices) if asked.prices and asked.prices.is_file() else None),
        marked=folder.marks.count(),
        dropped=folder.marks.dropped,
        failures=_some_failures(folder),
        noted=_noted(folder.path),
        evaluations=tuple(evaluations_of(folder.path)),
    )


def evaluations_of(run: Path) -> Iterator[tuple[Path, Evaluation]]:
    """The evaluations that belong to a run, the oldest first.

    They are those in its folder or below it, and of those in the folders beside it the ones that were made of its files
    or are of a model in its folder, which figures call by the names of both. One that cannot be read is left out:
    `reflectune leaderboard` tells what is wrong with it.
    """
    beside = {path.parent for path in run.resolve().parent.glob(f"*/{FILE}")}
    found = dict(find_evaluations(run)[0])
    models = {f"{run.resolve().name}-{inside.name}" for inside in run.iterdir() if inside.is_dir()}
    for folder in sorted(beside - {path.resolve() for path in found}):
        with suppress(RunError):
            evaluation = Evaluation.load(folder / FILE)
            if _mentions(evaluation.settings, run.resolve()) or any(
                score.model in models for score in evaluation.scores
            ):
                found[folder] = evaluation
    yield from found.items()


def _mentions(settings: object, run: Path) -> bool:
    """Whether settings name a file in a folder, or the folder."""
    if isinstance(settings, dict):
        return any(_mentions(value, run) for value in settings.values())
    if isinstance(settings, list):
        return any(_mentions(value, run) for value in settings)
    if not isinstance(settings, str):
        return False
    with suppress(OSError, ValueError):
        return Path(settings.removeprefix("local:")).resolve().is_relative_to(run)
    return False


def _some_failures(folder: RunDir) -> dict[str, tuple[Failure, ...]]:
    found: dict[str, list[Failure]] = {}
    for failure in folder.failures(STAGE):
        some = found.setdefault(failure.reason, [])
        if len(some) < _FAILURES_SHOWN:
            some.append(failure)
    return {reason: tuple(some) for reason, some in sorted(found.items())}


def _noted(run: Path) -> dict[str, Any]:
    try:
        found = orjson.loads((run / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
