"""What is said of scores as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reflectune.errors import SettingsError
from reflectune.recipe import ScoreSettings
from reflectune.records import Example, Scored, Unscored, VersionScores
from reflectune.scoring import Scorer, Scores, score, warning
from reflectune.student import Target, Unscorable
from test_tokens import spelling

CHAT = "{% for turn in messages %}[{{ turn.role }}]{{ turn.content }}{% endfor %}[assistant]"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT


class Even:
    """A student that finds every token equally hard."""

    name, revision, dtype = "even", "1", ""
    longest: int | None = None
    batch_tokens = 64

    def __init__(self, chat: str) -> None:
        self.tokenizer: Any = spelling(chat=chat)

    def losses(self, targets: Sequence[Target]) -> list[float | Unscorable]:
        return [1.0 for _ in targets]

    def close(self) -> None:
        """Nothing is held."""


def test_a_row_that_the_template_refuses_fails_by_itself() -> None:
    rows = [
        Example(str(number), "Name a colour.", "Red.", system="Be brief." if number == 1 else "") for number in range(3)
    ]
    found = score(rows, Even(NO_SYSTEM))
    assert [row.id for row in found.scored] == ["0", "1", "2"]
    assert [row.versions["original"].ifd_ppl for row in found.scored] == [1.0, None, 1.0]
    (failure,) = found.failures
    assert (failure.id, failure.reason) == ("1", "template")
    assert "(system, user): no system role" in failure.detail


def test_a_template_that_takes_nothing_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="takes no question") as refused:
        Scorer(Even("{{ raise_exception('closed') }}"), ScoreSettings())
    assert "--template" in refused.value.mend


@pytest.mark.parametrize("change", [{"tokenizer": "other"}, {"convention": "published"}, {"max_length": 99}])
def test_what_a_score_depends_on_changes_its_fingerprint(change: dict[str, Any]) -> None:
    usual = Scorer(Even(CHAT), ScoreSettings()).fingerprint
    assert Scorer(Even(CHAT), ScoreSettings.model_validate(change)).fingerprint != usual
    assert Scorer(Even(CHAT), ScoreSettings(batch_tokens=99)).fingerprint == usual


def test_numbers_of_another_kind_change_the_fingerprint() -> None:
    half = Even(CHAT)
    half.dtype = "bfloat16"
    assert Scorer(half, ScoreSettings()).fingerprint != Scorer(Even(CHAT), ScoreSettings()).fingerprint


@pytest.mark.parametrize(
    ("above", "of", "told"), [(0, 0, False), (0, 5, False), (1, 5, False), (2, 9, True), (21, 100, True)]
)
def test_many_ratios_above_one_are_told(above: int, of: int, told: bool) -> None:
    found = warning(above, of, "alpaca")
    assert bool(found) is told
    if told:
        assert f"{above / of:.0%}" in found
        assert "It was alpaca; try --template chat or vicuna." in found


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
