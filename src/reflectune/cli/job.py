"""What a command is to do, and the checks that come before anything is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reflectune.cli.changes import Changes
from reflectune.cli.money import Projection
from reflectune.cluster import Cluster
from reflectune.errors import SettingsError
from reflectune.formats import Source, check_target, open_source, parse_mapping
from reflectune.oracles.engine import Usage
from reflectune.oracles.naming import Address, base_url_of
from reflectune.recipe import Recipe, in_order
from reflectune.recycling import waves_per_row
from reflectune.runs import Counts


@dataclass(frozen=True, slots=True)
class Job:
    """What to do, and how to show it.

    Attributes:
        recipe: What is asked for.
        run: The run's folder.
        quiet: Whether to show only errors.
        retry: Whether rows that failed are tried again, and those that did not are left as they are.
        reasons: Of the rows that failed, only those that failed for one of these reasons.
        fresh: Whether everything is done again.
        sample: How many rows to do, spread over the data; by default all.
        cluster: The Ray cluster that does it; by default this process does.
    """

    recipe: Recipe
    run: Path
    quiet: bool = False
    retry: bool = False
    reasons: tuple[str, ...] = ()
    fresh: bool = False
    sample: int | None = None
    cluster: Cluster | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to.

    Attributes:
        counts: How many rows ended how.
        usage: What the oracle was asked for in this process.
        cost: US dollars that this process spent; `None` where the price is unknown.
        spent: US dollars that the run has spent in all; `None` where a price is unknown.
        seconds: How long it took.
        data: The file that the data is in.
        stopped: What stopped it before its end: `interrupt` or `budget`; nothing where it came to its end.
        changes: What recycling changed.
        projection: What the rest will take, where a sample was asked for.
    """

    counts: Counts
    usage: Usage
    cost: float | None
    spent: float | None
    seconds: float
    data: Path
    stopped: str = ""
    changes: Changes = field(default_factory=Changes)
    projection: Projection | None = None

    def summary(self, run: Path) -> dict[str, Any]:
        """The object that `--json` prints."""
        summary = {
            "run": str(run),
            "rows": self.counts.rows,
            "rewritten": self.counts.done,
            "failed": self.counts.failed,
            "pending": self.counts.pending,
            "failures": self.counts.reasons,
            "requests": self.usage.requests,
            "cached": self.usage.cached,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost": None if self.cost is None else round(self.cost, 6),
            "seconds": round(self.seconds, 3),
        }
        return summary if self.projection is None else summary | {"projection": self.projection.plain()}


def settled(recipe: Recipe) -> Recipe:
    """The recipe with the address that the environment names, so that a resumed run asks at the same place."""
    return recipe.model_copy(update={"base_url": base_url_of(recipe.oracle, address_of(recipe))})


def with_later_stages(recipe: Recipe, before: Recipe | None) -> Recipe:
    """The recipe with what the run was to do after recycling."""
    if before is None:
        return recipe
    stages = in_order(*recipe.stages, *before.stages)
    return recipe.model_copy(
        update={"stages": stages, "score": recipe.score or before.score, "select": recipe.select or before.select}
    )


def check_places(job: Job) -> None:
    """Refuse, before anything is asked, what would overwrite data or could not be written.

    Raises:
        SettingsError: The output is the input or a file of the run, or the run's folder belongs to other data.
    """
    output, data = job.recipe.output, Path(job.recipe.data).resolve()
    if output is not None:
        check_target(output)
        if output.resolve() == data or job.run.resolve() in output.resolve().parents:
            raise SettingsError(f"{output} would overwrite what is there.", mend="Name another file with --output.")
    before = None if job.fresh else recipe_of(job.run)
    if before is None:
        return
    other = f"other data: {before.data}" if Path(before.data).resolve() != data else ""
    if not other and before.shard != job.recipe.shard:
        other = f"shard {before.shard}" if before.shard else "all shards"
    if other:
        raise SettingsError(
            f"The run {job.run} holds {other}.",
            mend="Name another folder with --run, or start this one over with --fresh.",
        )


def check_batch(recipe: Recipe) -> None:
    """Refuse to ask through batches where there are none, or where they would take for ever.

    Raises:
        SettingsError: The recipe asks so.
    """
    if not recipe.batch:
        return
    if recipe.oracle.split(":")[0] == "local":
        raise SettingsError(
            f"--batch is for endpoints, and {recipe.oracle} runs in this process.",
            mend="Leave it out, or name an endpoint's model with --oracle.",
        )
    if recipe.recycle.ask == "dialogue":
        waves = waves_per_row(recipe.recycle, dialogue=True)
        raise SettingsError(
            f"--batch with --ask dialogue takes {waves} waves, one for each turn, of up to a day each.",
            mend="Leave out --ask dialogue: structured asks for a whole reflection at once.",
        )


def recipe_of(run: Path) -> Recipe | None:
    """The recipe that a run had until now; `None` where it has none that this version can read."""
    path = run / "recipe.yaml"
    try:
        return Recipe.load(path) if path.is_file() else None
    except SettingsError:
        return None


def source_of(recipe: Recipe) -> Source:
    """The data that a recipe names, read as it says."""
    return open_source(recipe.data, mapping=parse_mapping(recipe.map) if recipe.map else None)


def address_of(recipe: Recipe) -> Address:
    """Where the recipe's oracle is."""
    return Address(
        base_url=recipe.base_url,
        key_env=recipe.key_env,
        timeout=recipe.timeout,
        connections=recipe.max_concurrency,
    )
