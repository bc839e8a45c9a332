"""Write what a run has come to: the data, the failures, the totals and the data set card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import orjson

from reflectune.cli.card import Card
from reflectune.cli.changes import Changes
from reflectune.cli.money import own_prices
from reflectune.errors import RunError
from reflectune.files import write_whole
from reflectune.oracles.prices import cost_of
from reflectune.recipe import Recipe, StageName
from reflectune.records import digest
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.runs.deciding import behind, decided
from reflectune.runs.export import Export, export

_EXPORTED = "exported"
_STAGE_NOTE = "done by "


@dataclass(frozen=True, slots=True)
class Files:
    """What was written.

    Attributes:
        data: The file that holds the data.
        changes: What recycling changed, counted while it was written.
    """

    data: Path
    changes: Changes


def save(run: RunDir, recipe: Recipe, how: Export) -> Files:
    """Write the run's files; the data only where it has changed since it was last written.

    Raises:
        RunError: A file of the run cannot be written.
        SettingsError: The output cannot be written.
    """
    _keep_marks_that_hold(run)
    changes = _changes_written_before(run, how, recipe.output) or _export(run, how, recipe.output)
    totals = totals_of(run, recipe) | {"written": changes.written}
    _write(run.path / "run.json", orjson.dumps(totals, option=orjson.OPT_INDENT_2) + b"\n")
    card = Card(recipe, totals, changes, how.drop)
    _write(run.path / "README.md", card.text().encode())
    return Files(recipe.output or run.path / "recycled.jsonl", changes)


def _keep_marks_that_hold(run: RunDir) -> None:
    """Let `gates.jsonl` hold the marks that count: none of rows that were made anew, those of edits taken back."""
    path = run.path / "gates.jsonl"
    if not path.is_file():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if (mark := orjson.loads(line)) and run.marks.holds(mark["id"], mark["gate"])]
    there = {(mark["id"], mark["gate"]) for mark in map(orjson.loads, kept)}
    back = [body + b"\n" for row, gate, body in run.marks.all() if (row, gate) not in there]
    if back or len(kept) < len(lines):
        _write(path, b"".join([*kept, *back]))


def totals_of(run: RunDir, recipe: Recipe) -> dict[str, Any]:
    """What a run has come to, for `run.json`."""
    own = own_prices(recipe)
    spent = run.spent()
    replies = [asdict(part) | {"cost": _rounded(cost_of([part], own))} for part in spent]
    return {
        "reflectune": version("reflectune"),
        "python": python_version(),
        "data": recipe.data,
        "limit": recipe.limit,
        "shard": recipe.shard,
        "makers": [asdict(maker) for maker in run.makers(STAGE)],
        "seed": recipe.recycle.seed,
        **asdict(run.counts(STAGE)),
        "rewritten_by": run.written_by(STAGE),
        "marked": run.marks.count(),
        "dropped": list(run.marks.dropped),
        "decided": asdict(decided(run)),
        "requests": sum(part.requests for part in spent),
        "prompt_tokens": sum(part.prompt_tokens for part in spent),
        "completion_tokens": sum(part.completion_tokens for part in spent),
        "cost": _rounded(cost_of(spent, own)),
        "replies": replies,
        **_noted(run),
    }


def note_stage(run: RunDir, recipe: Recipe, stage: StageName, what: dict[str, Any]) -> None:
    """Note in the run what a later stage than recycling did: in its recipe, and in `run.json`.

    Raises:
        RunError: A file of the run cannot be written.
    """
    note_recipe(run, recipe)
    run.remember(_STAGE_NOTE + stage, orjson.dumps(what).decode())
    path = run.path / "run.json"
    before = orjson.loads(path.read_bytes()) if path.is_file() else {}
    _write(path, orjson.dumps(before | totals_of(run, recipe), option=orjson.OPT_INDENT_2) + b"\n")


def note_recipe(run: RunDir, recipe: Recipe) -> None:
    """Write down what the run does from now on.

    Raises:
        RunError: It cannot be written.
    """
    try:
        recipe.save(run.path / "recipe.yaml")
    except OSError as error:
        raise RunError(f"Cannot write {run.path / 'recipe.yaml'}: {error}.", mend="Free some disk space.") from error


def _noted(run: RunDir) -> dict[str, Any]:
    """What later stages did, as far as they were carried out."""
    notes = ((stage, run.remembered(_STAGE_NOTE + stage)) for stage in ("score", "select"))
    return {stage: orjson.loads(note) for stage, note in notes if note}


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 6)


def _export(run: RunDir, how: Export, output: Path | None) -> Changes:
    changes = Changes.over(run.counts(STAGE).done)
    changes.written = export(run, how, output, changes.look)  # a decision that falls in this time is behind it
    if behind(run, "recycled.jsonl"):
        return changes
    run.remember(_EXPORTED, orjson.dumps([_mark(run, how, output), changes.model_dump(mode="json")]).decode())
    return changes


def _changes_written_before(run: RunDir, how: Export, output: Path | None) -> Changes | None:
    """What changed, where the same data was written in the same way already and its files are still there."""
    known = run.remembered(_EXPORTED)
    if known is None:
        return None
    mark, changes = orjson.loads(known)
    return Changes.model_validate(changes) if mark == _mark(run, how, output) else None


def _mark(run: RunDir, how: Export, output: Path | None) -> str:
    """What tells this export from another one: how it is written, and the files that are there."""
    files = [run.path / "recycled.jsonl", run.path / "failures.jsonl", *([output] if output else [])]
    seen = [[str(file), *_seen(file)] for file in files]
    counts = run.counts(STAGE)
    made = [counts.done, counts.failed, *(maker.fingerprint for maker in run.makers(STAGE))]
    return digest([how.mapping.model_dump(), how.to, how.fill, how.provenance, how.drop, made, seen])


def _seen(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}.", mend="Free some disk space.") from error
