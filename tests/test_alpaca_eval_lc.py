"""The length-controlled win rate: planted effects, symmetry, anchors, and the published figures beside ours."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import InputError
from reflectune.evaluate.alpaca_eval import Anchors, Annotation, length_controlled, read_annotations, win_rate
from reflectune.evaluate.alpaca_eval import length_control as module
from reflectune.evaluate.alpaca_eval.fitting import Sample, fit, predicted
from reflectune.evaluate.alpaca_eval.official_files import Gamed

OFFICIAL = {"annotator": "weighted_alpaca_eval_gpt4_turbo", "generator_1": "gpt4_1106_preview"}


def simulated(
    *,
    length: float,
    model: float,
    hard: float = 0.0,
    longer: float = 200.0,
    items: int = 1500,
    seed: int = 0,
    soft: bool = False,
) -> tuple[list[Annotation], dict[int, float], float]:
    """Preferences that follow the model exactly, the difficulties, and the true figure at equal length, in percent."""
    rng = np.random.default_rng(seed)
    one = rng.integers(50, 900, items)
    two = np.maximum(1, one + rng.normal(longer, 300, items)).astype(int)
    difference = (one - two) / (one - two).std(ddof=1)
    difficulty = rng.normal(0, 1, items)
    share = 1 / (1 + np.exp(-(length * np.tanh(difference) + hard * difficulty + model)))
    preferences = 1 + (share if soft else rng.random(items) < share)
    rows = [
        Annotation(
            index=place,
            instruction=str(place),
            output_1="x" * int(one[place]),
            output_2="y" * int(two[place]),
            preference=float(preferences[place]),
            **OFFICIAL,
        )
        for place in range(items)
    ]
    level = 100 / (1 + np.exp(-(hard * difficulty + model)))
    return rows, dict(enumerate(difficulty.tolist())), float(level.mean())


def swapped(rows: Sequence[Annotation]) -> list[Annotation]:
    return [
        row.model_copy(
            update={
                "output_1": row.output_2,
                "output_2": row.output_1,
                "preference": row.preference if not row.preference else 3 - row.preference,
            }
        )
        for row in rows
    ]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 20)


@pytest.mark.parametrize(("length", "model"), [(-2.5, -0.4), (-1.5, 0.8), (2.0, 0.2), (0.0, 0.5)])
@pytest.mark.usefixtures("_quick")
def test_a_planted_length_effect_is_taken_out(length: float, model: float) -> None:
    rows, _, truth = simulated(length=length, model=model, longer=250)
    raw = win_rate([row.preference for row in rows]).win_rate
    found = length_controlled(rows)
    assert abs(found.value - truth) < 4
    assert found.length_effect == pytest.approx(length, abs=0.35)
    assert found.model_effect == pytest.approx(model, abs=0.2)
    if length:
        assert abs(raw - truth) > 3 * abs(found.value - truth)
        assert abs(raw - truth) > 8


@pytest.mark.usefixtures("_quick")
def test_difficulty_has_a_term_where_it_is_known() -> None:
    rows, difficulty, truth = simulated(length=-2, model=-0.5, hard=1.2, longer=300)
    found = length_controlled(rows, Anchors(difficulty))
    assert found.difficulty_effect == pytest.approx(1.2, abs=0.25)
    assert abs(found.value - truth) < 3
    assert length_controlled(rows).difficulty_effect is None


@pytest.mark.usefixtures("_quick")
def test_soft_labels_recover_the_effects_nearly_exactly() -> None:
    rows, difficulty, truth = simulated(length=-1.8, model=0.3, hard=0.7, soft=True, items=805)
    found = length_controlled(rows, Anchors(difficulty))
    assert found.value == pytest.approx(truth, abs=0.5)
    assert found.length_effect == pytest.approx(-1.8, abs=0.1)


def test_the_interval_holds_the_truth_and_narrows_with_more_items(monkeypatch: pytest.MonkeyPatch) -> None:
    few, _, truth = simulated(length=-2, model=0.4, items=200)
    many, _, _ = simulated(length=-2, model=0.4, items=1500)
    monkeypatch.setattr(module, "RESAMPLES", 100)
    one, other = length_controlled(few), length_controlled(many)
    assert one.interval.low < truth < one.interval.high
    assert other.standard_error < one.standard_error / 1.8
    assert length_controlled(few) == one


def test_a_strong_penalty_makes_no_false_certainty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 100)
    rows, _, _ = simulated(length=0, model=0, items=14, longer=0, seed=3)
    found = length_controlled(rows)
    assert found.strength is not None
    assert found.strength < 1
    assert found.value == 50
    assert found.interval.high - found.interval.low > 10


def test_a_model_against_itself_has_50() -> None:
    rows, _, _ = simulated(length=-2, model=0.4, items=30)
    same = [row.model_copy(update={"output_2": row.output_1, "preference": 1.5}) for row in rows]
    found = length_controlled(same)
    assert (found.value, found.standard_error, found.strength, found.warning) == (50, 0, None, "")


@pytest.mark.usefixtures("_quick")
def test_draws_of_answers_of_equal_lengths_have_50() -> None:
    rows, _, _ = simulated(length=-2, model=0.4, items=30)
    equal = [row.model_copy(update={"output_2": "z" * len(row.output_1), "preference": 1.5}) for row in rows]
    assert length_controlled(equal).value == pytest.approx(50, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "length": st.floats(-4, 4),
            "model": st.floats(-3, 3),
            "longer": st.floats(-400, 400),
            "items": st.integers(20, 300),
            "seed": st.integers(0, 10_000),
            "soft": st.booleans(),
        }
    )
)
def test_both_sides_add_up_to_100(how: dict[str, Any]) -> None:
    rows, _, _ = simulated(**how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RESAMPLES", 2)
        one, other = length_controlled(rows), length_controlled(swapped(rows))
    assert one.value + other.value == pytest.approx(100, abs=0.1)
    assert (one.longer, one.shorter) == (other.shorter, other.longer)


def test_noes_alone_mirror_yeses_alone() -> None:
    rows, _, _ = simulated(length=0.0, model=9.0, longer=0.0, items=39)
    one, other = length_controlled(rows), length_controlled(swapped(rows))
    assert one.value > 99
    assert one.value + other.value == pytest.approx(100, abs=0.1)


PUBLISHED = {
    "recycled-wizardlm-7b-v2.0/alpaca_eval_gpt4": (51.098, 3.0),
    "alpaca-7b/alpaca_eval_gpt4": (26.295, 2.0),
    "wizardlm-13b/alpaca_eval_gpt4": (62.550, 5.0),
    "alpaca-7b/weighted_alpaca_eval_gpt4_turbo": (5.875, 20.0),
}
"""What is published, and how far ours may lie from it: the last pair of answers is of lengths that never meet."""


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.usefixtures("_quick")
def test_real_annotations_come_close_and_add_up_swapped(name: str, data: Path) -> None:
    published, gap = PUBLISHED[name]
    annotations = read_annotations(data / "alpaca_eval" / name / "annotations.json")
    found = length_controlled(annotations.rows)
    assert abs(found.value - published) < gap
    assert not found.official
    assert found.value + length_controlled(swapped(annotations.rows)).value == pytest.approx(100, abs=0.1)
    assert ("extrapolated" in found.warning) == (name.startswith(("recycled", "alpaca-7b/weighted")))


@pytest.mark.parametrize("preference", [1.0, 2.0])
@pytest.mark.usefixtures("_quick")
def test_a_model_that_always_loses_or_wins_is_no_error(preference: float) -> None:
    rows, _, _ = simulated(length=-2, model=0, items=40)
    always = [row.model_copy(update={"preference": preference}) for row in rows]
    found = length_controlled(always)
    assert (found.value > 60) == (preference == 2)
    assert 0 <= found.value <= 100


@pytest.mark.usefixtures("_quick")
def test_rows_without_a_preference_count_with_their_lengths_only() -> None:
    rows, _, _ = simulated(length=-2, model=0.4, items=100)
    missing = [row.model_copy(update={"preference": None}) if row.index < 20 else row for row in rows]
    found = length_controlled(missing)
    assert found.longer + found.shorter == pytest.approx(100, abs=3)
    few = [row.model_copy(update={"preference": None}) if row.index >= 9 else row for row in rows]
    with pytest.raises(InputError, match="9 preferences are too few"):
        length_controlled(few)


def gamed_of(difficulty: dict[int, float], *, length: float, hard: float) -> list[Gamed]:
    """Verbose and concise answers of the reference, whose preferences follow the length effect alone."""
    rng = random.Random(1)
    found = []
    for side in (-1.0, 1.0):
        for index, value in difficulty.items():
            delta = side * rng.uniform(0.3, 2)
            share = 1 / (1 + np.exp(-(length * np.tanh(delta) + hard * value)))
            found.append(Gamed(float(share), index, delta, value, plays=True))
    return found


def test_gamed_answers_hold_the_length_effect_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESAMPLES", 2)
    rows, difficulty, truth = simulated(length=-1.5, model=-0.6, hard=0.8, longer=1500, items=300)
    alone = length_controlled(rows, Anchors(difficulty))
    anchored = length_controlled(rows, Anchors(difficulty, gamed_of(difficulty, length=-1.5, hard=0.8)))
    assert abs(anchored.value - truth) < abs(alone.value - truth)
    assert anchored.value == pytest.approx(truth, abs=8)
    assert anchored.length_effect == pytest.approx(-1.5, abs=0.4)
    assert anchored.longer > 99
    assert "extrapolated" in anchored.warning


@pytest.mark.usefixtures("_quick")
def test_only_with_everything_of_alpaca_eval_is_it_official() -> None:
    rows, difficulty, _ = simulated(length=-1.5, model=-0.6, hard=0.8, items=60)
    gamed = gamed_of(difficulty, length=-1.5, hard=0.8)
    official = length_controlled(rows, Anchors(difficulty, gamed))
    assert (official.official, official.label, official.why) == (True, "official", "")
    yes = predicted(
        np.array([[0, difficulty[row.index], 1] for row in rows]),
        np.array([official.length_effect, official.difficulty_effect, official.model_effect]),
    )
    assert official.standard_error == pytest.approx(100 * yes.std(ddof=1) / 60**0.5)
    other = [row.model_copy(update={"annotator": "mine", "generator_1": "davinci"}) for row in rows]
    for found, told in [
        (length_controlled(rows), "(--difficulty)"),
        (length_controlled(rows, Anchors(difficulty)), "(--gamed)"),
        (length_controlled(other, Anchors(difficulty, gamed)), "the judge is not weighted_alpaca_eval_gpt4_turbo"),
        (length_controlled(other, Anchors(difficulty, gamed)), "the reference is not gpt4_1106_preview"),
        (length_controlled(rows[:50], Anchors(difficulty, gamed)), "on 50 of 60 instructions"),
    ]:
        assert not found.official
        assert found.label == "approximate"
        assert told in found.why
    with pytest.raises(InputError, match="no difficulty of instruction 59"):
        length_controlled(rows, Anchors(dict.fromkeys(range(59), 0.0)))


def test_fitting_leaves_nothing_changed_and_warns_of_nothing() -> None:
    before = sklearn.get_config()
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(Sample(rng.normal(size=(40, 2)), rng.random(40), np.ones(40)))
    assert sklearn.get_config() == before
    assert found.strength in np.logspace(-4, 4, 10)
    assert found.coefficients.shape == (2,)


def test_without_any_effect_the_penalty_leaves_nothing() -> None:
    rng = np.random.default_rng(3)
    noise = Sample(np.column_stack([rng.normal(size=400)]), rng.integers(0, 2, 400).astype(float), np.ones(400))
    assert abs(fit(noise).coefficients[0]) < 0.15


def test_weights_count_as_rows_do() -> None:
    rng = np.random.default_rng(4)
    features, shares = rng.normal(size=(60, 2)), rng.random(60)
    twice = Sample(np.concatenate([features, features]), np.concatenate([shares, shares]), np.ones(120))
    weighted = Sample(features, shares, 2 * np.ones(60))
    from reflectune.evaluate.alpaca_eval.fitting import refit

    assert refit(twice, 1.0).coefficients == pytest.approx(refit(weighted, 1.0).coefficients, abs=1e-3)
