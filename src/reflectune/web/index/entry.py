"""A row of a run as the index has it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from reflectune.criteria import mean_score
from reflectune.language import length, prompt_language
from reflectune.records import Scored, Version, VersionScores
from reflectune.runs import HUMAN, Selected, StoredRow
from reflectune.web.index.folding import joined

__all__ = ["Entry", "Known", "entry_of", "text_of"]

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+|[^\w\s]|_")
_LONG = 200_000
"""Of a longer text only so many characters are compared."""


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of a row.

    Attributes:
        position: Its place in the input.
        mark: What tells that it has changed.
        row: The row.
        scores: What a student makes of its versions; `None` where it was not scored.
        selected: What `select` said of it; `None` where it never did.
    """

    position: int
    mark: str
    row: StoredRow
    scores: Scored | None = None
    selected: Selected | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as the index has it. What there is not is `None`, never 0.

    Attributes:
        position: Its place in the input.
        id: Its id.
        mark: What tells that it has changed.
        status: `rewritten`, `failed` or `pending`: what the oracle came to.
        human: What a person decided: `accept`, `edit`, `reject`; `stale` where that no longer holds; or nothing.
        reason: Why it failed.
        language: The language of its prompts.
        gates: The quality gates that marked it, each between commas.
        instruction_before: Words of the original question; characters in Chinese.
        instruction_after: Of what stands for it.
        response_before: The same of the response.
        response_after: Of what stands for it.
        score: The mean score of the first critique, 1 to 10.
        score_after: Of the critique of the last version.
        ifd_before: IFD of the original.
        ifd_after: IFD of what stands for the row; none of what a person wrote.
        rifd_before: r-IFD of the original.
        rifd_after: r-IFD of what stands for the row.
        change: The share of words and marks that differ, 0 to 1, whatever their order.
        kept: Whether `select` kept it.
        won: The version that `select` kept; empty where it kept none.
        why: The reason for what it said.
        title: The beginning of what stands for the row's question.
    """

    position: int
    id: str
    mark: str
    status: str
    human: str
    reason: str
    language: str
    gates: str
    instruction_before: int | None
    instruction_after: int | None
    response_before: int | None
    response_after: int | None
    score: float | None
    score_after: float | None
    ifd_before: float | None
    ifd_after: float | None
    rifd_before: float | None
    rifd_after: float | None
    change: float | None
    kept: bool | None
    won: str
    why: str
    title: str


_TITLE = 160


def entry_of(known: Known) -> Entry:
    """A row as the index has it."""
    row = known.row
    before = row.example.version if row.example else None
    after = row.standing.version if row.standing else (row.result.best if row.result and row.rejected else None)
    old = _scores(known.scores, "original")
    new = _scores(known.scores, row.standing.name if row.standing else "")
    shown = after or before
    return Entry(
        position=known.position,
        id=row.id,
        mark=known.mark,
        status="failed" if row.failure else "rewritten" if row.result else "pending",
        human=row.decision.verdict if row.decision else "stale" if row.stale else "",
        reason=row.failure.reason if row.failure else "",
        language=row.result.language if row.result else prompt_language(before.question) if before else "",
        gates=f",{','.join(row.gates)}," if row.gates else "",
        instruction_before=length(before.question) if before else None,
        instruction_after=length(after.question) if after else None,
        response_before=length(before.response) if before else None,
        response_after=length(after.response) if after else None,
        score=mean_score(row.result.rewrites[0].remarks) if row.result and row.result.rewrites else None,
        score_after=mean_score(row.result.after) if row.result else None,
        ifd_before=old.ifd_ppl,
        ifd_after=new.ifd_ppl,
        rifd_before=old.rifd_ppl,
        rifd_after=new.rifd_ppl,
        change=_difference(before, after) if before and after else None,
        kept=known.selected.kept if known.selected else None,
        won=(known.selected.version or "") if known.selected and known.selected.kept else "",
        why=known.selected.reason if known.selected else "",
        title=" ".join(shown.question[: 4 * _TITLE].split())[:_TITLE] if shown else "",
    )


def text_of(row: StoredRow) -> str:
    """Everything of a row that is searched: every version, what a person wrote among them."""
    return joined(text for version in _versions(row) for text in (version.instruction, version.input, version.response))


def _versions(row: StoredRow) -> Iterator[Version]:
    if row.example:
        yield row.example.version
    if row.result:
        yield from row.result.versions.values()
    if row.decision and row.decision.version:
        yield row.decision.version


def _scores(scored: Scored | None, name: str) -> VersionScores:
    known = scored.versions if scored and name != HUMAN else {}
    return next((scores for version, scores in known.items() if version == name), VersionScores())


def _difference(before: Version, after: Version) -> float:
    old, new = (Counter(_TOKEN.findall(f"{one.question}\n{one.response}"[:_LONG])) for one in (before, after))
    both = old.total() + new.total()
    return 1 - 2 * (old & new).total() / both if both else 0.0
