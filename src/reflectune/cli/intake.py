"""Read a run's data into it, once."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from reflectune.cli.job import source_of
from reflectune.cli.screen import say
from reflectune.formats import Mapping, Source
from reflectune.formats.source import Row
from reflectune.recipe import Recipe, shard_of
from reflectune.records import digest
from reflectune.runs import RunDir


def take_in(run: RunDir, recipe: Recipe, *, quiet: bool) -> Mapping:
    """Read the rows of a recipe's data into a run, unless they are there already and the file has not changed.

    Returns:
        Which columns hold what.

    Raises:
        InputError: The data cannot be read, or no row of it is this run's.
    """
    signature = _signature(recipe)
    known = run.remembered("mapping")
    if known is not None and signature is not None and signature == run.remembered("input"):
        say(f"{recipe.data}: {run.size:,} rows, not changed since", quiet=quiet)
        return Mapping.model_validate_json(known)
    source = source_of(recipe)
    rows = run.ingest(taken(source, recipe), signature, source.mapping.model_dump_json())
    of_shard = f" of shard {recipe.shard}" if recipe.shard else ""
    say(f"{recipe.data}: {rows:,} rows{of_shard}, {source.describe()}", quiet=quiet)
    return source.mapping


def taken(source: Source, recipe: Recipe) -> Iterator[Row]:
    """The rows of a source that a recipe takes: up to its limit, and of those its shard's."""
    return in_shard(islice(source.rows(), recipe.limit), recipe.shard)


def in_shard(rows: Iterator[Row], shard: str | None) -> Iterator[Row]:
    """The rows of shard `i/n`: every n-th, from the i-th on; all of them where there are no shards."""
    if shard is None:
        return rows
    index, count = shard_of(shard)
    return (row for row in rows if (row.number - index) % count == 0)


def _signature(recipe: Recipe) -> str | None:
    """What tells this input from another without reading it; `None` where that cannot be told."""
    try:
        seen = Path(recipe.data).stat()
    except OSError:
        return None
    taken = [version("reflectune"), recipe.map, recipe.limit, recipe.shard]
    return digest([str(Path(recipe.data).resolve()), seen.st_size, seen.st_mtime_ns, *taken])
