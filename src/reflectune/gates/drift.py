"""Drift: a rewrite in another language than its original."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reflectune.gates.marks import Candidate, Half, Mark, halves, nothing, quote
from reflectune.language import detect

_SHOWN = 120


class Drift:
    """Marks rewrites that are in another language than what they replace, where both are plain to tell.

    A row whose original already had its halves in two languages (a translation) may change its response's language.
    """

    def look(self, candidate: Candidate) -> Iterator[Mark]:
        """Compare each rewritten half with the original's."""
        instruction, response = halves(candidate)
        if found := _drifted(instruction):
            yield _mark(candidate.id, instruction, *found)
        if (found := _drifted(response)) and not _translates(instruction, response):
            yield _mark(candidate.id, response, *found)

    def conclude(self) -> Iterable[Mark]:
        """Nothing: each row is judged by itself."""
        return nothing()


def _drifted(half: Half) -> tuple[str, str] | None:
    """The languages of the original and of the rewrite, where they differ."""
    if not half.rewritten:
        return None
    new = detect(half.new)
    old = detect(half.old) if new else None
    return (old, new) if old and new and old != new else None


def _translates(instruction: Half, response: Half) -> bool:
    asked, answered = detect(instruction.old), detect(response.old)
    return bool(asked and answered and asked != answered)


def _mark(row: str, half: Half, old: str, new: str) -> Mark:
    return Mark(
        id=row,
        gate="drift",
        subject=half.subject,
        detail=f"The {half.subject} went from {old} to {new}.",
        found=quote(half.new, _SHOWN),
        there=quote(half.old, _SHOWN),
    )
