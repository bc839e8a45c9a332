"""What would stop a later stage of a journey is found out before the first. No model, no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reflectune.cli import beforehand
from reflectune.cli.beforehand import check_beforehand
from reflectune.errors import InputError, MissingExtraError, ReflectuneError, SettingsError
from reflectune.pipeline import Journey, plan
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.state import PipelineState, StageState
from reflectune.recipe import PipelineRecipe

SERVED = {"name": "m", "base_url": "http://127.0.0.1:9/v1"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with data and a test set, no key, and every package."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(beforehand, "find_spec", lambda _: True)
    Path("data.jsonl").write_text('{"instruction": "Why?", "output": "So."}\n', encoding="utf-8")
    Path("t.jsonl").write_text('{"instruction": "Why?"}\n', encoding="utf-8")


def journey(**values: Any) -> Journey:
    stated = {"data": "data.jsonl", "oracle": SERVED, "judge": SERVED, "prompts": ["t.jsonl"], **values}
    recipe = PipelineRecipe.made_of(stated, source="test")
    return Journey(recipe, Path("runs/x"), plan(recipe, Path("runs/x")), PipelineState(reflectune="1"))


def check(until: str | None = None, *, dry_run: bool = False, **values: Any) -> None:
    check_beforehand(journey(**values), until, dry_run=dry_run)


def refused(told: str, until: str | None = None, kind: type[ReflectuneError] = SettingsError, **values: Any) -> None:
    with pytest.raises(kind) as error:
        check(until, **values)
    assert told in str(error.value)


def student(*, template: str | None) -> str:
    """A folder that is like a model's."""
    Path("student").mkdir()
    settings = {} if template is None else {"chat_template": template}
    Path("student/tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return "./student"


def test_nothing_is_said_where_nothing_stands_in_the_way() -> None:
    check()
    check(budget=3, oracle="local", judge="local")


@pytest.mark.parametrize(("what", "until"), [("oracle", "recycle"), ("judge", None)])
def test_a_key_that_is_not_set(what: str, until: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {what: {"name": "gpt-4o", "key_env": "OF_MINE"}}
    refused(f"{what}: https://api.openai.com/v1 needs a key, and the variable OF_MINE is not set", until, **asked)
    refused("another variable with key_env", until, **asked)
    check(until, dry_run=True, **asked)
    monkeypatch.setenv("OF_MINE", "k")
    check(until, **asked)


def test_a_key_is_not_asked_for_where_the_stages_that_need_it_are_not_done() -> None:
    check("train", judge="gpt-4o")


def test_a_key_is_not_asked_for_where_the_stage_that_needs_it_was_done() -> None:
    found = journey(oracle="gpt-4o", arms=["recycled"])
    first = found.stages[0]
    for path in first.outputs:
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
    noted = StageState.model_validate(
        {
            "name": first.name,
            "kind": first.kind,
            "command": first.command,
            "state": "done",
            "fingerprint": found.fingerprint(first, Fingerprints({})),
        }
    )
    found.state = found.state.with_stage(first.key, noted)
    check_beforehand(found, None, dry_run=False)


@pytest.mark.parametrize("what", ["oracle", "judge"])
def test_a_price_that_is_unknown_is_an_error_under_a_budget(what: str) -> None:
    others: dict[str, Any] = {"oracle": "local", "judge": "local"}
    refused(f"{what}: the price of m is unknown", budget=3, **others | {what: SERVED})
    Path("p.yaml").write_text("m: {input: 1, output: 2}\n", encoding="utf-8")
    check(budget=3, prices="p.yaml")


@pytest.mark.parametrize(
    ("values", "until", "told"),
    [
        ({"prices": "none.yaml"}, "recycle", "no price file none.yaml"),
        ({"recycle": {"prompts": "none"}}, "recycle", "no prompt folder none"),
        ({"judging": {"prompts": "none"}}, None, "no prompt folder none"),
        ({"score": {"prompts": "none"}}, "score", "no prompt folder none"),
        ({"score": {"template": "vicnua"}}, "score", "no template vicnua"),
        ({"train": {"template": "t.txt"}}, None, "no template t.txt"),
        ({"train": {"deepspeed": "zero3-70b.jsn"}}, None, "no DeepSpeed configuration zero3-70b.jsn"),
        ({"benchmark": {"tasks": ["gsm8k"], "data": "none"}}, None, "no folder none"),
        ({"oracle": "local:none.gguf"}, "recycle", "oracle: none.gguf: there is no such file"),
        ({"launch": "no-such-torchrun --nproc-per-node 8"}, None, "no program no-such-torchrun"),
    ],
)
def test_a_file_that_a_stage_names_and_that_is_not_there(values: dict[str, Any], until: str | None, told: str) -> None:
    refused(told, until, **values)


@pytest.mark.parametrize(
    "values", [{"data": "none.jsonl"}, {"prompts": ["none.jsonl"]}, {"train": {"held_out_data": "none.jsonl"}}]
)
def test_data_that_are_not_there(values: dict[str, Any]) -> None:
    refused("none.jsonl", kind=InputError, **values)


def test_files_of_stages_that_are_not_done_are_not_looked_for() -> None:
    check("arms", judging={"prompts": "none"}, train={"deepspeed": "none", "held_out_data": "none.jsonl"})


@pytest.mark.parametrize(
    ("module", "told", "until", "values"),
    [
        ("trl", "reflectune[train]", "train", {}),
        ("peft", "reflectune[train]", "train", {"train": {"method": "lora"}}),
        ("bitsandbytes", "reflectune[qlora]", "train", {"train": {"method": "qlora"}}),
        ("deepspeed", "pip install deepspeed", "train", {"train": {"deepspeed": "zero3-7b"}}),
        ("torch", "reflectune[score]", "recycle", {"recycle": {"versions": "chosen"}}),
        ("sentence_transformers", "reflectune[stats]", "stats", {}),
        ("sentence_transformers", "reflectune[stats]", None, {"select": {"rule": "diverse"}, "coherence": False}),
        ("rensa", "reflectune[quality]", "gates", {}),
        ("scipy", "reflectune[eval]", "judge", {}),
        ("lm_eval", "reflectune[eval]", None, {"benchmark": {"tasks": ["gsm8k"]}}),
        ("xllamacpp", "reflectune[local]", "judge", {"judge": "local"}),
        ("ray", "reflectune[ray]", "recycle", {"engine": "ray"}),
    ],
)
def test_a_package_that_is_not_installed(
    module: str, told: str, until: str | None, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beforehand, "find_spec", lambda name: None if name == module else True)
    refused(told, until, MissingExtraError, **values)
    check(until, dry_run=True, **values)


def test_packages_of_stages_that_are_not_done_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beforehand, "find_spec", lambda _: None)
    check("recycle")


def test_a_student_that_nobody_knows_how_to_ask() -> None:
    name = student(template=None)
    base: dict[str, Any] = {"student": name, "arms": ["recycled", "base"], "train": {"template": "vicuna"}}
    refused("Leave base out of the arms", **base)
    check("train", **base)
    check(**base | {"arms": ["recycled"]})
    check(**base | {"prompts": []})
    check(**base | {"prompts": [], "benchmark": {"form": "logprob", "tasks": ["mmlu"]}})
    refused("Leave base out of the arms", **base | {"prompts": [], "benchmark": {"tasks": ["gsm8k"]}})


def test_a_student_that_is_to_be_trained_by_a_template_that_it_lacks() -> None:
    name = student(template=None)
    refused("train.template", student=name)
    check("arms", student=name)


def test_a_student_that_says_how_it_is_asked() -> None:
    check(student=student(template="{{ messages }}"), arms=["recycled", "base"])


def test_a_template_may_stand_in_a_file_of_its_own() -> None:
    name = student(template=None)
    Path("student/chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    check(student=name, arms=["recycled", "base"])


def test_training_on_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beforehand, "_has_gpu", lambda: False)
    refused("this machine has none", train={"needs_gpu": True})
    check("arms", train={"needs_gpu": True})
    check(dry_run=True, train={"needs_gpu": True})


@pytest.mark.parametrize("launch", ["  ", "torchrun 'open"])
def test_a_launch_that_names_no_program_is_an_error(launch: str) -> None:
    with pytest.raises(SettingsError, match="launch does not fit"):
        journey(launch=launch)
