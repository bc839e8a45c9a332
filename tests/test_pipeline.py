"""The recipe of a journey, its plan and its commands: pure, and without a model."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from reflectune.cli import app
from reflectune.cli.train_asked import with_devices
from reflectune.errors import RunError, SettingsError
from reflectune.generation.naming import is_folder
from reflectune.pipeline import Journey, plan, run
from reflectune.pipeline.arms import Rows, made, written
from reflectune.pipeline.commands import flags, trace_flags
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.plan import Stage, folder_of, money_of
from reflectune.pipeline.shipped import names, read_recipe, schema, text_of, with_data
from reflectune.pipeline.state import PipelineState, StageState
from reflectune.recipe import (
    BenchmarkSettings,
    GenerateSettings,
    JudgeSettings,
    PipelineRecipe,
    ScoreSettings,
    SelectSettings,
    Settings,
    TraceSettings,
)
from reflectune.recipe.pipeline import Model
from reflectune.records import Example, Message, Reply, Request
from reflectune.runs import RunDir
from reflectune.runs.lock import take

FOLDER = Path("runs/x")


def recipe(**values: Any) -> PipelineRecipe:
    return PipelineRecipe.made_of({"data": "data.jsonl", **values}, source="test")


def keys(made_of: PipelineRecipe) -> list[str]:
    return [stage.key for stage in plan(made_of, FOLDER)]


def command(made_of: PipelineRecipe, key: str) -> str:
    return shlex.join(next(stage for stage in plan(made_of, FOLDER) if stage.key == key).command)


# ── the recipe


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"recycel": {}}, "Did you mean recycle?"),
        ({"recycle": {"refelct": "both"}}, "Did you mean reflect?"),
        ({"oracle": {"nmae": "m"}}, "Did you mean name?"),
        ({"arms": ["recycled", "recycled"]}, "recycled is named twice"),
        ({"arms": ["original"]}, "recycled is missing from the arms"),
        ({"arms": ["recycled", "reflective"]}, "add `traces: {}`"),
        ({"arms": ["recycled"], "traces": {}}, "of traces the arms are base and reflective"),
        ({"arms": ["reflective"], "traces": {}, "select": {}}, "leave out select"),
        ({"train": {"seed": 3}}, "write seeds above"),
        ({"train": {"student": "m"}}, "write student above"),
        ({"seeds": []}, "seeds is empty"),
        ({"budget": -1}, "budget does not fit"),
        ({"name": "../x"}, "name does not fit"),
    ],
)
def test_a_recipe_that_does_not_fit_is_an_error_with_its_mend(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        recipe(**values)
    assert told in str(error.value)


def test_a_model_may_be_stated_by_its_name_alone() -> None:
    assert recipe(oracle="gpt-4o-mini").oracle == recipe(oracle={"name": "gpt-4o-mini"}).oracle


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_can_be_read_and_planned(name: str) -> None:
    found = read_recipe(name)
    assert found.ours in found.arms
    stages = plan(found, FOLDER)
    assert stages[-1].kind == "verdict"
    assert len({stage.key for stage in stages}) == len(stages)


@pytest.mark.parametrize("name", names())
def test_every_shipped_recipe_fits_the_schema_that_editors_check_it_by(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(text_of(name)), schema())


def test_the_schema_refuses_what_the_recipe_refuses_and_tells_what_each_setting_is() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"data": "x", "recycle": {"refelct": "both"}}, schema())
    told = schema()
    assert told["properties"]["arms"]["description"].startswith("The students that are compared")
    for name in ("RecycleSettings", "TrainSettings", "Model"):
        lacking = [field for field, body in told["$defs"][name]["properties"].items() if not body.get("description")]
        assert lacking == [], name


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("data: a.json\ntrain: {epochs: 2, batch: 8}\n")
    (tmp_path / "mine.yaml").write_text(f"extends: {tmp_path / 'base.yaml'}\ndata: b.json\ntrain: {{epochs: 1}}\n")
    found = read_recipe(str(tmp_path / "mine.yaml"), ["train.max_length=64"])
    assert (found.data, found.train.epochs, found.train.batch, found.train.max_length) == ("b.json", 1, 8, 64)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: {file}\ndata: x\n", "extends itself"),
        ("extends: laptpo\ndata: x\n", "Did you mean laptop?"),
        ("- data\n", "holds no settings"),
        ("data: [\n", "is not YAML"),
        ("extends: [laptop]\n", "extends names one recipe"),
    ],
)
def test_a_recipe_file_that_cannot_be_read_is_an_error(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text.format(file=file))
    with pytest.raises(SettingsError) as error:
        read_recipe(str(file))
    assert told in str(error.value)


@pytest.mark.parametrize("name", ["missing.yaml", "nothing/there.yml", "laptpo"])
def test_a_recipe_that_is_not_there_is_an_error_with_its_mend(name: str) -> None:
    with pytest.raises(SettingsError, match="There is no recipe"):
        read_recipe(name)


@pytest.mark.parametrize("name", names())
def test_the_data_of_a_recipe_can_be_changed_and_its_comments_stay(name: str) -> None:
    text = with_data(text_of(name), 'my "data".json')
    assert yaml.safe_load(text)["data"] == 'my "data".json'
    assert text.count("#") == text_of(name).count("#")


# ── the plan


def test_the_stages_of_a_journey_are_in_order() -> None:
    found = recipe(
        arms=["original", "recycled", "base"], select={}, prompts=["a.jsonl"], benchmark={"tasks": ["gsm8k"]}
    )
    assert keys(found) == [
        *("recycle", "score", "select", "stats", "report", "arms"),
        *("train/original-0", "train/recycled-0"),
        *("answer/a/original-0", "answer/a/recycled-0", "answer/a/base"),
        *("judge/a/recycled-against-original-0", "judge/a/recycled-against-base-0"),
        *("benchmark/original-0", "benchmark/recycled-0", "benchmark/base"),
        "verdict",
    ]


def test_each_seed_trains_and_compares_every_student_once() -> None:
    found = keys(recipe(arms=["original", "recycled", "base"], seeds=[3, 5], prompts=["a.jsonl"]))
    assert [key for key in found if key.startswith("train/")] == [
        f"train/{arm}-{seed}" for seed in (3, 5) for arm in ("original", "recycled")
    ]
    assert "judge/a/recycled-against-base-5" in found
    assert found.count("answer/a/base") == 1


def test_scores_are_made_only_where_something_needs_them() -> None:
    assert "score" not in keys(recipe())
    assert "score" in keys(recipe(select={}))
    assert "score" in keys(recipe(score={"max_length": 512}))


def test_test_sets_are_looked_for_in_the_data(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    found = recipe(prompts=[str(tmp_path / "a.jsonl")])
    assert f"--against {tmp_path / 'a.jsonl'}" in command(found, "gates")


def test_two_test_sets_of_one_name_are_an_error() -> None:
    with pytest.raises(SettingsError, match="both called a"):
        plan(recipe(prompts=["x/a.jsonl", "y/a.json"]), FOLDER)


def test_traces_are_trained_on_and_benchmarked_beside_the_model_that_was_not() -> None:
    found = recipe(
        arms=["reflective", "base"],
        traces={"clean": 0.2},
        student="m/x",
        prompts=["a.jsonl"],
        benchmark={"tasks": ["gsm8k"]},
    )
    assert keys(found)[:2] == ["traces", "train/reflective-0"]
    assert "--reflection" in command(found, "train/reflective-0")
    assert command(found, "answer/a/reflective-0").endswith("--reflect")
    assert "--tuned runs/x/students/reflective-0" in command(found, "benchmark/reflective-0")
    assert "judge/a/reflective-against-base-0" in keys(found)


def test_every_command_of_every_plan_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}")
    full = {
        "select": {"rule": "selective", "keep_original": True, "ifd_below_one": False},
        "score": {"template": "vicuna", "halves": "response", "max_length": 64},
        "recycle": {"versions": "chosen", "temperature": 0.5, "lang": "en"},
        "train": {"method": "lora", "lora_targets": ["q_proj", "v_proj"], "epochs": 1.5, "packing": False},
        "generate": {"max_tokens": 9, "system": "Be short.", "seed": 4},
        "judging": {"ask": "structured", "temperature": 0.1},
        "benchmark": {"tasks": ["gsm8k", "ifeval"], "limit": 3, "temperature": 0.2},
        "judge": {"name": "m", "base_url": "http://127.0.0.1:1/v1", "rpm": 5},
        "prompts": [str(tmp_path / "t.jsonl")],
        "arms": ["original", "recycled", "random", "longest", "same-tokens", "base"],
        "map": "instruction=q,response=a",
        "budget": 3,
        "prices": str(tmp_path / "p.yaml"),
    }
    traced = {
        "arms": ["reflective", "base"],
        "traces": {"mistakes": "oracle", "form": "gsm8k", "kinds": ["arithmetic"], "clean": 0.5},
        "benchmark": {"tasks": ["gsm8k"]},
        "prompts": full["prompts"],
    }
    for found in (recipe(**full), recipe(**traced), *map(read_recipe, names())):
        for stage in plan(found, FOLDER):
            parsed(stage, found)


def parsed(stage: Stage, found: PipelineRecipe) -> dict[str, Any]:
    """What the command line makes of a stage's command; fails where it takes no such flag or value."""
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    own = group.commands[stage.kind]
    words = [*stage.command[1:], *money_of(stage, found, 1.0)]
    return own.make_context(stage.kind, words, resilient_parsing=False).params


def test_what_is_left_at_its_default_is_not_said() -> None:
    assert flags(recipe(generate={}).generate) == []
    assert flags(recipe(generate={"max_tokens": 5, "reflect": True}).generate) == ["--reflect", "--max-tokens", "5"]


def test_the_folder_is_named_after_the_recipe() -> None:
    assert folder_of(recipe(), Path("a/mine.yaml")) == Path("runs/mine")
    assert folder_of(recipe(name="other"), Path("a/mine.yaml")) == Path("runs/other")


# ── what is done and what is not


def stage_of(tmp_path: Path) -> Stage:
    return Stage("x", "x", ("x",), inputs=(tmp_path / "in",), outputs=(tmp_path / "out",))


def test_how_a_stage_stands(tmp_path: Path) -> None:
    journey = Journey(recipe(), tmp_path, (), PipelineState(reflectune="1"))
    stage = stage_of(tmp_path)
    assert journey.standing(stage, "f") == "new"

    def noted(state: str) -> StageState:
        return StageState.model_validate(
            {"name": "x", "kind": "x", "command": ("x",), "state": state, "fingerprint": "f"}
        )

    journey.state = journey.state.with_stage("x", noted("running"))
    assert journey.standing(stage, "f") == "begun"
    assert journey.standing(stage, "g") == "changed"
    journey.state = journey.state.with_stage("x", noted("done"))
    assert journey.standing(stage, "f") == "begun", "its output is missing"
    (tmp_path / "out").write_text("")
    assert journey.standing(stage, "f") == "done"


def test_a_fingerprint_follows_content_and_not_times(tmp_path: Path) -> None:
    stage, journey = stage_of(tmp_path), Journey(recipe(), tmp_path, (), PipelineState(reflectune="1"))
    missing = journey.fingerprint(stage, Fingerprints({}))
    (tmp_path / "in").write_text("a")
    first = journey.fingerprint(stage, Fingerprints({}))
    (tmp_path / "in").write_text("b")
    assert len({missing, first, journey.fingerprint(stage, Fingerprints({}))}) == 3
    (tmp_path / "in").write_text("a")
    assert journey.fingerprint(stage, Fingerprints({})) == first


def test_a_folder_is_hashed_whole_but_for_what_says_nothing_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.safetensors").write_bytes(b"1")
    first = Fingerprints({}).of(tmp_path / "m")
    (tmp_path / "m/README.md").write_text("x")
    assert Fingerprints({}).of(tmp_path / "m") == first
    (tmp_path / "m/model.safetensors").write_bytes(b"2")
    assert Fingerprints({}).of(tmp_path / "m") != first


def test_a_file_is_read_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("a")
    prints = Fingerprints({})
    first = prints.of(tmp_path / "a")
    monkeypatch.setattr("reflectune.pipeline.fingerprints._hash", lambda _: pytest.fail("read again"))
    assert Fingerprints(prints.known).of(tmp_path / "a") == first


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(RunError, match="Take it away"):
        PipelineState.load(tmp_path, "1")


def test_the_run_of_a_single_command_is_no_journey(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"")
    with pytest.raises(RunError, match="single command"):
        Journey.open(recipe(), tmp_path)


# ── the arms


def examples(*lengths: int) -> tuple[Example, ...]:
    return tuple(Example(f"r{number}", "ask", "w " * length) for number, length in enumerate(lengths))


def words(text: str) -> int:
    return len(text.split())


ROWS = Rows(original=examples(5, 1, 9, 3, 7), recycled=examples(20, 30))


def test_the_baselines_have_as_many_rows_as_ours() -> None:
    assert [row.id for row in made("longest", ROWS, words)] == ["r2", "r4"]
    drawn = made("random", ROWS, words, seed=1)
    assert len(drawn) == 2
    assert set(drawn) <= set(ROWS.original)
    assert made("random", ROWS, words, seed=1) == drawn
    assert any(made("random", ROWS, words, seed=seed) != drawn for seed in range(2, 9))
    assert made("original", ROWS, words) == list(ROWS.original)
    assert made("recycled", ROWS, words) == list(ROWS.recycled)


def test_ours_may_have_more_rows_than_there_are() -> None:
    rows = Rows(examples(1), examples(2, 3))
    assert len(made("random", rows, words)) == len(made("longest", rows, words)) == 1


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(0, 5),
)
def test_as_many_tokens_comes_as_near_as_a_row_allows(original: list[int], ours: list[int], seed: int) -> None:
    rows = Rows(examples(*original), examples(*ours))
    taken = made("same-tokens", rows, words, seed)
    total = sum(words(row.response) for row in taken)
    if len(taken) < 20 * len(original):
        assert abs(total - sum(ours)) <= max(original) / 2
    seen = [row.id for row in taken[: len(original)]]
    assert len(set(seen)) == len(seen), "no row comes again before all came once"


def test_rows_without_a_token_end(tmp_path: Path) -> None:
    assert made("same-tokens", Rows((Example("a", "x", ""),), examples(3)), words) == []


def test_an_arm_is_written_with_ids_of_its_own_and_its_figures(tmp_path: Path) -> None:
    row = Example("a", "Why?", "So it is.")
    facts = written("same-tokens", [row, row], tmp_path, words)
    lines = [json.loads(line) for line in (tmp_path / "same-tokens.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "a-again-2"]
    assert (facts.rows, facts.response_tokens, facts.instruction_tokens) == (2, 6, 2)
    assert facts.mean_response_characters == 9


@pytest.mark.parametrize("name", names())
def test_a_journey_goes_on_by_the_recipe_in_its_folder_with_the_same_commands(name: str, tmp_path: Path) -> None:
    found = read_recipe(name, ["limit=7"])
    found.save(tmp_path / "recipe.yaml", stated=True)
    again = read_recipe(str(tmp_path / "recipe.yaml"))
    assert plan(again, FOLDER) == plan(found, FOLDER)


# ── what is stated, and what would come of it


def test_more_may_be_laid_over_a_model_that_was_stated_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("data: a.json\noracle: gpt-4o\njudge: gpt-4o\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\njudge: {max_concurrency: 64}\n")
    found = read_recipe(str(tmp_path / "mine.yaml"), ["oracle.rpm=60"])
    assert (found.oracle.name, found.oracle.rpm) == ("gpt-4o", 60)
    assert (found.judge.name, found.judge.max_concurrency) == ("gpt-4o", 64)
    again = read_recipe(str(tmp_path / "mine.yaml"), ["oracle=m", "oracle.tpm=9"])
    assert (again.oracle.name, again.oracle.rpm, again.oracle.tpm) == ("m", None, 9)


def test_a_name_alone_replaces_all_that_was_stated_of_another_model(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("data: a.json\njudge: {name: m, base_url: 'http://127.0.0.1:1/v1'}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\njudge: gpt-4o\n")
    assert read_recipe(str(tmp_path / "mine.yaml")).judge.base_url is None


def test_a_recipe_extends_one_that_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/base.yaml").write_text("data: beside.json\n")
    (tmp_path / "base.yaml").write_text("data: here.json\n")
    (tmp_path / "a/mine.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "a/b/deep.yaml").write_text("extends: ../mine.yaml\n")
    (tmp_path / "a/far.yaml").write_text("extends: only-here.yaml\n")
    (tmp_path / "only-here.yaml").write_text("data: here.json\n")
    monkeypatch.chdir(tmp_path)
    assert read_recipe("a/mine.yaml").data == read_recipe("a/b/deep.yaml").data == "beside.json"
    assert read_recipe("a/far.yaml").data == "here.json"


def test_recipes_that_extend_each_other_are_an_error(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "r.yaml").write_text(f"extends: ../{other}/r.yaml\n")
    with pytest.raises(SettingsError, match="extends itself"):
        read_recipe(str(tmp_path / "a/r.yaml"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"seeds": [0, 0]}, "0 is named twice"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": [2**31]}, "less than 2147483648"),
        ({"score": {"student": "m"}}, "write student above"),
        ({"select": {"to": "alpaca"}}, "select.to is not for a journey"),
        ({"select": {"output": "x.json"}}, "select.output is not for a journey"),
        ({"judging": {"name_a": "x"}}, "called by their arms"),
        ({"judging": {"name_b": "x"}}, "called by their arms"),
        ({"train": {"reflection": True}}, "train.reflection is for traces"),
        ({"workers": 2}, "add `engine: ray`"),
        ({"address": "auto"}, "add `engine: ray`"),
        ({"engine": "process"}, "engine does not fit"),
    ],
)
def test_what_nothing_would_come_of_is_an_error(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        recipe(**values)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "values", [{"map": "instruction=q"}, {"license": "MIT"}, {"recycle": {"candidates": 2}}, {"coherence": False}]
)
def test_what_traces_do_not_know_is_an_error(values: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"leave out {next(iter(values))}"):
        recipe(arms=["reflective"], traces={}, **values)


def test_the_words_of_a_recipe_for_where_it_is_done_are_those_of_the_flag() -> None:
    assert "--engine" not in command(recipe(engine="here"), "recycle")
    assert "--engine ray --workers 2" in command(recipe(engine="ray", workers=2), "recycle")


TURNED: list[tuple[type[Settings], str]] = [
    (ScoreSettings, "score"),
    (SelectSettings, "select"),
    (GenerateSettings, "generate"),
    (JudgeSettings, "judge"),
    (BenchmarkSettings, "benchmark"),
    (TraceSettings, "traces"),
    (Model, "recycle"),
    (Model, "traces"),
    (Model, "judge"),
]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
@pytest.mark.parametrize(("kind", "name"), TURNED)
def test_every_setting_of_a_stage_has_its_flag(kind: type[Settings], name: str) -> None:
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    known = {word for flag in group.commands[name].params for word in (*flag.opts, *flag.secondary_opts)}
    said = [flag_of(kind, field) for field in kind.model_fields if (kind, field) != (Model, "name")]
    assert [flag for flag in said if flag not in known] == []


def flag_of(kind: type[Settings], field: str) -> str:
    """The flag that stands for a field which is not at its default."""
    about = kind.model_fields[field]
    value = not about.default if about.annotation is bool else "1"
    stated = kind.model_construct(_fields_set={field}, **{field: value})
    return (trace_flags(stated) if kind is TraceSettings else flags(stated))[0]


# ── what a student is


@pytest.mark.parametrize(
    ("student", "told"),
    [
        ("local", "local"),
        ("org/model", "hf:org/model"),
        ("hf:org/model", "hf:org/model"),
        ("local:a.gguf", "local:a.gguf"),
        ("a.gguf", "local:a.gguf"),
        ("~/m", "HOME/m"),
        ("~/m.gguf", "local:HOME/m.gguf"),
        ("localruns/x", "localruns/x"),
    ],
)
def test_the_student_as_it_comes_is_asked_by_its_name(
    student: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "localruns/x").mkdir(parents=True)
    found = recipe(student=student, arms=["recycled", "base"], prompts=["a.jsonl"])
    assert command(found, "answer/a/base").split()[1] == told.replace("HOME", str(tmp_path))


def test_a_folder_is_no_embedded_model_for_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("localruns").mkdir()
    Path("local").mkdir()
    assert is_folder("localruns")
    assert not is_folder("local")
    assert not is_folder("local:localruns")


def test_a_model_that_was_taught_to_reflect_stands_beside_the_hubs() -> None:
    found = read_recipe("reflection-70b")
    words = command(found, "benchmark/reflective-0").split()
    assert words[1] == "hf:meta-llama/Llama-3.1-70B-Instruct"


@pytest.mark.parametrize("name", names())
def test_the_devices_of_every_shipped_recipe_are_there(name: str) -> None:
    with_devices(read_recipe(name).train)


def inputs(made_of: PipelineRecipe, key: str) -> list[str]:
    return [str(path) for path in next(stage for stage in plan(made_of, FOLDER) if stage.key == key).inputs]


def test_rows_that_are_tried_again_are_scored_and_selected_again(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("{}")
    found = recipe(select={}, prompts=[str(tmp_path / "t.jsonl")])
    for key in ("gates", "score", "select"):
        assert "runs/x/data/failures.jsonl" in inputs(found, key)


def test_files_that_settings_name_are_inputs(tmp_path: Path) -> None:
    for name in ("prompts", "student"):
        (tmp_path / name).mkdir()
    (tmp_path / "template.jinja").write_text("")
    found = recipe(
        student=str(tmp_path / "student"),
        recycle={"prompts": str(tmp_path / "prompts"), "versions": "chosen"},
        score={"template": str(tmp_path / "template.jinja")},
        train={"template": str(tmp_path / "template.jinja"), "method": "lora"},
        prompts=["a.jsonl"],
        judging={"prompts": str(tmp_path / "prompts")},
    )
    prompts, template, student = (str(tmp_path / name) for name in ("prompts", "template.jinja", "student"))
    assert {prompts, template, student} <= set(inputs(found, "recycle"))
    assert {template, student} <= set(inputs(found, "score"))
    assert {template, student} <= set(inputs(found, "train/recycled-0"))
    assert student in inputs(found, "arms")
    assert prompts in inputs(found, "judge/a/recycled-against-original-0")
    assert "chooser.template" in command(found, "recycle")


def test_without_selection_ours_is_all_that_was_recycled_whatever_lies_there() -> None:
    assert command(recipe(), "arms").endswith("--of recycled")
    assert command(recipe(select={}), "arms").endswith("--of selected")
    assert "runs/x/data/selected.jsonl" not in inputs(recipe(), "arms")


def test_a_folder_of_other_data_is_refused_and_one_of_the_same_by_another_path_is_not(tmp_path: Path) -> None:
    recipe(data="a.jsonl").save(tmp_path / "recipe.yaml", stated=True)
    with pytest.raises(RunError, match=r"of other data: a\.jsonl"):
        Journey.open(recipe(data="b.jsonl"), tmp_path)
    Journey.open(recipe(data=str(Path("a.jsonl").resolve())), tmp_path)


def test_two_journeys_in_one_folder_are_refused(tmp_path: Path) -> None:
    handle = take(tmp_path)
    try:
        with pytest.raises(RunError, match="in use by process"):
            run(Journey(recipe(), tmp_path, (), PipelineState(reflectune="1")))
    finally:
        os.close(handle)


def test_money_of_stages_that_the_recipe_has_no_more_is_spent_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("judge: {input: 1000000, output: 1000000}\n")
    old = tmp_path / "verdicts/old/a-against-b-0"
    old.mkdir(parents=True)  # one that a run makes itself goes again, where it holds no rows
    with RunDir(old) as folder:
        asked = Request((Message("user", "?"),))
        reply = Reply(text="!", prompt_tokens=2, completion_tokens=1)
        asyncio.run(folder.store.keep_reply("k", asked, "judge@http://127.0.0.1:1/v1", reply))
    journey = Journey(recipe(prices=str(tmp_path / "p.yaml")), tmp_path, (), PipelineState(reflectune="1"))
    assert journey.spent() == 3.0
