"""A data file as sharded Parquet, written by Ray Data beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from reflectune.cluster.kinds import Kind, columns_of, table_of
from reflectune.optional import load_optional

__all__ = ["parts_of", "spans_of", "table_from", "write_parts"]

_ROWS_OF_A_PART = 50_000


def parts_of(file: Path) -> Path:
    """The folder of a data file's parts: `parquet/recycled` for `recycled.jsonl`."""
    return file.parent / "parquet" / file.stem


def write_parts(ray: Any, file: Path) -> int:
    """Write a JSONL file as `part-00000.parquet` and so on, in the file's order, in place of earlier parts.

    The parts hold what the file holds, so whatever was lost and done again in between, they cannot differ from it. They
    are read and written on the driver's node, where the file is. Earlier parts stay until the new ones are whole.

    Returns:
        How many parts there are; none where the file holds no row.
    """
    folder = parts_of(file).resolve()
    building, old = (folder.with_name(f".{folder.name}.{name}") for name in ("part", "old"))
    for left in (building, old):
        shutil.rmtree(left, ignore_errors=True)
    count = _build(ray, file.resolve(), building) if file.is_file() and file.stat().st_size else 0
    if folder.exists():
        folder.rename(old)
    if count:
        building.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return count


def spans_of(file: Path, rows: int = _ROWS_OF_A_PART) -> Iterator[tuple[int, int]]:
    """Where in a file so many lines begin and end, in bytes."""
    begin = 0
    with file.open("rb") as lines:
        while length := sum(map(len, islice(lines, rows))):
            yield begin, begin + length
            begin += length


def table_from(spans: Any, file: Path, columns: Mapping[str, Kind]) -> Any:
    """The rows of some spans of a file, as a table; the spans are one too, with `begin` and `end`."""
    arrow = load_optional("pyarrow", "--engine ray", "ray")
    rows: list[dict[str, Any]] = []
    with file.open("rb") as lines:
        for span in spans.to_pylist():
            lines.seek(span["begin"])
            rows.extend(map(json.loads, lines.read(span["end"] - span["begin"]).splitlines()))
    return table_of(arrow, rows, columns)


def _build(ray: Any, file: Path, building: Path) -> int:
    building.mkdir(parents=True)
    with file.open("rb") as lines:
        columns = columns_of(map(json.loads, lines))
    spans = [{"begin": begin, "end": end} for begin, end in spans_of(file)]
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    here = {_name_of_this_node(ray): 0.001}
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(spans, override_num_blocks=len(spans)).map_batches(
            table_from,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"file": file, "columns": columns},
            resources=here,
        )
        rows.write_parquet(str(building), min_rows_per_file=_ROWS_OF_A_PART, ray_remote_args={"resources": here})
    parts = sorted(building.glob("*.parquet"))
    for number, part in enumerate(parts):
        part.rename(building / f"part-{number:05}.parquet")
    return len(parts)


def _name_of_this_node(ray: Any) -> str:
    """The resource that only this node has."""
    own = ray.get_runtime_context().get_node_id()
    return next(f"node:{node['NodeManagerAddress']}" for node in ray.nodes() if node["NodeID"] == own)
