from __future__ import annotations

from pathlib import Path

import pytest

from reflectune.errors import SettingsError
from reflectune.recipe import Recipe, RecycleSettings, overridden
from reflectune.records import Sampling


def test_a_recipe_comes_back_from_its_file(tmp_path: Path) -> None:
    recipe = Recipe(data="数据.json", limit=3, recycle=RecycleSettings(reflect="response", temperature=0.5))
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml") == recipe
    assert "数据.json" in (tmp_path / "recipe.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "what", "mend"),
    [
        ({"data": "x", "limt": 3}, "no setting limt", "Did you mean limit?"),
        ({"data": "x", "recycle": {"reflct": "both"}}, r"no setting recycle\.reflct", "Did you mean reflect?"),
        ({"data": "x", "zzz": 3}, "no setting zzz", "The settings are"),
        ({"data": "x", "limit": 0}, "limit does not fit", "--help"),
        ({"data": "x", "recycle": {"versions": "none"}}, r"recycle\.versions does not fit", "--help"),
        (
            {"data": "x", "recycle": {"versions": "all", "reflect": "response"}},
            r"recipe\.yaml: versions all takes both reflections, and reflect is response\.",
            "Leave reflect at both, or versions at reflected.",
        ),
        (
            {"data": "x", "recycle": {"reflect": "instruction", "versions": "chosen"}},
            "versions chosen takes both reflections",
            "Leave reflect at both",
        ),
        ({}, "data does not fit", "--help"),
        ({"data": "x", "recycle": {"versions": "choosen"}}, r"recycle\.versions does not fit", "Did you mean chosen?"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, object], what: str, mend: str) -> None:
    with pytest.raises(SettingsError, match=what) as caught:
        Recipe.made_of(values, source="recipe.yaml")
    assert mend in caught.value.mend


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "just words"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"recipe\.yaml"):
        Recipe.load(tmp_path / "recipe.yaml")


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no recipe"):
        Recipe.load(tmp_path / "recipe.yaml")


def test_assignments_lie_over_settings() -> None:
    values = overridden({"data": "x", "recycle": {"seed": 1}}, ["recycle.temperature=0.7", "limit=5"])
    recipe = Recipe.made_of(values, source="test")
    assert (recipe.limit, recipe.recycle.temperature, recipe.recycle.seed) == (5, 0.7, 1)


@pytest.mark.parametrize("assignment", ["limit", "=3", "limit=[", "recycle=3", "data.x=1"])
def test_an_assignment_that_cannot_be_used(assignment: str) -> None:
    with pytest.raises(SettingsError):
        Recipe.made_of(overridden({"data": "x"}, [assignment]), source="test")


def test_the_oracles_sampling_stands_where_settings_are_silent() -> None:
    default = Sampling(temperature=0.2, top_p=0.9, max_tokens=512, repetition_penalty=1.1)
    assert RecycleSettings().sampling(default) == default
    assert RecycleSettings(temperature=0.0, max_tokens=99).sampling(default) == Sampling(0.0, 0.9, 99, 1.1)


def test_several_candidates_are_drawn_with_some_heat() -> None:
    assert RecycleSettings(candidates=3).sampling(Sampling()).temperature == 0.8
    assert RecycleSettings(candidates=3, temperature=0.1).sampling(Sampling()).temperature == 0.1
