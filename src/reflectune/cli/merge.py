"""Merge the runs of a data set's shards, and say what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reflectune.cli.finish import save
from reflectune.cli.screen import say
from reflectune.errors import RunError
from reflectune.recipe import Recipe, shard_of
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.runs.export import export_of
from reflectune.runs.merge import merge


def merge_runs(parts: Sequence[Path], whole: Path, *, quiet: bool) -> None:
    """Make one run of several, write its data, and say which shards and rows it lacks.

    Raises:
        RunError: The parts do not fit together, or the new folder cannot be written.
        SettingsError: A part has no recipe.
    """
    recipes = [Recipe.load(part / "recipe.yaml") for part in parts]
    missing = _missing_shards(recipes)
    merge(parts, whole)
    recipe = recipes[0].model_copy(update={"shard": None, "output": None})
    recipe.save(whole / "recipe.yaml")
    with RunDir(whole) as run:
        how = export_of(run, to=recipe.to, fill=recipe.fill == "original", provenance=recipe.provenance)
        files = save(run, recipe, how)
        counts, makers = run.counts(STAGE), run.makers(STAGE)
        looked = bool(run.marks.count() or run.marks.dropped)
    say(
        f"{counts.rows:,} rows: {counts.done:,} rewritten, {counts.failed:,} failed, {counts.pending:,} pending",
        quiet=quiet,
    )
    if len(makers) > 1:
        say(
            f"They were made in {len(makers)} ways: {', '.join(sorted({maker.oracle for maker in makers}))}",
            quiet=quiet,
        )
    if missing:
        say(
            f"Shards that are missing: {', '.join(missing)}. `reflectune runs resume {whole}` does them here.",
            quiet=quiet,
        )
    if looked:
        say(f"Duplicates across shards are not looked for yet: `reflectune gates {whole}` does.", quiet=quiet)
    say(f"data      {files.data}", quiet=quiet)


def _missing_shards(recipes: Sequence[Recipe]) -> list[str]:
    """The shards of the data that none of the recipes is of."""
    shards = [shard_of(recipe.shard) for recipe in recipes if recipe.shard]
    counts = {count for _, count in shards}
    if len(counts) > 1 or len(shards) not in {0, len(recipes)}:
        raise RunError(
            "These runs are not shards of the same data: "
            + ", ".join(recipe.shard or "the whole" for recipe in recipes)
            + ".",
            mend="Merge runs that were made with the same n in --shard i/n.",
        )
    there = {index for index, _ in shards}
    return [f"{index}/{count}" for count in counts for index in range(1, count + 1) if index not in there]
