"""How the rows of the input lie in a run's database."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from reflectune.errors import InputError
from reflectune.formats import to_json
from reflectune.records import Example, Message
from reflectune.runs.entries import IncomingRow


def columns_of(row: IncomingRow) -> tuple[int, str, str, bytes | None, bytes | None, bytes]:
    """A row as its table has it: position, id, hash of its content, failure, example, the row as it was read."""
    if row.example is not None:
        example = row.example
        return row.number, example.id, example.content_hash(), None, orjson.dumps(example), _packed(row)
    failure = row.failure
    if failure is None:
        raise ValueError(f"Row {row.number} has neither an example nor a failure.")
    return row.number, failure.id, "", failure.model_dump_json().encode(), None, _packed(row)


def _packed(row: IncomingRow) -> bytes:
    """The row as JSON. Not by orjson, which turns NaN into null and knows no large integers nor half characters."""
    try:
        return to_json(row.raw)
    except TypeError as error:
        raise InputError(f"Row {row.number}: {error}.", mend="Leave that column out.") from error


def example_of(name: str, packed: bytes) -> Example:
    """An example, by its id and what its table has of it."""
    fields = orjson.loads(packed)
    history = tuple(Message(**turn) for turn in fields.pop("history"))
    return Example(**(fields | {"id": name, "history": history}))


def only(row: str | Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The SQL condition that a row is among those that are wanted, by id, and its parameters."""
    if row is None:
        return "", ()
    wanted = (row,) if isinstance(row, str) else tuple(row)
    return f" WHERE rows.id IN ({', '.join('?' * len(wanted))})", wanted
