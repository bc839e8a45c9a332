"""Open a data set, whatever its container and shape, and read its rows."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from reflectune.errors import InputError
from reflectune.formats.detect import check_columns, detect
from reflectune.formats.files import Rows
from reflectune.formats.json_files import read_json
from reflectune.formats.mapping import Mapping
from reflectune.formats.tables import read_csv, read_hub, read_parquet
from reflectune.formats.text import UnreadableRow
from reflectune.records import Example, Failure, digest

OWN_IDS = ("id", "uid", "uuid", "idx", "message_tree_id")
"""Columns that name a row; the first one present wins. Others, such as `question_id`, may repeat in sound data."""

_SAMPLE = 50
_NEAR = 0.6
"""How alike two names are, up to their first dot, where one may be meant by the other: an ending says nothing."""
_LONGEST_ID = 200
_LONGEST_RAW = 2_000
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")
_READERS: dict[str, Callable[[Path], Rows]] = {
    ".json": read_json,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".csv": read_csv,
    ".tsv": partial(read_csv, delimiter="\t"),
    ".parquet": read_parquet,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data set.

    Attributes:
        number: Its place, from 1.
        raw: The row as it was read, every column of it.
        example: What it says; `None` where it cannot be used.
        failure: Why it cannot be used; `None` where it can.
    """

    number: int
    raw: dict[str, Any]
    example: Example | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Source:
    """A data set that can be read any number of times, always with the same ids.

    Attributes:
        name: Its path or its name on the hub.
        mapping: Which shape it has and which columns hold what.
        read: Starts reading its rows.
    """

    name: str
    mapping: Mapping
    read: Callable[[], Rows]

    def describe(self) -> str:
        """The mapping in one line for people."""
        return self.mapping.describe()

    def rows(self) -> Iterator[Row]:
        """The rows in order, one in memory at a time.

        A row's id is its own (`OWN_IDS`), else the first 16 digits of a hash of its content; of rows with equal content
        the second and later ones get `-2`, `-3`, and so on.

        Raises:
            InputError: The file is broken, or two rows have the same id of their own.
        """
        names = Names(self.name)
        for number, raw in enumerate(self.read(), start=1):
            try:
                example = self.mapping.read(raw)
            except UnreadableRow as fault:
                text = _as_json(raw)
                name = names.name(raw, number, digest(text))
                failure = Failure(
                    id=name,
                    stage="read",
                    reason=fault.reason,
                    detail=f"row {number}: {fault.detail}",
                    raw=_shortened(text),
                )
                yield Row(number, raw, None, failure)
            else:
                yield Row(number, raw, _named(example, names.name(raw, number, example.content_hash())), None)


def open_source(source: str | Path, mapping: Mapping | None = None, split: str | None = None) -> Source:
    """Open a data set.

    Args:
        source: A file (`.json`, `.jsonl`, `.ndjson`, `.csv`, `.tsv`, each also with `.gz`, or `.parquet`), or a data
            set of the hub, `org/name` or `org/name:split`.
        mapping: How to read its rows; found out from the first 50 rows where not given.
        split: Which split of a hub data set.

    Raises:
        InputError: The file is missing, empty, broken, or of no known shape.
        MissingExtraError: Parquet or the hub is asked for and the extra `hf` is not installed.
    """
    name, read = str(source), reader_of(str(source), split)
    with closing(read()) as rows:
        sample = list(islice(rows, _SAMPLE))
    if not sample:
        raise InputError(f"{name}: holds no rows", mend="Name a file with at least one row")
    if mapping is None:
        mapping = detect(sample, name)
    else:
        check_columns(mapping, sample, name)
    return Source(name, mapping, read)


def reader_of(name: str, split: str | None = None) -> Callable[[], Rows]:
    """What starts reading the rows of a file or of a data set of the hub, as they are.

    Raises:
        InputError: There is none, or of no known kind.
        MissingExtraError: Parquet or the hub is asked for and the extra `hf` is not installed.
    """
    path = Path(name)
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if _is_data(entry))[:5]
        raise InputError(
            f"{name}: a folder, not a file", mend=f"Name a file in it: {', '.join(inside) or 'it holds no data file'}"
        )
    if not path.exists():
        hub = _HUB_NAME.fullmatch(name)
        if hub and not _is_data(path) and not path.parent.is_dir():
            return partial(read_hub, hub["name"], split or hub["split"])
        raise InputError(f"{name}: no such file", mend=_similar(path))
    if not _is_data(path):
        known = ", ".join(_READERS)
        raise InputError(
            f"{name}: unknown kind of file {path.suffix!r}",
            mend=f"Rename it to what it is: {known}; text files also .gz",
        )
    if path.stat().st_size == 0:
        raise InputError(f"{name}: the file is empty", mend="Name a file with at least one row")
    return partial(_READERS[suffix], path)


def _is_data(path: Path) -> bool:
    if path.suffix == ".gz":
        return path.with_suffix("").suffix in set(_READERS) - {".parquet"}
    return path.suffix in _READERS


def _similar(path: Path) -> str:
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=len(siblings) or 1)
    stem = path.name.partition(".")[0]
    meant = (name for name in close if difflib.SequenceMatcher(None, stem, name.partition(".")[0]).ratio() >= _NEAR)
    name = next(meant, None)
    return f"Did you mean {path.parent / name}?" if name else "Check the path; a hub data set is named org/name"


class Names:
    """The ids given so far, as 128-bit numbers: about 130 bytes a row.

    Args:
        source: The data set, for errors.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._own: dict[int, int] = {}
        self._equal: dict[int, int] = {}

    def name(self, raw: dict[str, Any], number: int, content: str) -> str:
        """The id of the next row: its own, else the first digits of a hash of its content, with `-2` if it repeats.

        Args:
            raw: The row as it was read.
            number: Its place, from 1.
            content: The hash.

        Raises:
            InputError: Another row has the same id of its own.
        """
        own = _own_id(raw)
        if own is None:
            key = int(content, 16)
            count = self._equal[key] = self._equal.get(key, 0) + 1
            return content[:16] if count == 1 else f"{content[:16]}-{count}"
        earlier = self._own.setdefault(int(digest(own), 16), number)
        if earlier != number:
            raise InputError(
                f"{self._source}: rows {earlier} and {number} have the same id {own!r}",
                mend="Make the ids unique, or rename the column: rows without an id are named by their content",
            )
        return own


def _own_id(raw: dict[str, Any]) -> str | None:
    value = next((raw[column] for column in OWN_IDS if column in raw), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip() and len(value) <= _LONGEST_ID and value.isprintable():
        return value
    return None


def _named(example: Example, name: str) -> Example:
    # dataclasses.replace looks every field up by name, which costs as much as reading the row did
    return Example(name, example.instruction, example.response, example.input, example.system, example.history)


def _as_json(raw: dict[str, Any]) -> str:
    text = json.dumps(raw, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_RAW else f"{text[:_LONGEST_RAW]}… ({len(text):,} characters)"
