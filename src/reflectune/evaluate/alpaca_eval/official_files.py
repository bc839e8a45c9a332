"""The two files that AlpacaEval's own length control is fitted with, which lie on its hub.

`instruction_difficulty.csv`: an index and the difficulty of each instruction. `df_gamed.csv`: preferences for answers
of the reference that were asked to be verbose or concise, with the columns preference (0 to 1), index, std_delta_len,
instruction_difficulty and not_gamed_baseline.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import InputError

__all__ = ["Gamed", "read_difficulty", "read_gamed"]

_DIFFICULTY = "instruction_difficulty"
_GAMED = ("preference", "index", "std_delta_len", _DIFFICULTY, "not_gamed_baseline")
_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class Gamed:
    """A preference for an answer of the reference that plays with its length.

    Attributes:
        share: The preference for it, from 0 to 1.
        index: The place of the instruction.
        length: The reference's length less its own, in standard deviations.
        difficulty: Of the instruction.
        plays: Whether it plays with its length; no other row is weighted down.
    """

    share: float
    index: int
    length: float
    difficulty: float
    plays: bool


def read_difficulty(path: Path) -> dict[int, float]:
    """The difficulty of each instruction, by its place.

    Raises:
        InputError: The file cannot be read or is not of this kind; with the row.
    """
    header, rows = _table(path)
    column = header.index(_DIFFICULTY) if _DIFFICULTY in header else 1
    if len(header) < 2 or column == 0:  # noqa: PLR2004 - an index and a value
        raise InputError(f"{path}: its columns are {header}", mend=f"It needs an index and {_DIFFICULTY}.")
    found = {_index(path, number, row[0]): _number(path, number, row[column]) for number, row in rows}
    _check_places(path, found)
    return found


def read_gamed(path: Path) -> tuple[list[Gamed], dict[int, float]]:
    """The preferences for answers that play with their length, and the difficulties that stand beside them.

    Rows without a preference are left out.

    Raises:
        InputError: The file cannot be read or is not of this kind; with the row.
    """
    header, rows = _table(path)
    if missing := [name for name in _GAMED if name not in header]:
        raise InputError(
            f"{path}: has no column {', '.join(map(repr, missing))}", mend=f"It needs {', '.join(_GAMED)}."
        )
    gamed: list[Gamed] = []
    difficulty: dict[int, float] = {}
    for number, values in rows:
        row = dict(zip(header, values, strict=True))
        index = _index(path, number, row["index"])
        difficulty.setdefault(index, _number(path, number, row[_DIFFICULTY]))
        if row["preference"].strip().lower() in {"", "nan"}:
            continue
        truth = _TRUTHS.get(row["not_gamed_baseline"].strip().lower())
        share = _number(path, number, row["preference"])
        if truth is None or not 0 <= share <= 1:
            raise InputError(
                f"{path}: row {number}: not_gamed_baseline {row['not_gamed_baseline']!r}, preference {share:g}",
                mend="The one is True or False, the other from 0 to 1.",
            )
        length = _number(path, number, row["std_delta_len"])
        gamed.append(Gamed(share, index, length, _number(path, number, row[_DIFFICULTY]), plays=not truth))
    _check_places(path, difficulty)
    return gamed, difficulty


def _table(path: Path) -> tuple[list[str], Sequence[tuple[int, list[str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise InputError(f"{path}: cannot be read as CSV: {fault}", mend="Check the path.") from fault
    if len(lines) < 2:  # noqa: PLR2004 - a header and a row
        raise InputError(f"{path}: holds no rows", mend="Copy the file again.")
    header = lines[0]
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise InputError(f"{path}: row {number} has {len(line)} fields, not {len(header)}", mend="Mend the row.")
    return header, list(enumerate(lines[1:], start=1))


def _number(path: Path, row: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: row {row}: {text!r} is no number", mend="Mend the row.")
    return value


def _index(path: Path, row: int, text: str) -> int:
    value = _number(path, row, text)
    if value != int(value) or value < 0:
        raise InputError(f"{path}: row {row}: {text!r} is no place of an instruction", mend="Places count from 0.")
    return int(value)


def _check_places(path: Path, found: Mapping[int, float]) -> None:
    if sorted(found) != list(range(len(found))):
        raise InputError(
            f"{path}: the places of its instructions are not 0 to {len(found) - 1}", mend="Copy the file again."
        )
