"""Accept, edit or reject rows of a run by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from reflectune.cli.screen import say
from reflectune.errors import InputError, RunError
from reflectune.records import Version
from reflectune.recycling import STAGE
from reflectune.runs import RunDir, StoredRow
from reflectune.runs.deciding import Said, decide, deciding_in

_DIGITS = 18
"""No position has more."""
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
        row_of(folder, row)
        if isinstance(wanted, Path):
            decide(folder, row, Said("edit", _edited(wanted), note))
        elif wanted != "undo":
            decide(folder, row, Said(wanted, note=note))
        elif not folder.decisions.undo(row):
            raise RunError(f"Nothing was decided about row {row}.", mend=f"See: reflectune runs show {run} --row {row}")
    say(f"The data files follow with: reflectune runs write {shlex.quote(str(run))}", quiet=quiet)


def row_of(run: RunDir, name: str) -> StoredRow:
    """A row of a run.

    Args:
        run: The run.
        name: The row's id. Its number on a page is not it.

    Raises:
        RunError: There is no row with this id.
    """
    found = next(run.rows(STAGE, row=name), None)
    if found is not None:
        return found
    mend = "The ids are in the data that it wrote."
    meant = run.tracks.at(int(name)) if name.isascii() and name.isdecimal() and len(name) <= _DIGITS else None
    if meant is not None:
        mend = f"What the pages call row {name} has the id {meant}: --row {shlex.quote(meant)}"
    raise RunError(f"The run {run.path} has no row {name}.", mend=mend)


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
