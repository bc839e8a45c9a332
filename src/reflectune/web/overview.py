"""What a run has come to by now, for the pages; also while another process works on it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from reflectune.errors import ReflectuneError
from reflectune.oracles.prices import cost_of, read_prices
from reflectune.recipe import Recipe
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.runs.deciding import behind, decided
from reflectune.runs.kinds import kind_of
from reflectune.runs.lock import holder

__all__ = ["DATA_FILES", "Overviews", "run_names"]

DATA_FILES = (
    *("recycled.jsonl", "selected.jsonl", "rejected.jsonl", "failures.jsonl", "dropped.jsonl", "scores.jsonl"),
    *("unscored.jsonl", "gates.jsonl", "run.json", "recipe.yaml", "README.md", "retry.log"),
)
"""The files of a run that may be fetched from its page, where they are there."""
_DATABASE = "state.sqlite"
_FOLLOWING = ("recycled.jsonl", "selected.jsonl")
_QUICK = 0.05
"""Seconds; a run that is read as quickly is read as soon as it has changed."""
_REST, _LEAST = 10.0, 3.0
"""Any other one is read again after so many times the seconds that it took, and after at least so many seconds."""


def run_names(runs: Path) -> list[str]:
    """The names of the runs in a folder, the one that changed last first; other folders are no runs.

    What is a run: a folder with a database of ours, readable or not. Links that lead out of the folder are not.
    """
    try:
        inside = runs.resolve()
        found = [path for path in runs.iterdir() if path.resolve().parent == inside and (path / _DATABASE).exists()]
    except OSError:
        return []
    return [path.name for path in sorted(found, key=lambda path: (-_changed(path), path.name))]


def _changed(run: Path) -> float:
    return max((seen[-1] for seen in _seen(run)), default=0.0)


def _seen(run: Path) -> Iterator[tuple[str, int, int]]:
    """What tells that a run has changed."""
    for name in (_DATABASE, f"{_DATABASE}-wal", "run.json", "recipe.yaml", "selected.jsonl", "recycled.jsonl"):
        try:
            status = (run / name).stat()
        except OSError:
            continue
        if status.st_size:  # an empty log comes and goes with whoever looks
            yield name, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class _Known:
    """What a run has come to.

    Attributes:
        seen: What tells that it has changed.
        until: The time before which it is not read again.
        facts: What was read.
    """

    seen: list[tuple[str, int, int]]
    until: float
    facts: dict[str, Any]


class Overviews:
    """What runs have come to, each read anew only once it has changed, and not all the time while it does."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: dict[Path, _Known] = {}

    def of(self, run: Path) -> dict[str, Any]:
        """What a run has come to; of one that cannot be read its name and an `error`."""
        seen = list(_seen(run))
        with self._lock:
            known = self._known.get(run)
        if known is None or (known.seen != seen and time.monotonic() >= known.until):
            began = time.monotonic()
            facts = _read(run)
            end = time.monotonic()
            rest = 0.0 if end - began < _QUICK else max(_LEAST, _REST * (end - began))
            known = _Known(seen, end + rest, facts)
            with self._lock:
                self._known[run] = known
        return known.facts | {"worker": holder(run)}


def _read(run: Path) -> dict[str, Any]:
    try:
        return {"name": run.name, "error": "", **_facts(run)}
    except (ReflectuneError, sqlite3.Error, OSError, ValueError) as problem:
        return {"name": run.name, "error": str(problem).partition("\n")[0]}


def _facts(run: Path) -> dict[str, Any]:
    recipe, note = _recipe(run)
    with RunDir(run, look=True) as folder:
        counts = folder.counts(STAGE)
        spent = folder.spent()
        facts: dict[str, Any] = asdict(counts) | {
            "kind": kind_of(run, counts.rows),
            "evaluated": (run / "evaluation.json").is_file(),
            "decided": asdict(decided(folder)),
            "scored": folder.counts("score").done,
            "selected": _noted(folder, "select"),
            "student": (_noted(folder, "score") or {}).get("student"),
            "makers": [maker.oracle for maker in folder.makers(STAGE)],
            "marked": folder.marks.count(),
            "dropped": list(folder.marks.dropped),
            "behind": [name for name in _FOLLOWING if (run / name).is_file() and behind(folder, name)],
        }
    return facts | {
        "data": Path(recipe.data).name if recipe else "",
        "oracle": recipe.oracle.partition("@")[0] if recipe else "",
        "stages": list(recipe.stages) if recipe else [],
        "note": note,
        "cost": _cost(spent, recipe),
        "requests": sum(part.requests for part in spent),
        "prompt_tokens": sum(part.prompt_tokens for part in spent),
        "completion_tokens": sum(part.completion_tokens for part in spent),
        "files": {name: (run / name).stat().st_size for name in DATA_FILES if (run / name).is_file()},
    }


def _recipe(run: Path) -> tuple[Recipe | None, str]:
    try:
        return Recipe.load(run / "recipe.yaml"), ""
    except ReflectuneError as problem:
        return None, problem.what


def _noted(folder: RunDir, stage: str) -> dict[str, Any] | None:
    note = folder.remembered(f"done by {stage}")
    return orjson.loads(note) if note else None


def _cost(spent: Any, recipe: Recipe | None) -> float | None:
    try:
        return cost_of(spent, read_prices(recipe.prices) if recipe and recipe.prices else None)
    except ReflectuneError:  # its price file is gone
        return None
