"""Files of raw replies, a page at a time: JSON lines of any length, or one JSON list."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from reflectune.page.text import cut

__all__ = ["Page", "Part", "read_page"]

_EACH = 20
_MOST = 20_000
"""Characters of a value that are shown."""
_LARGEST_LIST = 256 << 20
"""Bytes of a JSON list, which has to be read as a whole."""
_FILES = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A value of a record, ready to be shown.

    Attributes:
        name: What it is called; empty for a record that is no object.
        text: The value: a text as it is, anything else as JSON.
        long: Whether it takes more than a line.
    """

    name: str
    text: str
    long: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of a file.

    Attributes:
        first: The number of the first one, from 1.
        total: How many there are in the file.
        number: Which page it is, from 1.
        pages: How many pages there are.
        records: Each record's values.
    """

    first: int
    total: int
    number: int
    pages: int
    records: tuple[tuple[Part, ...], ...]


def read_page(path: Path, number: int) -> Page:
    """A page of a file of replies.

    Args:
        path: The file: `.json` for a list, else JSON lines.
        number: Which page, from 1; the nearest one that there is.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON, or too large a list.
    """
    status = path.stat()
    if path.suffix == ".json":
        if status.st_size > _LARGEST_LIST:
            raise ValueError("The list is too large to be shown.")
        every = _list(path, status.st_mtime_ns, status.st_size)
        total = len(every)
    else:
        places = _lines(path, status.st_mtime_ns, status.st_size)
        total = len(places) - 1
    pages = max(1, -(-total // _EACH))
    number = min(max(number, 1), pages)
    start = (number - 1) * _EACH
    some = every[start : start + _EACH] if path.suffix == ".json" else _some(path, places, start)
    return Page(start + 1, total, number, pages, tuple(map(_parts, some)))


@lru_cache(maxsize=1)
def _list(path: Path, _time: int, _size: int) -> list[Any]:
    found = orjson.loads(path.read_bytes())
    return found if isinstance(found, list) else [found]


@lru_cache(maxsize=_FILES)
def _lines(path: Path, _time: int, size: int) -> array[int]:
    """Where each line begins, and the end of the last one."""
    places = array("Q", [0])
    with path.open("rb") as file:
        for line in file:
            places.append(places[-1] + len(line))
    return places if size else array("Q", [0])


def _some(path: Path, places: array[int], start: int) -> list[Any]:
    with path.open("rb") as file:
        file.seek(places[start])
        lines = [
            file.read(places[place + 1] - places[place]) for place in range(start, min(start + _EACH, len(places) - 1))
        ]
    return [orjson.loads(line) if line.strip() else None for line in lines]


def _parts(record: Any) -> tuple[Part, ...]:
    if not isinstance(record, dict):
        return (_part("", record),)
    return tuple(_part(str(name), value) for name, value in record.items())


def _part(name: str, value: Any) -> Part:
    said = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return Part(name, cut(said, _MOST), "\n" in said or len(said) > 80)  # noqa: PLR2004 - about a line
