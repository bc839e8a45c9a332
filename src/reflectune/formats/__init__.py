"""Instruction data sets in and out, in whatever shape they come.

    open_source("data.json") ─► Source.rows() ─► Row(number, raw, example | failure)
                                                       │
    write_rows("out.jsonl", rows) ◄── mapping.write(raw, version) or convert(example, version, "messages")

A *container* is how rows lie in a file: JSON, JSON lines, CSV, TSV, Parquet, or a data set of the Hugging Face hub. A
*shape* is how a row holds its pair: columns (alpaca, prompt and completion, seed tasks), a conversation (sharegpt,
messages) or a tree (oasst). Both are found out from the data; a `Mapping` says which shape and which columns.
"""

from reflectune.formats.convert import SHAPES_TO, ShapeTo, convert
from reflectune.formats.mapping import Mapping, parse_mapping
from reflectune.formats.source import OWN_IDS, Row, Source, open_source
from reflectune.formats.write import check_target, to_json, write_rows

__all__ = [
    "OWN_IDS",
    "SHAPES_TO",
    "Mapping",
    "Row",
    "ShapeTo",
    "Source",
    "check_target",
    "convert",
    "open_source",
    "parse_mapping",
    "to_json",
    "write_rows",
]
