"""The statistics of a run's rows before and after, one side in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reflectune.errors import MissingExtraError
from reflectune.evaluate import Comparison, Metric, Statistics, compare, stats
from reflectune.evaluate.plots import draw_each
from reflectune.records import VersionScores
from reflectune.recycling import STAGE
from reflectune.runs import RunDir, Standing, StoredRow

if TYPE_CHECKING:
    from reflectune.embedding import Embedder
    from reflectune.evaluate.statistics import Progress

__all__ = ["AFTER", "BEFORE", "Pictures", "before_after", "pictures"]

BEFORE, AFTER = "before", "after"
_Side = Literal["read", "before", "after"]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Distributions before and after.

    Attributes:
        drawn: Each as SVG whose colours a page's style replaces, by the figure that it shows.
        missing: How to get them, where the extra that draws them is not installed.
    """

    drawn: dict[Metric, str]
    missing: str = ""


def before_after(
    run: Path, *, embedder: Embedder | None = None, progress: Progress | None = None
) -> Comparison | Statistics | None:
    """The statistics of the rows that something stands for, as they were read and as they stand now.

    Of a run in which no row is rewritten they are those of the rows as they were read; of one without any rows there
    are none.

    Args:
        run: The run's folder.
        embedder: For coherence and the distance between instructions; left out without it.
        progress: Is told what is being done, how far it is, and of how many.

    Raises:
        MissingExtraError: The extra `stats` is not installed.
        RunError: There is no run.
    """
    with RunDir(run, look=True) as folder:

        def found(side: _Side) -> Statistics | None:
            standing = dict(_standing(folder, side))
            scores = _scores(folder, standing)
            rows = [(name, stands.version) for name, stands in standing.items()]
            return stats(rows, embedder=embedder, scores=scores, progress=progress) if rows else None

        after = found("after")
        if after is None:
            return found("read")
        before = found("before")
    return compare(before, after) if before else after


def pictures(found: Comparison | Statistics, texts: Mapping[str, str] | None = None) -> Pictures:
    """Pictures of statistics, for a page.

    Args:
        found: The statistics.
        texts: What `PICTURE_TEXTS` and the two sides are called in another language.
    """
    texts = texts or {}
    before, after = (texts.get(side, side) for side in (BEFORE, AFTER))
    named = {before: found.before, after: found.after} if isinstance(found, Comparison) else {before: found}
    try:
        return Pictures(draw_each(named, lambda text: texts.get(text, text)))
    except MissingExtraError as missing:
        return Pictures({}, missing.mend)


def _standing(folder: RunDir, side: _Side) -> Iterator[tuple[str, Standing]]:
    """What stands for each row of a side, by the row's id."""
    for row in folder.rows(STAGE):
        if (standing := _of(row, side)) is not None:
            yield row.id, standing


def _of(row: StoredRow, side: _Side) -> Standing | None:
    if side == "after" or row.example is None:
        return row.standing if row.example else None
    return Standing("original", row.example.version) if side == "read" or row.standing else None


def _scores(folder: RunDir, standing: dict[str, Standing]) -> dict[str, VersionScores] | None:
    """What the student makes of the versions that stand; `None` where it scored none of them."""
    found: dict[str, VersionScores] = {}
    for scored in folder.scores():
        stands = standing.get(scored.id)
        if stands is not None and stands.name != "human" and stands.name in scored.versions:
            found[scored.id] = scored.versions[stands.name]
    return found or None
