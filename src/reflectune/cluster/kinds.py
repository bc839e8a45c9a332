"""What types the columns of rows have: as JSON has them, over all rows, and never guessed from what a text looks like.

A column of several kinds is held as JSON text in all rows: no type of a table holds a number here and a list there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from reflectune.formats import to_json

__all__ = ["Kind", "columns_of", "kind_of", "table_of"]

_EXACT = 2**53
"""Up to which every integer is a floating-point number too."""
_LARGEST = 2**63
_MOST_FIELDS = 200
"""An object with more of them has names that are data, such as ids."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of a value.

    Attributes:
        name: `null`, `bool`, `int`, `long` (an integer that is no floating-point number), `float`, `text`, `list`,
            `object`, or `mixed` for whatever has no one type.
        inner: The kinds of an object's fields, by name; that of a list's elements, without one.
    """

    name: str
    inner: tuple[tuple[str, Kind], ...] = ()


_NULL, _MIXED = Kind("null"), Kind("mixed")
_BOOL, _INT, _LONG, _FLOAT, _TEXT = (Kind(name) for name in ("bool", "int", "long", "float", "text"))
_ALWAYS = {type(None): _NULL, bool: _BOOL, float: _FLOAT}
"""The kinds of values of which nothing else need be known."""
_WIDER = {frozenset(("int", "float")): _FLOAT, frozenset(("int", "long")): _LONG}


def kind_of(value: Any) -> Kind:
    """The kind of a JSON value."""
    if type(value) in _ALWAYS:
        return _ALWAYS[type(value)]
    if isinstance(value, int):
        return _INT if abs(value) <= _EXACT else _LONG if -_LARGEST <= value < _LARGEST else _MIXED
    if isinstance(value, str):
        return _TEXT if value.isascii() or _is_whole(value) else _MIXED
    if isinstance(value, list):
        return _of_parts("list", {"": reduce(_both, map(kind_of, value), _NULL)})
    return _of_parts("object", {name: kind_of(part) for name, part in value.items()})


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """The kind of every column of some rows, in the order in which they come up."""
    columns: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            columns[name] = _both(columns.get(name, _NULL), kind_of(value))
    return columns


def table_of(arrow: Any, rows: list[dict[str, Any]], columns: Mapping[str, Kind]) -> Any:
    """Rows as a table of pyarrow, whose columns have these kinds; what a row lacks is null."""
    held = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        kept = _type_of(arrow, kind)
        if kept is None:
            kept = arrow.string()
            values = [None if value is None else to_json(value).decode() for value in values]
        held[name] = arrow.array(values, kept)
    return arrow.table(held)


def _both(one: Kind, other: Kind) -> Kind:
    """The kind that holds values of both kinds."""
    if one == other or other is _NULL:
        return one
    if one is _NULL:
        return other
    if one.name != other.name:
        return _WIDER.get(frozenset((one.name, other.name)), _MIXED)
    parts = dict(one.inner)
    for name, kind in other.inner:
        parts[name] = _both(parts.get(name, _NULL), kind)
    return _of_parts(one.name, parts)


def _of_parts(name: str, parts: Mapping[str, Kind]) -> Kind:
    if len(parts) > _MOST_FIELDS or _MIXED in parts.values():
        return _MIXED
    return Kind(name, tuple(parts.items()))


def _type_of(arrow: Any, kind: Kind) -> Any:
    """The type of pyarrow that holds a kind; `None` where none does. What is always null is taken for text."""
    plain = {
        "null": arrow.string(),
        "bool": arrow.bool_(),
        "int": arrow.int64(),
        "long": arrow.int64(),
        "float": arrow.float64(),
        "text": arrow.string(),
    }
    if kind.name in plain:
        return plain[kind.name]
    parts = [(name, _type_of(arrow, part)) for name, part in kind.inner]
    if not parts or any(part is None for _, part in parts):  # Parquet has no object without fields
        return None
    return arrow.list_(parts[0][1]) if kind.name == "list" else arrow.struct(parts)


def _is_whole(text: str) -> bool:
    """Whether it is text of whole characters: half a surrogate pair has no place in a table."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
