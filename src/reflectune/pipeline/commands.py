"""From settings to the command lines that say the same: each stage is a command that a person could type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from reflectune.recipe import Settings
from reflectune.recipe.pipeline import Model, PipelineRecipe

__all__ = ["assigned", "cluster", "flags", "limits", "model"]

_WITH_COMMAS = {"tasks", "arms"}
_NAMES = {"form": "from", "kinds": "kind"}
"""Of traces, whose flags are called otherwise."""


def flags(settings: Settings, *, leave: tuple[str, ...] = (), names: dict[str, str] | None = None) -> list[str]:
    """Settings that were stated, as flags: `max_tokens` is `--max-tokens`, a list is said once for each of its values.

    Args:
        settings: The settings of a stage; what is at its default because nobody stated it is left to the command.
        leave: Fields that are said otherwise.
        names: Fields whose flags have other names.
    """
    return list(_flags(settings, leave, names or {}))


def _flags(settings: Settings, leave: tuple[str, ...], names: dict[str, str]) -> Iterator[str]:
    for name, value in _stated(settings).items():
        flag = f"--{names.get(name, name).replace('_', '-')}"
        if name in leave or value is None:
            continue
        if isinstance(value, bool):
            default = type(settings).model_fields[name].default
            if value != default:
                yield flag if value else flag.replace("--", "--no-", 1)
        elif isinstance(value, list) and name in _WITH_COMMAS:
            yield from (flag, ",".join(map(str, value)))
        elif isinstance(value, list):
            for one in value:
                yield from (flag, str(one))
        else:
            yield from (flag, str(value))


def trace_flags(settings: Settings) -> list[str]:
    """The flags of `traces`, two of which are not called as their fields are."""
    return flags(settings, names=_NAMES)


def assigned(settings: Settings, prefix: str = "", *, leave: tuple[str, ...] = ()) -> list[str]:
    """Settings that were stated, as `--set key=value`."""
    words: list[str] = []
    for name, value in _stated(settings).items():
        if name not in leave and value is not None:
            words += ["--set", f"{prefix}{name}={_as_yaml(value)}"]
    return words


def model(asked: Model, flag: str) -> list[str]:
    """Who is asked, and how fast."""
    return [flag, asked.name, *flags(asked, leave=("name",))]


def limits(recipe: PipelineRecipe, budget: float | None) -> list[str]:
    """What may fail, and what may be spent."""
    words = ["--max-failed", f"{recipe.max_failed:g}"]
    if budget is not None:
        words += ["--budget", f"{budget:.6f}"]
    if recipe.prices is not None:
        words += ["--prices", str(recipe.prices)]
    return words


def cluster(recipe: PipelineRecipe) -> list[str]:
    """Where it is done, if not here."""
    if recipe.engine == "here":
        return []
    words = ["--engine", recipe.engine]
    if recipe.address is not None:
        words += ["--address", recipe.address]
    if recipe.workers is not None:
        words += ["--workers", str(recipe.workers)]
    return words


def _stated(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_unset=True)


def _as_yaml(value: object) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
    )
