"""Rows of tables: CSV, TSV, Parquet, and data sets of the Hugging Face hub."""

from __future__ import annotations

import csv
from pathlib import Path

from reflectune.errors import InputError
from reflectune.formats.files import Rows, read_lines
from reflectune.optional import load_optional

_LONGEST_FIELD = 2**31 - 1
_BATCH = 500


def read_csv(path: Path, delimiter: str = ",") -> Rows:
    """The rows of a CSV file whose first line names the columns; every value is a text.

    Raises:
        InputError: There is no usable header, quoting is broken, or a row has another number of fields; with the line.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # the default of 128 KiB is less than long responses
    reader = csv.reader(read_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as fault:
            raise InputError(
                f"{path}, line {reader.line_num}: broken CSV: {fault}",
                mend='Put a field that holds quotes, commas or newlines in double quotes and write each " in it twice',
            ) from fault
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = _header(fields, path, reader.line_num)
        elif len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        else:
            raise InputError(
                f"{path}, line {reader.line_num}: {len(fields)} fields where the header has {len(header)}",
                mend="Put fields that hold the delimiter or newlines in double quotes",
            )


def _header(fields: list[str], path: Path, line: int) -> list[str]:
    twice = sorted({field for field in fields if fields.count(field) > 1})
    if twice:
        raise InputError(
            f"{path}, line {line}: the first row names the columns, and names {', '.join(map(repr, twice))} twice",
            mend="Give each column its own name, or put a header above the first row if there is none",
        )
    return fields


def read_parquet(path: Path) -> Rows:
    """The rows of a Parquet file, a few hundred at a time.

    Raises:
        MissingExtraError: pyarrow is not installed.
        InputError: The file is not Parquet.
    """
    pa, pq = load_optional("pyarrow", str(path)), load_optional("pyarrow.parquet", str(path))
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as fault:
        raise InputError(f"{path}: not a sound Parquet file: {fault}", mend="Copy or download it again") from fault


def read_hub(name: str, split: str | None = None) -> Rows:
    """The rows of a data set of the Hugging Face hub (or of a folder that `datasets` can load), streamed.

    Args:
        name: The data set's name, such as `org/name`.
        split: Which split; needed where there are several and none is called train.

    Raises:
        MissingExtraError: datasets is not installed.
        InputError: There is no such data set or split, or it cannot be reached.
    """
    datasets = load_optional("datasets", name)
    try:
        splits = datasets.load_dataset(name, streaming=True)
        chosen = split or ("train" if "train" in splits or len(splits) > 1 else next(iter(splits)))
        if chosen not in splits:
            raise InputError(f"{name}: no split {chosen!r}", mend=f"Name one: {name}:SPLIT with {', '.join(splits)}")
        for row in splits[chosen]:
            yield dict(row)
    except (OSError, ValueError, RuntimeError) as fault:
        raise InputError(
            f"{name}: neither a file here nor a hub data set that can be loaded: {fault}",
            mend="Check the name and the network; a private data set needs HF_TOKEN in the environment",
        ) from fault
