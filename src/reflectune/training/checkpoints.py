"""Checkpoints that can be gone on from: a folder counts once everything in it was written."""

from __future__ import annotations

import shutil
from pathlib import Path

_WHOLE = "whole"
"""The file that is written last."""
_PREFIX = "checkpoint-"


def mark_whole(folder: Path) -> None:
    """Say that a checkpoint is complete."""
    (folder / _WHOLE).touch()


def step_of(folder: Path) -> int:
    """After how many steps a checkpoint was written."""
    return int(folder.name.removeprefix(_PREFIX))


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but so many of the newest checkpoints."""
    for one in sorted(_checkpoints(folder), key=step_of)[:-count]:
        shutil.rmtree(one)


def last_whole(folder: Path) -> Path | None:
    """The newest complete checkpoint in a folder; `None` where there is none."""
    whole = [one for one in _checkpoints(folder) if (one / _WHOLE).is_file()]
    return max(whole, key=step_of, default=None)


def remove_broken(folder: Path) -> list[Path]:
    """Remove checkpoints that were not written to their end, and those after the last whole one; returns them."""
    last = last_whole(folder)
    broken = [one for one in _checkpoints(folder) if last is None or step_of(one) > step_of(last)]
    broken += [one for one in _checkpoints(folder) if not (one / _WHOLE).is_file() and one not in broken]
    for one in broken:
        shutil.rmtree(one)
    return broken


def _checkpoints(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (one for one in folder.iterdir() if one.is_dir() and one.name.startswith(_PREFIX))
    return [one for one in found if one.name.removeprefix(_PREFIX).isdecimal()]
