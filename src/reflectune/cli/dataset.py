"""The rows that a command looks at: those of a data file, or one version of those of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from reflectune.errors import InputError, RunError
from reflectune.formats import open_source, parse_mapping
from reflectune.formats.source import Row
from reflectune.records import Version, VersionScores
from reflectune.recycling import STAGE
from reflectune.runs import HUMAN, RunDir, Standing, StoredRow
from reflectune.runs.export import PROVENANCE

Wanted = Literal["original", "Q", "A", "QA", "latest"]
"""Which version of a run's rows; `latest` is what stands in the data: what a person wrote, else the last reflection."""


@dataclass(slots=True)
class DataSet:
    """Rows to be looked at.

    Attributes:
        name: What they are called.
        rows: Each row's id and what stands in it.
        scores: What a student makes of them, by id, as far as the run was scored.
        run: The run's folder; `None` where they are of a data file.
        unread: How many rows of the file hold no pair that could be read.
    """

    name: str
    rows: list[tuple[str, Version]] = field(default_factory=list)
    scores: dict[str, VersionScores] = field(default_factory=dict)
    run: Path | None = None
    unread: int = 0


def is_run(name: str) -> bool:
    """Whether this is the folder of a run."""
    return (Path(name) / "state.sqlite").is_file()


def is_rewritten(path: Path) -> bool:
    """Whether any row of a run is; one whose data was only scored has the originals alone."""
    with RunDir(path, look=True) as folder:
        return folder.counts(STAGE).done > 0


def of_file(name: str, *, limit: int | None = None, mapping: str | None = None) -> DataSet:
    """The rows of a data file or of a data set of the hub.

    A row that a run wrote keeps the id that it has there, so that it is joined with what it came from.

    Raises:
        InputError: It cannot be read, or none of its rows can.
    """
    data = DataSet(name)
    for row in islice(open_source(name, parse_mapping(mapping) if mapping else None).rows(), limit):
        if row.example is None:
            data.unread += 1
        else:
            data.rows.append((_id(row), row.example.version))
    if not data.rows:
        raise InputError(f"{name}: no row holds a pair that can be read.", mend="Say which columns hold what: --map.")
    return data


def of_run(path: Path, version: Wanted = "latest", limit: int | None = None) -> tuple[DataSet, DataSet]:
    """The rewritten rows of a run: the originals, and a version of the same rows, without those that people rejected.

    Raises:
        RunError: No row has that version.
    """
    before, after = DataSet("original", run=path), DataSet(version, run=path)
    with RunDir(path, look=True) as folder:
        scored = {scores.id: scores.versions for scores in folder.scores()}
        found = ((row, standing) for row in folder.rows(STAGE) if (standing := _standing(row, version)))
        for row, standing in islice(found, limit):
            versions = row.result.versions if row.result else {}
            known = scored.get(row.id, {})
            _add(before, row.id, versions.get("original"), known.get("original"))
            _add(after, row.id, standing.version, None if standing.name == HUMAN else known.get(standing.name))
    if not after.rows:
        raise RunError(
            f"{path}: no row has been rewritten{'' if version == 'latest' else f' as {version}'}.",
            mend=f"See how far it is: reflectune runs show {path}",
        )
    return before, after


def originals(path: Path, limit: int | None = None) -> DataSet:
    """The rows of a run as they were read, whether or not they were rewritten."""
    data = DataSet("original", run=path)
    with RunDir(path, look=True) as folder:
        scored = {scores.id: scores.versions for scores in folder.scores()}
        examples = (row.example for row in folder.rows(STAGE) if row.example)
        for example in islice(examples, limit):
            _add(data, example.id, example.version, scored.get(example.id, {}).get("original"))
    return data


def _standing(row: StoredRow, version: Wanted) -> Standing | None:
    if row.standing is None or version == "latest":
        return row.standing
    versions = row.result.versions if row.result else {}
    return Standing(version, versions[version]) if version in versions else None


def _add(data: DataSet, name: str, version: Version | None, scores: VersionScores | None) -> None:
    if version is not None:
        data.rows.append((name, version))
        if scores is not None:
            data.scores[name] = scores


def _id(row: Row) -> str:
    origin = row.raw.get(PROVENANCE)
    own = origin.get("id") if isinstance(origin, dict) else None
    return own if isinstance(own, str) else row.example.id if row.example else ""
