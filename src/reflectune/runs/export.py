"""A run's data files: what was recycled, in the input's own columns, and what was not, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.formats import Mapping, convert, write_rows
from reflectune.runs.folder import RunDir, StoredRow

_STAGE = "recycle"


@dataclass(frozen=True, slots=True)
class Export:
    """How the rows of a run are written.

    Attributes:
        mapping: Which columns of the input hold what.
        fingerprint: Under which oracle, settings and prompts the rows were made.
        to: Another shape than the input's own.
        fill: Whether failed rows stand in the data too, as they were, with `recycled: false`. In another shape than the
            input's own, those that could not even be read are left out.
    """

    mapping: Mapping
    fingerprint: str
    to: str | None = None
    fill: bool = False

    def rows(self, run: RunDir) -> Iterator[dict[str, Any]]:
        """The rows to write, in input order."""
        for row in run.rows(_STAGE, self.fingerprint):
            if row.result is not None and row.result.rewritten:
                yield self._marked(self._written(row), recycled=True)
            elif self.fill and row.failure is not None and (row.example is not None or not self.to):
                yield self._marked(self._original(row), recycled=False)

    def _marked(self, row: dict[str, Any], *, recycled: bool) -> dict[str, Any]:
        """The row with a column that says whether it is recycled, where failed rows stand in the data too."""
        if not self.fill:
            return row
        own = {"recycled_original": row["recycled"]} if "recycled" in row else {}
        return row | own | {"recycled": recycled}

    def _written(self, row: StoredRow) -> dict[str, Any]:
        if row.result is None or row.example is None:
            raise ValueError(f"Row {row.id} is not recycled.")
        if self.to:
            return convert(row.example, row.result.best, self.to, others=self.mapping.other_columns(row.raw))
        return self.mapping.write(row.raw, row.result.best)

    def _original(self, row: StoredRow) -> dict[str, Any]:
        if self.to and row.example is not None:
            original = row.example.version
            return convert(row.example, original, self.to, others=self.mapping.other_columns(row.raw))
        return row.raw


def export(run: RunDir, how: Export, output: Path | None = None) -> Path:
    """Write `recycled.jsonl` and `failures.jsonl` into the run's folder, each whole or not at all.

    The data is written to `output` too, where that is named.

    Returns:
        The file that holds the data.

    Raises:
        RunError: A file cannot be written.
    """
    data = run.path / "recycled.jsonl"
    write_rows(data, how.rows(run))
    write_rows(run.path / "failures.jsonl", (failure.model_dump() for failure in run.failures(_STAGE, how.fingerprint)))
    if output is not None:
        write_rows(output, how.rows(run))
        return output
    return data
