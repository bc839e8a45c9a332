"""A folder that holds an evaluation already: whether another may take its place, and what is said of that."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from reflectune.cli.screen import say
from reflectune.errors import RunError, SettingsError
from reflectune.evaluate.scores import FILE, Evaluation
from reflectune.prompts import Prompts
from reflectune.recipe import AlpacaEvalSettings, BenchmarkSettings, JudgeSettings, Settings

_SILENT = frozenset({"judges", "run_code"})
"""Settings that say nothing new: what the judges turn out to be called, and a permission."""
_SETTINGS: dict[str, type[Settings]] = {
    "judge": JudgeSettings,
    "alpaca-eval": AlpacaEvalSettings,
    "benchmark": BenchmarkSettings,
}
_SHOWN_OF_A_HASH = 8


def wording(prompts: Path | None, *prefixes: str) -> str:
    """The first digits of a hash of the prompts whose names begin so, so that a changed wording is told of.

    Raises:
        SettingsError: The folder of prompts cannot be used.
    """
    return Prompts(prompts).hash(*prefixes)[:_SHOWN_OF_A_HASH]


def check_evaluation(run: Path, command: str, settings: Mapping[str, object], *, quiet: bool) -> None:
    """Refuse to put figures in the place of those of another command or of more items, and tell what else changed.

    Args:
        run: The run's folder.
        command: The command that is to write into it.
        settings: What is asked for, as the evaluation will hold it.
        quiet: Whether to show only errors.

    Raises:
        RunError: The evaluation that is there cannot be read.
        SettingsError: It is of another command or of more items.
    """
    if not (run / FILE).is_file():
        return
    try:
        earlier = Evaluation.load(run / FILE)
    except RunError as error:
        raise RunError(error.what, mend="Take it away, or name another folder with --run.") from error
    if earlier.command != command:
        raise SettingsError(
            f"{run} holds what `reflectune {earlier.command}` came to, which would be overwritten.",
            mend="Name another folder with --run.",
        )
    _check_limit(run, earlier, settings.get("limit"))
    before = earlier.settings
    changed = [
        f"{name} changed: {_plain(before.get(name))} → {_plain(settings.get(name))}"
        for name in dict.fromkeys([*settings, *before])
        if before.get(name) != settings.get(name) and not _is_silent(name, earlier, settings)
    ]
    if changed:
        say(f"Since the last time {'; '.join(changed)}. The earlier figures will be replaced.", quiet=quiet)


def _is_silent(name: str, earlier: Evaluation, settings: Mapping[str, object]) -> bool:
    """Whether a difference says nothing of what was asked for: a setting may be new, or gone, in this version.

    What is none is not written, so that a missing setting may be one that is none now; but one that never is none was
    not known to the version that wrote the evaluation.
    """
    if name in _SILENT:
        return True
    if name == "limit" or (name in settings and name in earlier.settings):
        return False
    field = _SETTINGS[earlier.command].model_fields.get(name) if earlier.command in _SETTINGS else None
    never_none = name == "wording" or (field is not None and field.default is not None)
    return never_none or earlier.versions.get("reflectune") != version("reflectune")


def _check_limit(run: Path, earlier: Evaluation, limit: object) -> None:
    leading: dict[tuple[str | None, ...], int] = {}  # later figures may count other things than items, such as looks
    for score in earlier.scores:
        leading.setdefault((score.benchmark, score.model, score.arm, score.judge), score.items + score.failed)
    there = max(leading.values(), default=0)
    before = earlier.settings.get("limit")
    fewest = min(before, there) if isinstance(before, int) else there
    if isinstance(limit, int) and limit < fewest:
        raise SettingsError(
            f"{run} holds figures of {there:,} items, and --limit {limit:,} would put those of fewer in their place.",
            mend="Name another folder with --run.",
        )


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
