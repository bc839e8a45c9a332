"""A data file as sharded Parquet, written by Ray Data beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

__all__ = ["parts_of", "write_parts"]

_ROWS_OF_A_PART = 50_000


def parts_of(file: Path) -> Path:
    """The folder of a data file's parts: `parquet/recycled` for `recycled.jsonl`."""
    return file.parent / "parquet" / file.stem


def write_parts(ray: Any, file: Path) -> int:
    """Write a JSONL file as `part-00000.parquet` and so on, in the file's order, in place of earlier parts.

    The parts hold what the file holds, so whatever was lost and done again in between, they cannot differ from it. They
    are read and written on the driver's node, where the file is.

    Returns:
        How many parts there are; none where the file holds no row.
    """
    folder = parts_of(file).resolve()
    building = folder.with_name(f".{folder.name}.part")
    for old in (building, folder):
        shutil.rmtree(old, ignore_errors=True)
    if not file.is_file() or not file.stat().st_size:
        return 0
    building.mkdir(parents=True)
    options = ray.data.DataContext.get_current().execution_options
    before, options.preserve_order = options.preserve_order, True
    try:
        rows = ray.data.read_json(f"local://{file.resolve()}", lines=True, file_extensions=None)
        rows.write_parquet(f"local://{building}", min_rows_per_file=_ROWS_OF_A_PART)
    finally:
        options.preserve_order = before
    parts = sorted(building.glob("*.parquet"))
    for number, part in enumerate(parts):
        part.rename(building / f"part-{number:05}.parquet")
    building.rename(folder)
    return len(parts)
