"""Accept, edit or reject rows of a run by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reflectune.cli.screen import say
from reflectune.errors import InputError, RunError
from reflectune.records import Version
from reflectune.runs.deciding import Said, decide, deciding_in

Wanted = Literal["accept", "reject", "undo"]


def carry_out(run: Path, row: str, wanted: Wanted | Path, *, note: str, quiet: bool) -> None:
    """Decide about a row.

    Args:
        run: The run's folder.
        row: The row's id.
        wanted: What is decided; a file where the row is edited.
        note: Why.
        quiet: Whether to say nothing.

    Raises:
        InputError: The file cannot be read, or the row cannot be decided about.
        RunError: The run cannot be used, holds no such row, or none that was decided about.
        SettingsError: The edit lacks a text.
    """
    with deciding_in(run) as folder:
        if isinstance(wanted, Path):
            decide(folder, row, Said("edit", _edited(wanted), note))
        elif wanted != "undo":
            decide(folder, row, Said(wanted, note=note))
        elif not folder.decisions.undo(row):
            raise RunError(f"Nothing was decided about row {row}.", mend=f"See: reflectune runs show {run} --row {row}")
    say(f"The data files follow with: reflectune runs write {shlex.quote(str(run))}", quiet=quiet)


def _edited(path: Path) -> Version:
    try:
        return Version.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.", mend="Check its name.") from error
    except ValidationError as error:
        raise InputError(
            f"{path} holds no edited row: {error.errors()[0]['msg']}.",
            mend='Write a JSON object with the texts "instruction" and "response", and "input" where there is one.',
        ) from error
