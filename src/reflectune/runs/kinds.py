"""What the folder of a command holds, as its files tell."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["Kind", "kind_of"]

Kind = Literal["rows", "verdicts", "answers", "traces", "evaluation", "nothing"]

_TELLING: dict[str, Kind] = {
    "verdicts.jsonl": "verdicts",
    "answers.jsonl": "answers",
    "traces.jsonl": "traces",
    "evaluation.json": "evaluation",
}


def kind_of(run: Path, rows: int) -> Kind:
    """What a folder holds; `nothing` where that cannot be told.

    Args:
        run: The folder.
        rows: How many rows of a data set were read into it.
    """
    if rows:
        return "rows"
    return next((kind for file, kind in _TELLING.items() if (run / file).is_file()), "nothing")
