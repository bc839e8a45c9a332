"""What is said of scores as a whole."""

from __future__ import annotations

import pytest

from reflectune.records import Scored, Unscored, VersionScores
from reflectune.scoring import Scores, warning


@pytest.mark.parametrize(
    ("above", "of", "told"), [(0, 0, False), (0, 5, False), (1, 5, False), (2, 9, True), (21, 100, True)]
)
def test_many_ratios_above_one_are_told(above: int, of: int, told: bool) -> None:
    assert bool(warning(above, of)) is told
    if told:
        assert f"{above / of:.0%}" in warning(above, of)
        assert "--template" in warning(above, of)


def test_scores_tell_their_failures_and_warn() -> None:
    lack = Unscored(version="A", half="response", reason="empty", detail="there is no text to score")
    rows = (
        Scored(id="1", versions={"original": VersionScores(ifd_ppl=1.5)}),
        Scored(id="2", versions={"original": VersionScores(ifd_ppl=0.5)}, unscored=(lack,)),
    )
    scores = Scores(rows, {"student": "small"})
    (failure,) = scores.failures
    assert (failure.id, failure.stage, failure.reason) == ("2", "score", "empty")
    assert failure.detail.startswith("A: ")
    assert scores.warning.startswith("50%")
