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
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True
    here = {_name_of_this_node(ray): 0.001}
    with ray.data.DataContext.current(context):
        rows = ray.data.read_json(str(file.resolve()), lines=True, file_extensions=None, resources=here)
        rows.write_parquet(str(building), min_rows_per_file=_ROWS_OF_A_PART, ray_remote_args={"resources": here})
    parts = sorted(building.glob("*.parquet"))
    for number, part in enumerate(parts):
        part.rename(building / f"part-{number:05}.parquet")
    building.rename(folder)
    return len(parts)


def _name_of_this_node(ray: Any) -> str:
    """The resource that only this node has."""
    own = ray.get_runtime_context().get_node_id()
    return next(f"node:{node['NodeManagerAddress']}" for node in ray.nodes() if node["NodeID"] == own)
