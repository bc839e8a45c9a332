"""Decide about single rows of a run, also while another process works on it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import InputError, RunError, SettingsError
from reflectune.records import Version
from reflectune.runs.decisions import Decided, Decision, Verdict
from reflectune.runs.entries import StoredRow
from reflectune.runs.export import IN_FILE
from reflectune.runs.folder import RunDir

_STAGE = "recycle"
_HALF = re.compile("[\ud800-\udfff]")


@contextmanager
def deciding_in(path: Path) -> Iterator[RunDir]:
    """A run to decide in; another process may work on it.

    Raises:
        RunError: There is no such run, it cannot be written, or another process keeps writing to it.
    """
    try:
        run = RunDir(path, create=False, beside=True)
        try:
            yield run
        finally:
            run.close()
    except sqlite3.OperationalError as error:
        raise RunError(f"The decision could not be written to {path}: {error}.", mend="Try it again.") from error


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says of a row.

    Attributes:
        verdict: What is decided.
        version: The text that stands for it from now on; for `edit` only.
        note: Why.
    """

    verdict: Verdict
    version: Version | None = None
    note: str = ""


def decide(run: RunDir, row: str, said: Said, seen: str | None = None) -> Decision:
    """Accept, edit or reject a row.

    Args:
        run: A run that `deciding_in` or `RunDir` opened.
        row: The row's id.
        said: What is decided.
        seen: The `hash` of the row that the person looked at, if it may have been made anew since.

    Raises:
        InputError: The row was made anew since, or cannot be decided about.
        RunError: There is no such row.
        SettingsError: An edit holds no instruction or no response.
    """
    stored = _decidable(run, row, seen)
    version = said.version if said.verdict == "edit" else None
    if said.verdict == "accept" and stored.failure is not None:
        raise InputError(f"Row {row} failed ({stored.failure.reason}).", mend="There is nothing to accept: edit it.")
    if said.verdict == "edit" and (version is None or not (version.instruction.strip() and version.response.strip())):
        raise SettingsError("An edit needs an instruction and a response.", mend="Write both, or reject the row.")
    texts = (version.instruction, version.input, version.response) if version is not None else ()
    if any("\0" in text for text in texts):
        raise SettingsError("An edit cannot hold a NUL character, which no reader of data takes.", mend="Leave it out.")
    if any(_HALF.search(text) for text in (*texts, said.note)):
        raise SettingsError("A text holds half a character, which no file can hold.", mend="Leave it out.")
    of = stored.result.best_name if stored.result else "original"
    decision = Decision(
        id=row,
        verdict=said.verdict,
        of=of,
        version=version,
        note=said.note.strip(),
        made_for=stored.hash,
    )
    run.decisions.keep(decision)
    return decision


def _decidable(run: RunDir, row: str, seen: str | None) -> StoredRow:
    stored = next(run.rows(_STAGE, row=row), None)
    if stored is None:
        raise RunError(f"The run {run.path} has no row {row}.", mend="The ids are in the data that it wrote.")
    if stored.example is None:
        raise InputError(f"Row {row} could not be read as a pair.", mend="Mend it in the input.")
    if stored.result is None:
        raise InputError(f"Row {row} is not done yet.", mend="Decide once it is.")
    if seen is not None and seen != stored.hash:
        raise InputError(f"Row {row} was made anew since you looked.", mend="Look at it again.")
    return stored


def decided(run: RunDir) -> Decided:
    """How many rows of a run were decided about, and how."""
    return run.decided(_STAGE)


def behind(run: RunDir, file: str) -> bool:
    """Whether people decided about rows since a data file of the run was written.

    Args:
        run: The run.
        file: `recycled.jsonl` or `selected.jsonl`.
    """
    return (run.remembered(IN_FILE + file) or "") != run.decisions.mark()


def refuse_behind(path: Path, file: str) -> None:
    """Refuse a data file of a run that people decided about since it was written.

    Raises:
        RunError: They did.
    """
    with RunDir(path, look=True) as run:
        if behind(run, file):
            raise RunError(
                f"Rows of {path} were decided about by hand since {file} was written.",
                mend=f"Write it anew: reflectune runs write {path}",
            )
