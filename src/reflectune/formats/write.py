"""Write rows to a file, whole or not at all."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from reflectune.errors import SettingsError
from reflectune.files import replacing
from reflectune.optional import load_optional

_BATCH = 1_000


def check_target(path: str | Path) -> None:
    """Check, before there are any rows, that they could be written to a file of this name.

    Raises:
        SettingsError: The name ends in something that cannot be written.
        MissingExtraError: Parquet is asked for and the extra `hf` is not installed.
    """
    path = Path(path)
    writer, _ = _writer_of(path)
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(
            f"{path}: there is no folder {path.parent} to write to", mend="Make it, or name another place"
        )
    if writer is _WRITERS[".parquet"]:
        load_optional("pyarrow", str(path))


def write_rows(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows to `.jsonl`, `.json`, `.csv` (the text ones also `.gz`) or `.parquet`, by the name's end; UTF-8.

    The file appears under its name only when it is complete and on the disk; one row is in memory at a time (a thousand
    for Parquet). A value that CSV cannot hold is written as JSON, and null as an empty field.

    Args:
        path: Where to write; an earlier file is replaced.
        rows: What to write. CSV and Parquet take the columns of the first rows, and every row must fit them.

    Returns:
        How many rows were written.

    Raises:
        SettingsError: The name ends in something else, the place cannot be written, or the rows do not fit it.
        MissingExtraError: Parquet is asked for and the extra `hf` is not installed.
    """
    path = Path(path)
    writer, packed = _writer_of(path)
    try:
        with replacing(path) as part, part.open("wb") as disk:
            if packed:  # no name and no time inside, so that equal rows give equal files
                with gzip.GzipFile(filename="", mode="wb", fileobj=disk, mtime=0) as stream:
                    count = writer(stream, rows, path)  # type: ignore[arg-type]
            else:
                count = writer(disk, rows, path)
            disk.flush()
            os.fsync(disk.fileno())
    except OSError as fault:
        raise SettingsError(
            f"{path}: cannot be written: {fault.strerror or fault}", mend="Name another place"
        ) from fault
    return count


def _write_lines(stream: BinaryIO, rows: Iterable[dict[str, Any]], path: Path) -> int:
    count = 0
    for count, row in enumerate(rows, start=1):
        stream.write(_json(row, path, count) + b"\n")
    return count


def _write_array(stream: BinaryIO, rows: Iterable[dict[str, Any]], path: Path) -> int:
    count = 0
    stream.write(b"[")
    for count, row in enumerate(rows, start=1):
        stream.write((b",\n" if count > 1 else b"\n") + _json(row, path, count))
    stream.write(b"\n]\n")
    return count


def _write_csv(stream: BinaryIO, rows: Iterable[dict[str, Any]], path: Path) -> int:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)  # lines end in CR LF, as RFC 4180 has it, so that either of them inside a field is quoted
    header: list[str] = []
    count = 0
    for count, row in enumerate(rows, start=1):
        if not header:
            header = list(row)
            writer.writerow(header)
        _refuse_new_columns(row, header, path, count)
        try:
            writer.writerow([_cell(row.get(column), path, count) for column in header])
        except UnicodeEncodeError as fault:
            raise _misfit(path, count, f"a text holds half of a surrogate pair: {fault.reason}") from fault
    text.detach()
    return count


def _write_parquet(stream: BinaryIO, rows: Iterable[dict[str, Any]], path: Path) -> int:
    pa, pq = load_optional("pyarrow", str(path)), load_optional("pyarrow.parquet", str(path))
    source = iter(rows)
    count, schema, writer = 0, None, None
    with ExitStack() as stack:
        for batch in _batches(source):
            try:
                if schema is None or writer is None:
                    columns = dict.fromkeys(column for row in batch for column in row)
                    schema = _schema(pa, [{column: row.get(column) for column in columns} for row in batch])
                    writer = stack.enter_context(pq.ParquetWriter(stream, schema))
                for number, row in enumerate(batch, start=count + 1):
                    _refuse_new_columns(row, schema.names, path, number)
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            except (pa.ArrowException, UnicodeEncodeError) as fault:
                raise _misfit(path, count + 1, f"this or one of the next {len(batch)} does not fit: {fault}") from fault
            count += len(batch)
        if writer is None:
            stack.enter_context(pq.ParquetWriter(stream, pa.schema([])))
    return count


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for first in rows:
        yield list(chain([first], islice(rows, _BATCH - 1)))


def _schema(pa: Any, batch: list[dict[str, Any]]) -> Any:
    """The types of the first rows; a column that is null in all of them is taken for text."""
    found = pa.Table.from_pylist(batch).schema
    return pa.schema([field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in found])


def _refuse_new_columns(row: dict[str, Any], known: Iterable[str], path: Path, number: int) -> None:
    if extra := row.keys() - set(known):
        raise _misfit(path, number, f"it has the column {min(extra)!r}, which the first rows lack")


def _cell(value: Any, path: Path, number: int) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return _json(value, path, number).decode()


def to_json(value: Any) -> bytes:
    """A value of a row as JSON, in UTF-8 with no needless escapes; dates and decimals as text.

    Raises:
        TypeError: It holds what has no place in JSON.
    """
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair has no UTF-8, but JSON has an escape for it
        return json.dumps(value, default=_plain).encode()


def _json(value: Any, path: Path, number: int) -> bytes:
    try:
        return to_json(value)
    except TypeError as fault:
        raise _misfit(path, number, str(fault)) from fault


def _plain(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise TypeError(f"a value of the type {type(value).__name__} has no place in JSON")


def _misfit(path: Path, number: int, what: str) -> SettingsError:
    return SettingsError(
        f"{path}: row {number} cannot be written: {what}", mend="JSON lines hold any row: end the name in .jsonl"
    )


_WRITERS: dict[str, Callable[[BinaryIO, Iterable[dict[str, Any]], Path], int]] = {
    ".jsonl": _write_lines,
    ".json": _write_array,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _writer_of(path: Path) -> tuple[Callable[[BinaryIO, Iterable[dict[str, Any]], Path], int], bool]:
    """What writes a file of this name, and whether it is to be packed."""
    packed = path.suffix == ".gz"
    suffix = path.with_suffix("").suffix if packed else path.suffix
    writer = _WRITERS.get(suffix)
    if writer is None or (packed and suffix == ".parquet"):
        raise SettingsError(f"{path}: cannot write this kind of file", mend=f"End its name in {', '.join(_WRITERS)}")
    return writer, packed
