"""A run's data files: what was recycled, in the input's own columns, and what was not, with the reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.errors import RunError
from reflectune.formats import Mapping, convert, write_rows
from reflectune.records import Example, Recycled, Version
from reflectune.runs.entries import StoredRow
from reflectune.runs.folder import RunDir

_STAGE = "recycle"
PROVENANCE = "reflectune"
"""The column that says where a row comes from."""
IN_FILE = "decisions in "
"""Before the name of a data file: the note of which decisions it follows."""


@dataclass(frozen=True, slots=True)
class Export:
    """How the rows of a run are written.

    Attributes:
        mapping: Which columns of the input hold what.
        to: Another shape than the input's own.
        fill: Whether failed rows stand in the data too, as they were, with `recycled: false`. In another shape than the
            input's own, those that could not even be read are left out.
        provenance: Whether each row carries a column that says where it comes from.
        drop: The quality gates whose marked rows are left out.
    """

    mapping: Mapping
    to: str | None = None
    fill: bool = False
    provenance: bool = True
    drop: tuple[str, ...] = ()

    def written(self, row: StoredRow) -> dict[str, Any] | None:
        """The row as it is written; `None` where it is left out."""
        if row.rejected:
            return None
        if row.standing is not None:
            return None if set(self.drop) & set(row.gates) else self._marked(self._recycled(row), row, recycled=True)
        if self.fill and row.failure is not None and (row.example is not None or not self.to):
            return self._marked(self._original(row), row, recycled=False)
        return None

    def _marked(self, written: dict[str, Any], row: StoredRow, *, recycled: bool) -> dict[str, Any]:
        """The row with the columns that say whether it is recycled, and where it comes from."""
        own: dict[str, Any] = {}
        if self.fill:
            own["recycled"] = recycled
        if self.provenance:
            own[PROVENANCE] = provenance(row)
        return with_own(written, own)

    def _recycled(self, row: StoredRow) -> dict[str, Any]:
        if row.standing is None or row.example is None:
            raise ValueError(f"Row {row.id} is not recycled.")
        return self.shaped(row.raw, row.example, row.standing.version)

    def _original(self, row: StoredRow) -> dict[str, Any]:
        if self.to and row.example is not None:
            return self.shaped(row.raw, row.example, row.example.version)
        return row.raw

    def shaped(self, raw: dict[str, Any], example: Example, version: Version) -> dict[str, Any]:
        """A row with a version in it, in the input's own columns or in another shape."""
        if self.to:
            return convert(example, version, self.to, others=self.mapping.other_columns(raw))
        return self.mapping.write(raw, version)


def with_own(written: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A row with columns of ours; what it holds under the same names stays under another one."""
    earlier = {f"{name}_original": written[name] for name in own if name in written}
    return written | earlier | own


def export(
    run: RunDir, how: Export, output: Path | None = None, look: Callable[[StoredRow], None] | None = None
) -> int:
    """Write `recycled.jsonl` and `failures.jsonl` into the run's folder, each whole or not at all.

    Where people rejected rows, these go to `rejected.jsonl`. The data is written to `output` too, where that is named.

    Args:
        run: The run.
        how: How its rows are written.
        output: A further file for the data.
        look: Is shown every row on the way.

    Returns:
        How many rows were written.

    Raises:
        SettingsError: A file cannot be written.
    """
    decided = run.decisions.mark()
    count = write_rows(run.path / "recycled.jsonl", written_rows(run, how, look))
    run.remember(IN_FILE + "recycled.jsonl", decided)
    _write_rejected(run)
    write_rows(run.path / "failures.jsonl", (failure.model_dump() for failure in run.failures(_STAGE)))
    if output is not None:
        write_rows(output, written_rows(run, how))
    return count


def written_rows(run: RunDir, how: Export, look: Callable[[StoredRow], None] | None = None) -> Iterator[dict[str, Any]]:
    """The rows to write, in input order; each row of the run is shown to `look` on the way."""
    for row in run.rows(_STAGE):
        if look is not None:
            look(row)
        if (written := how.written(row)) is not None:
            yield written


def _write_rejected(run: RunDir) -> None:
    """Write down what is left out because a person rejected it; no file where there is nothing."""
    path = run.path / "rejected.jsonl"
    decided = run.decisions.all()
    found = [row for name in decided for row in run.rows(_STAGE, row=name) if row.rejected]
    if found:
        write_rows(path, map(_rejected, found))
    else:
        path.unlink(missing_ok=True)


def _rejected(row: StoredRow) -> dict[str, Any]:
    decision, versions = row.decision, row.result.versions if row.result else {}
    of = decision.of if decision else "original"
    version = versions[of].model_dump() if of in versions else None
    return {"id": row.id, "of": of, "note": decision.note if decision else "", "version": version}


def export_of(run: RunDir, *, to: str | None = None, fill: bool = False, provenance: bool = True) -> Export:
    """How the rows of a run are written.

    Raises:
        RunError: The run never came to reading its data.
    """
    mapping = run.remembered("mapping")
    if mapping is None:
        raise RunError(f"The run {run.path} holds no data yet.", mend="Start it with `reflectune recycle`.")
    return Export(Mapping.model_validate_json(mapping), to, fill, provenance, run.marks.dropped)


def provenance(row: StoredRow) -> dict[str, Any]:
    """Where a row comes from: its id, the version that was chosen, who wrote it by which prompts, and every score.

    A row that a person edited is of the version `human`.

    The scores are a flat list, which CSV, Parquet and `datasets` hold as it is. Each is of the version that was
    criticised, not of the one that the critique led to.
    """
    recycled = row.result is not None and row.result.rewritten
    return {
        "id": row.id,
        "version": row.standing.name if row.standing else "original",
        "human": row.decision.verdict if row.decision else "",
        "oracle": row.maker.oracle if row.maker and recycled else "",
        "prompts": row.maker.prompts if row.maker and recycled else "",
        "failure": row.failure.reason if row.failure else "",
        "gates": ",".join(row.gates),
        "scores": list(_scores(row.result)) if row.result else [],
    }


def _scores(recycled: Recycled) -> Iterator[dict[str, Any]]:
    critiques = [
        *((rewrite.of, rewrite.remarks) for rewrite in recycled.rewrites),
        (recycled.best_name, recycled.after),
    ]
    for criticised, remarks in critiques:
        for remark in remarks:
            yield {"version": criticised, **remark.model_dump(include={"subject", "criterion", "score"})}
