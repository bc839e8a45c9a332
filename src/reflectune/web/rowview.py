"""A row of a run as its page shows it: versions side by side, each after the critique that led to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reflectune.criteria import mean_score
from reflectune.language import length
from reflectune.page.text import visible
from reflectune.records import Remark, Rewrite, Scored, Version, VersionScores
from reflectune.runs import HUMAN, Selected, StoredRow
from reflectune.web.diff import LONGEST, Piece, difference

__all__ = ["FIELDS", "Critique", "Field", "Shown", "Side", "shown_row", "sides_of"]

_CUT = 4_000
"""Of a text that is too long to compare so many characters are shown at first."""
FIELDS = ("instruction", "input", "response")


@dataclass(frozen=True, slots=True)
class Field:
    """A text of a version.

    Attributes:
        name: `instruction`, `input` or `response`.
        pieces: What it says, with what changed from the original.
        compared: Whether the pieces say what changed.
        more: How many characters are not shown.
    """

    name: str
    pieces: tuple[Piece, ...]
    compared: bool = True
    more: int = 0


@dataclass(frozen=True, slots=True)
class Critique:
    """What the oracle said of a version before it wrote the next one.

    Attributes:
        of: The version that it criticised.
        kind: What it rewrote then; `after` where it only looked.
        remarks: Criterion by criterion.
        mean: The mean score.
        link: How the weak instruction led to the weak response.
        candidates: How many rewrites there were to choose from.
        choice: Which one was taken, from 1.
        reason: Why that one.
    """

    of: str
    kind: str
    remarks: tuple[Remark, ...]
    mean: float | None
    link: str = ""
    candidates: int = 0
    choice: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One version.

    Attributes:
        name: Its name.
        critique: What led to it; `None` for the original, and for what a person wrote.
        after: The critique of it, where one of the result was asked for.
        fields: Its texts.
        words: How long its response is, in words; in Chinese in characters.
        scores: What the student makes of it; `None` where it was not scored.
        standing: Whether it stands for the row in the data.
        won: Whether `select` kept it.
    """

    name: str
    critique: Critique | None
    after: Critique | None
    fields: tuple[Field, ...]
    words: int
    scores: VersionScores | None
    standing: bool
    won: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """All that the page of a row shows.

    Attributes:
        position: Its place in the input.
        row: The row.
        sides: Its versions.
        scored: Whether a student scored it.
        lacks: What could not be scored, and why.
        selected: What `select` said of it.
        outdated: Whether people decided otherwise since it did.
        edit: What an edit begins with.
    """

    position: int
    row: StoredRow
    sides: tuple[Side, ...]
    scored: bool
    lacks: tuple[str, ...]
    selected: Selected | None
    outdated: bool
    edit: Version | None


def shown_row(position: int, row: StoredRow, scores: Scored | None, selected: Selected | None) -> Shown:
    """Put a row together for its page."""
    outdated = selected is not None and _outdated(row, selected)
    return Shown(
        position=position,
        row=row,
        sides=tuple(_sides(row, scores, None if outdated else selected)),
        scored=scores is not None,
        lacks=tuple(f"{lack.version}: {lack.detail}" for lack in scores.unscored) if scores else (),
        selected=selected,
        outdated=outdated,
        edit=_begin(row),
    )


def sides_of(row: StoredRow) -> dict[str, Version]:
    """The versions of a row by their names, what a person wrote among them, in the order in which they were made."""
    found: dict[str, Version] = {"original": row.example.version} if row.example else {}
    versions = row.result.versions if row.result else {}
    found |= {name: versions[name] for name in ("Q", "A", "QA") if name in versions}
    decision = row.decision or row.stale
    if decision and decision.version:
        found[HUMAN] = decision.version
    return found


def _sides(row: StoredRow, scores: Scored | None, selected: Selected | None) -> Iterator[Side]:
    versions = sides_of(row)
    rewrites = {rewrite.makes: rewrite for rewrite in row.result.rewrites} if row.result else {}
    known: dict[Any, VersionScores] = dict(scores.versions) if scores else {}
    standing = row.standing.name if row.standing else ""
    after = row.result.after if row.result else ()
    best = row.result.best_name if row.result and after else ""
    for name, version in versions.items():
        original = versions["original"] if name != "original" else None
        rewrite = rewrites.get(name)  # type: ignore[call-overload]
        yield Side(
            name=name,
            critique=_critique(rewrite) if rewrite else None,
            after=Critique("", "after", after, mean_score(after)) if name == best else None,
            fields=tuple(_fields(version, original)),
            words=length(version.response),
            scores=known.get(name),
            standing=name == standing,
            won=bool(selected and selected.kept and selected.version == name),
        )


def _fields(version: Version, original: Version | None) -> Iterator[Field]:
    for name in FIELDS:
        text: str = getattr(version, name)
        before: str = getattr(original, name) if original else text
        if text or before:
            yield _field(name, visible(before), visible(text))


def _field(name: str, before: str, text: str) -> Field:
    if max(len(before), len(text)) > LONGEST:
        return Field(name, (Piece("same", text[:_CUT]),), compared=before == text, more=max(len(text) - _CUT, 0))
    pieces = difference(before, text)
    if pieces is None:
        return Field(name, (Piece("same", text),), compared=False)
    return Field(name, tuple(pieces))


def _critique(rewrite: Rewrite) -> Critique:
    ballot = rewrite.ballot
    return Critique(
        of=rewrite.of,
        kind=rewrite.kind,
        remarks=rewrite.remarks,
        mean=mean_score(rewrite.remarks),
        link=rewrite.link,
        candidates=len(ballot.candidates) if ballot else 0,
        choice=ballot.choice + 1 if ballot else 0,
        reason=ballot.reason if ballot else "",
    )


def _outdated(row: StoredRow, selected: Selected) -> bool:
    """Whether `select` would say something else now because of what people decided since."""
    if row.rejected:
        return selected.kept
    edited = row.standing is not None and row.standing.name == HUMAN
    if edited and row.gates and selected.reason.startswith("gate-"):
        return False  # a marked row is left out, whoever wrote it
    return selected.reason == "rejected-by-hand" or edited != (selected.reason == "edited-by-hand")


def _begin(row: StoredRow) -> Version | None:
    """What an edit begins with: what a person wrote before, else what stands, else the furthest version."""
    decision = row.decision or row.stale
    if decision and decision.version:
        return decision.version
    if row.result is None:
        return None
    return row.result.best
