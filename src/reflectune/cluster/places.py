"""Names of files and folders as other processes find them, whose working folders are others than ours."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from reflectune.recipe import JudgeSettings, RecycleSettings, ScoreSettings

__all__ = ["whole", "whole_prompts"]

_LOCAL = "local"
S = TypeVar("S", JudgeSettings, RecycleSettings, ScoreSettings)


def whole(name: str) -> str:
    """A model's name with the whole path of the file or folder that it is here; an id or an endpoint's as it is."""
    prefix = f"{_LOCAL}:" if name.startswith(f"{_LOCAL}:") else ""
    path = Path(name.removeprefix(prefix)).expanduser()
    return f"{prefix}{path.absolute()}" if name != _LOCAL and path.exists() else name


def whole_prompts(settings: S) -> S:
    """Settings with the whole path of their folder of prompts, where they name one."""
    if settings.prompts is None:
        return settings
    return settings.model_copy(update={"prompts": settings.prompts.expanduser().absolute()})
