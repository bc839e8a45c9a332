"""What other judges said whose verdicts lie in the same folder, or in one that is compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from reflectune.errors import InputError
from reflectune.evaluate.judge.agreement import Agreement
from reflectune.evaluate.judge.evaluation import Judged, agreements
from reflectune.evaluate.judge.kept import by_judge, read_verdicts
from reflectune.evaluate.scores import Score

_AND = " and "


def others_in(run: Path, judge: str) -> list[Judged]:
    """What other judges said whose verdicts lie in the same folder.

    Raises:
        RunError: They cannot be read.
    """
    return [judged for judged in by_judge(read_verdicts(run)) if judged.judge != judge]


def named(found: Iterable[tuple[Path, Judged]], own: Path) -> dict[str, Judged]:
    """Judges by what they are called: their labels, and with their folder where another one has the same label.

    Args:
        found: Judges, each after the folder in which their verdicts lie.
        own: The folder whose judges need not be told from others by its name.
    """
    each = {(folder.resolve(), judged.label): (folder, judged) for folder, judged in found}
    often = Counter(label for _, label in each)
    return {
        label if often[label] == 1 or place == own.resolve() else f"{label} in {folder}": judged
        for (place, label), (folder, judged) in each.items()
    }


def agreement_on_same(judged: Judged, other: Judged) -> dict[str, Agreement]:
    """How far two judges agree on the answers that both saw; empty where there are none.

    An id alone does not tell that: answers of another length are others.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    seen = {(verdict.dataset, verdict.id): (verdict.length_a, verdict.length_b) for verdict in judged.verdicts}
    same = [
        verdict
        for verdict in other.verdicts
        if seen.get((verdict.dataset, verdict.id)) == (verdict.length_a, verdict.length_b)
    ]
    try:
        return agreements(judged, replace(other, verdicts=tuple(same)))
    except InputError:  # nothing to compare
        return {}


def is_of(score: Score, judges: Collection[str]) -> bool:
    """Whether a figure is that of one of these judges, or tells how far one of them agrees with another."""
    return score.judge in judges or not set(judges).isdisjoint((score.judge or "").split(_AND))
