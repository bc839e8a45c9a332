"""The command `train`: what it shows, plans and refuses before anything is trained."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from reflectune.cli import app
from reflectune.cli.planning import plan_elsewhere, shape_of
from reflectune.cli.preview import drawn, show, shown
from reflectune.cli.train_asked import Asked, check_trackers
from reflectune.errors import MissingExtraError, ReflectuneError, RunError, SettingsError
from reflectune.recipe import TrainSettings
from reflectune.records import Failure
from reflectune.runs import RunDir
from reflectune.training.masks import Masked
from test_tokens import spelling


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"Name {number}.", "output": f"It is {number}."} for number in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def refused(*words: str) -> ReflectuneError:
    result = CliRunner().invoke(app, ["train", *words])
    assert isinstance(result.exception, ReflectuneError), result.output
    return result.exception


def test_the_preview_marks_what_carries_loss_without_colours() -> None:
    tokenizer = spelling()
    ids = tokenizer("ab\ncd", add_special_tokens=False).input_ids
    row = Masked("r", array("i", ids), bytes([0, 0, 0, 1, 1]))
    assert drawn(row, tokenizer, coloured=False).plain == "ab↵\n⟦c⟧⟦d⟧"


def test_the_preview_marks_it_in_colours_on_a_terminal() -> None:
    tokenizer = spelling()
    ids = tokenizer("ab", add_special_tokens=False).input_ids
    text = drawn(Masked("r", array("i", ids), bytes([0, 1])), tokenizer, coloured=True)
    assert text.plain == "ab"
    assert " on " in str(text.spans[1].style)
    assert " on " not in str(text.spans[0].style)


def test_a_part_of_a_character_is_named() -> None:
    tokenizer = spelling()
    first = tokenizer("é", add_special_tokens=False).input_ids[0]
    assert shown(first, tokenizer) == tokenizer.convert_ids_to_tokens(first)


def test_the_preview_tells_of_refused_rows_by_their_id(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(id="row-7", stage="train", reason="no-trainable-token", detail="its prompt is too long")
    show([failure], spelling(), Console(markup=False))
    assert "row row-7  refused, no-trainable-token: its prompt is too long" in capsys.readouterr().out


def test_a_plan_for_gpus_elsewhere_needs_neither_weights_nor_a_gpu(rows: Path) -> None:
    words = ["train", str(rows), "--recipe", "reflection-tuning-7b", "--dry-run", "--devices", "8", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.splitlines()[-1])
    assert (found["rows"], found["steps"], found["devices"]) == (40, 1, 8)  # the recipe holds no row out
    assert found["parameters"] == 6_738_415_616
    assert found["fits"] is (found["memory"]["total"] <= found["capacity"])
    assert found["capacity"] == 80 * 2**30


@pytest.mark.parametrize(
    ("recipe", "devices", "fits"),
    [("reflection-tuning-7b", 1, False), ("reflection-70b", 8, False), ("reflection-70b", 64, True)],
)
def test_whether_a_recipe_fits(recipe: str, devices: int, fits: bool) -> None:
    found, plan = plan_elsewhere(Asked("x", recipe=recipe).settings(), (), devices, 80)
    assert found["fits"] is fits
    assert ("does not fit" in plan.verdict(found["capacity"])) is not fits


def test_a_student_of_unknown_shape_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"shape of .* is not known here") as caught:
        shape_of(str(tmp_path))  # a folder without a configuration
    assert "config.json" in caught.value.mend


def test_devices_without_a_dry_run_are_refused(rows: Path) -> None:
    error = refused(str(rows), "--devices", "8")
    assert "--dry-run" in error.mend


def test_an_impossible_split_is_refused_before_anything_is_loaded(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    error = refused(str(rows), "--student", "no/such-model", "--batch", "128")
    assert "cannot be split evenly over 3 devices" in error.what
    assert "126 or 129" in error.mend


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--set", "warmpu=0.1"), "no setting warmpu"),
        (("--set", "warmup=2"), "warmup does not fit"),
        (("--loss", "after-reflection"), "is for traces"),
        (("--tags", "tokens"), "only for traces"),
        (("--batch-tokens", "64"), "holds no row of max_length"),
        (("--held-out", "half"), "held_out does not fit"),
        (("--recipe", "selectiv-7b"), "no recipe selectiv-7b"),
    ],
)
def test_settings_that_do_not_fit_are_named(rows: Path, words: tuple[str, ...], what: str) -> None:
    assert what in refused(str(rows), *words).what


def test_a_whole_number_may_be_set_as_held_out() -> None:
    assert Asked("x", assignments=("held_out=64",)).settings().held_out == "64"


def test_flags_lie_over_a_recipe_and_assignments_over_both(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("epochs: 5\nbatch: 4\n")
    asked = Asked("x", recipe=str(tmp_path / "own.yaml"), given={"batch": 6}, assignments=("batch=8",))
    assert (asked.settings().epochs, asked.settings().batch) == (5, 8)


@pytest.mark.parametrize("text", ["- a\n", "a: [", "words"])
def test_a_recipe_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"own\.yaml"):
        Asked("x", recipe=str(tmp_path / "own.yaml")).settings()


def test_a_run_gives_what_was_selected_else_what_was_recycled(tmp_path: Path) -> None:
    RunDir(tmp_path).close()
    asked = Asked(str(tmp_path))
    with pytest.raises(RunError, match="has written no data"):
        _ = asked.file
    (tmp_path / "recycled.jsonl").touch()
    assert asked.file.endswith("recycled.jsonl")
    (tmp_path / "selected.jsonl").touch()
    assert asked.file.endswith("selected.jsonl")
    assert asked.folder == tmp_path / "student"


def test_a_folder_of_traces_gives_its_traces(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").touch()
    assert Asked(str(tmp_path)).file == str(tmp_path / "traces.jsonl")
    assert Asked(str(tmp_path)).folder == tmp_path / "student"


def test_a_deepspeed_configuration_is_named_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text("{}")
    for name in ("zero3-7b", str(tmp_path / "own.json")):
        found = Asked("x", assignments=(f"deepspeed={name}",)).settings().deepspeed
        assert found is not None
        assert found.is_file()
    with pytest.raises(SettingsError, match=r"no DeepSpeed configuration nothere\.json") as caught:
        Asked("x", assignments=("deepspeed=nothere.json",)).settings()
    assert "zero3-70b" in caught.value.mend


def test_a_tracker_that_is_not_installed_is_refused() -> None:
    settings: Any = TrainSettings(report_to=("swanlab",))
    with pytest.raises(MissingExtraError, match="swanlab is not installed"):
        check_trackers(settings)
