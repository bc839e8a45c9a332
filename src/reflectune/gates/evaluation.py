"""The texts of evaluation sets, whatever files they come in."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reflectune.errors import InputError
from reflectune.formats.files import read_lines
from reflectune.formats.json_files import read_json
from reflectune.formats.tables import read_hub, read_parquet

_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")
_LONGEST_FIELD = 2**31 - 1
_HEADER_WORDS = 4


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """One text of an evaluation set.

    Attributes:
        source: The file, or the name on the hub.
        row: The row (the line of a `.txt` file), from 1; a header is none.
        field: The column, and what leads to the text in it.
        text: The text.
    """

    source: str
    row: int
    field: str
    text: str

    @property
    def place(self) -> str:
        """`FILE:ROW`."""
        return f"{self.source}:{self.row}"


def read_evaluation(source: str | Path) -> Iterator[EvaluationText]:
    """Every text of an evaluation set: each string of each row, however deep it lies.

    Args:
        source: A file (`.json`, `.jsonl`, `.ndjson`, `.csv`, `.tsv`, `.txt`, each also with `.gz`, or `.parquet`), a
            folder of such files, or a data set of the hub, `org/name` or `org/name:split`. The rows need no particular
            columns, and CSV needs no header.

    Raises:
        InputError: It is missing, broken, of an unknown kind, or holds no text.
        MissingExtraError: Parquet or the hub is asked for and the extra `hf` is not installed.
    """
    path = Path(source)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _suffix(file) in _READERS and file.is_file())
    elif not path.exists():
        hub = _HUB_NAME.fullmatch(str(source))
        if hub is None or _suffix(path) in _READERS or path.parent.is_dir():
            raise InputError(f"{source}: no such evaluation file", mend=_similar(path))
        yield from _texts(str(source), read_hub(hub["name"], hub["split"]))
        return
    if not files:
        raise InputError(f"{source}: the folder holds no file that can be read", mend=_KINDS)
    for file in files:
        yield from _texts(str(file), _reader(file)(file))


def _texts(source: str, rows: Iterable[dict[str, Any]]) -> Iterator[EvaluationText]:
    empty = True
    for number, row in enumerate(rows, start=1):
        for field, text in _strings(row):
            empty = False
            yield EvaluationText(source, number, field, text)
    if empty:
        raise InputError(f"{source}: holds no text to compare with", mend="Name an evaluation file with text in it.")


def _strings(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if value.strip():
            yield field, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _strings(part, f"{field}.{key}" if field else str(key))
    elif isinstance(value, (list, tuple)):
        for place, part in enumerate(value):
            yield from _strings(part, f"{field}.{place}")


def _reader(path: Path) -> Callable[[Path], Iterable[dict[str, Any]]]:
    suffix = _suffix(path)
    if suffix not in _READERS:
        raise InputError(f"{path}: unknown kind of evaluation file {path.suffix!r}", mend=_KINDS)
    return _READERS[suffix]


def _suffix(path: Path) -> str:
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def _similar(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else "Check the path."


def _read_table(path: Path, delimiter: str = ",") -> Iterator[dict[str, Any]]:
    """The rows of a table with or without a header: many evaluation sets have none."""
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(read_lines(path), delimiter=delimiter)
    names: list[str] = []
    try:
        for row in filter(None, reader):
            if not names:
                names = [f"column {number}" for number in range(1, len(row) + 1)]
                if _is_header(row):
                    names = row
                    continue
            names += [f"column {number}" for number in range(len(names) + 1, len(row) + 1)]
            yield dict(zip(names, row, strict=False))
    except csv.Error as fault:
        mend = "Put fields that hold quotes, commas or newlines in double quotes."
        raise InputError(f"{path}, line {reader.line_num}: broken CSV: {fault}", mend=mend) from fault


def _is_header(row: list[str]) -> bool:
    """Whether these look like names of columns: short, all different, none of them a number."""
    names = [name.strip() for name in row]
    short = all(0 < len(name.split()) <= _HEADER_WORDS and len(name) > 1 and not name[0].isdigit() for name in names)
    return short and len(set(names)) == len(names)


def _read_plain(path: Path) -> Iterator[dict[str, Any]]:
    return ({"line": line} for line in read_lines(path))


_READERS: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".csv": _read_table,
    ".tsv": partial(_read_table, delimiter="\t"),
    ".txt": _read_plain,
    ".parquet": read_parquet,
}
_KINDS = f"What can be read: {', '.join(_READERS)}; text files also .gz; a data set of the hub as org/name."
