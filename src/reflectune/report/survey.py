"""One walk over the rows of a run: what is needed to choose rows, and what the critiques came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from reflectune.criteria import mean_score
from reflectune.evaluate.figures import words
from reflectune.records import Recycled, Reflection, Remark, Version
from reflectune.report.choice import Known
from reflectune.runs import RunDir, StoredRow

__all__ = ["Critiques", "Survey", "before_of", "survey"]

_HIGHEST = 10

Ratios = tuple[float | None, float | None]
"""IFD of the original and of the version that stands."""


@dataclass(slots=True)
class Critiques:
    """How often each score was given, by what was judged and by which criterion.

    Attributes:
        before: Of the originals: counts of the scores 0 to 10.
        after: Of the versions that the rewriting led to, where that was asked for.
    """

    before: dict[tuple[Reflection, str], list[int]] = field(default_factory=dict)
    after: dict[tuple[Reflection, str], list[int]] = field(default_factory=dict)

    def look(self, result: Recycled) -> None:
        """Take in one more row."""
        for remarks, counted in ((before_of(result), self.before), (result.after, self.after)):
            for remark in remarks:
                counts = counted.setdefault((remark.subject, remark.criterion), [0] * (_HIGHEST + 1))
                counts[remark.score] += 1


@dataclass(slots=True)
class Survey:
    """What a walk over the rows found.

    Attributes:
        known: What is known of each row that something stands for, in input order.
        critiques: What the critiques of the rewritten rows came to.
        scored: How many rows the student has scored.
        decided: How many rows people accepted, edited and rejected, and how many of their decisions are stale.
    """

    known: list[Known] = field(default_factory=list)
    critiques: Critiques = field(default_factory=Critiques)
    scored: int = 0
    decided: dict[str, int] = field(default_factory=dict)


def survey(folder: RunDir, stage: str) -> Survey:
    """Walk over the rows of a run.

    Args:
        folder: The run.
        stage: Whose results are looked at.
    """
    ratios = dict(_ratios(folder))
    found = Survey(scored=len(ratios))
    for row in folder.rows(stage):
        _count_decision(found, row)
        if row.result is not None and row.result.rewritten:
            found.critiques.look(row.result)
        standing = row.standing
        if standing is not None and row.example is not None:
            of_row = ratios.get(row.id, {})
            both = of_row.get("original"), of_row.get(standing.name)
            found.known.append(_known(row.id, row.example.version, standing.version, row.result, both))
    return found


def before_of(result: Recycled) -> tuple[Remark, ...]:
    """The critique of the original: the first that there is on each criterion."""
    remarks: dict[tuple[str, str], Remark] = {}
    for rewrite in result.rewrites:
        for remark in rewrite.remarks if rewrite.of == "original" else ():
            remarks.setdefault((remark.subject, remark.criterion), remark)
    return tuple(remarks.values())


def _ratios(folder: RunDir) -> Iterator[tuple[str, dict[str, float | None]]]:
    for scored in folder.scores():
        yield scored.id, {name: scores.ifd_ppl for name, scores in scored.versions.items()}


def _known(name: str, old: Version, new: Version, result: Recycled | None, ifd: Ratios) -> Known:
    edited = result is None or result.best != new
    return Known(
        id=name,
        asked=(words(old.question), words(new.question)),
        answered=(words(old.response), words(new.response)),
        critique=mean_score(before_of(result)) if result else None,
        critique_after=None if edited or result is None else mean_score(result.after),
        ifd=ifd[0],
        ifd_after=ifd[1],
    )


def _count_decision(found: Survey, row: StoredRow) -> None:
    told = row.decision.verdict if row.decision else "stale" if row.stale else None
    if told is not None:
        found.decided[told] = found.decided.get(told, 0) + 1
