"""What is written for other trainers, whichever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from export_rows import PLAIN, THOUGHT, TRACES, WRONG, read, written
from reflectune.cli import app
from reflectune.errors import InputError, SettingsError
from reflectune.exports import TOOLS, Order, export_for
from reflectune.exports.kit import as_yaml, student_of
from reflectune.exports.schedule import every, held_out_rows, scheduled
from reflectune.exports.survey import survey
from reflectune.exports.wording import Chat, Plain, wording
from reflectune.formats import open_source
from reflectune.lessons import Lesson
from reflectune.recipe import TrainSettings
from reflectune.records import Example, Failure
from reflectune.runs import RunDir

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRAINERS = [tool for tool in TOOLS if tool != "messages"]


def test_messages_are_messages_and_nothing_else(tmp_path: Path) -> None:
    made = written(tmp_path, "messages", PLAIN, held_out="50%", student="local:x.gguf")
    assert [path.name for path in (tmp_path / "messages").iterdir()] == ["messages.jsonl"]
    rows = read(tmp_path / "messages" / "messages.jsonl")
    assert [set(row) for row in rows] == [{"id", "messages"}] * 4
    assert [turn["role"] for turn in rows[1]["messages"]] == ["system", "user", "assistant"]
    assert len(rows[2]["messages"]) == 6
    assert (made.rows, made.held_out, made.command) == (4, 0, "")
    assert "learn the mistakes too" in written(tmp_path, "messages", TRACES).notes[0]


@pytest.mark.parametrize("tool", TRAINERS)
def test_the_readme_says_how_to_start_and_what_is_left_out(tool: str, tmp_path: Path) -> None:
    rows = [*PLAIN, {"instruction": "Nothing?", "output": " "}]
    made = written(tmp_path, tool, rows, student="local", merge=True)
    readme = (tmp_path / tool / "README.md").read_text()
    assert made.command in readme
    assert "1 row left out" in readme
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in readme
    assert "to be done after it: merge" in readme
    (left,) = read(tmp_path / tool / "left_out.jsonl")
    assert left["reason"] == "no-response"
    assert {path.relative_to(tmp_path / tool).as_posix() for path in (tmp_path / tool).rglob("*.*")} == set(made.files)


@pytest.mark.parametrize("tool", TRAINERS)
def test_rows_held_out_are_not_learnt_and_the_same_everywhere(tool: str, tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {number}.", "output": str(number)} for number in range(50)]
    made = written(tmp_path, tool, rows, held_out="10%", seed=3)
    again = written(tmp_path, "trl", rows, held_out="10%", seed=3)
    files = [
        next((tmp_path / tool).rglob(name)) for name in ("train.jsonl", "*t*t.jsonl" if tool == "trl" else "held*")
    ]
    learnt, held = (set(file.read_text().splitlines()) for file in files)
    assert (made.rows, made.held_out) == (again.rows, again.held_out) == (45, 5)
    assert len(learnt | held) == 50
    number = {row["completion"][0]["content"] for row in read(tmp_path / "trl" / "data" / "test.jsonl")}
    assert all(any(f'"{one}"' in line for line in held) for one in number)


def test_an_earlier_export_leaves_nothing_behind(tmp_path: Path) -> None:
    written(tmp_path, "axolotl", [*PLAIN, {"instruction": "a", "output": ""}], held_out="1", template="llama-3.1")
    written(tmp_path, "axolotl", PLAIN)
    names = {path.name for path in (tmp_path / "axolotl").iterdir()}
    assert names == {"README.md", "config.yml", "train.jsonl"}


def test_rows_held_out_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "others.jsonl").write_text(json.dumps(PLAIN[0]) + "\n")
    made = written(tmp_path, "trl", PLAIN[1:], held_out="2%", held_out_data=tmp_path / "others.jsonl")
    assert (made.rows, made.held_out) == (3, 1)
    assert len(read(tmp_path / "trl" / "data" / "test.jsonl")) == 1


def test_what_cannot_be_written_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row fits the template"):
        written(tmp_path, "trl", PLAIN[2:3], template="vicuna")
    with pytest.raises(InputError, match="no row can be learnt from"):
        written(tmp_path, "trl", [{"instruction": "a", "output": ""}])
    with pytest.raises(SettingsError, match="no DeepSpeed configuration"):
        written(tmp_path, "trl", PLAIN, deepspeed=tmp_path / "nowhere.json")
    with pytest.raises(SettingsError, match="cannot be shared equally by 3 devices"):
        written(tmp_path, "trl", PLAIN, devices=3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.sqlite").touch()
    with pytest.raises(SettingsError, match="is a run or a file"):
        export_for(open_source(tmp_path / "data.jsonl"), Order("trl", TrainSettings(batch=1), tmp_path / "run"))


@pytest.mark.parametrize("name", ["local:org/name", "model.gguf", "gpt@http://127.0.0.1:1/v1"])
def test_a_student_that_others_cannot_train_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot train"):
        student_of(TrainSettings(student=name))
    assert student_of(TrainSettings(student="hf:org/model")) == ("org/model", "")


def test_templates_by_name_and_by_file(tmp_path: Path) -> None:
    assert wording(None) == wording("chat") == Chat("chat")
    llama = wording("llama-3.1")
    assert isinstance(llama, Chat)
    assert "start_header_id" in llama.text
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    assert wording(str(tmp_path / "own.jinja")) == Chat("own.jinja", "{{ messages }}")
    (tmp_path / "own.txt").write_text("Q: {{instruction}}\nA:")
    plain = wording(str(tmp_path / "own.txt"))
    assert isinstance(plain, Plain)
    example = Example("1", "Translate.", "cat", input="{Katze}")
    assert plain.pair(Lesson(example, 1)) == [{"prompt": "Q: Translate.\n\n{Katze}\nA:", "completion": "cat"}]
    refused = plain.pair(Lesson(Example("1", "Translate.", "cat", system="You translate."), 1))
    assert isinstance(refused, Failure)
    assert refused.reason == "template"
    for name in ("alpacca", str(tmp_path / "nowhere.jinja")):
        with pytest.raises(SettingsError, match="no template"):
            wording(name)


def test_what_carries_no_loss() -> None:
    marked = Lesson(Example("1", "a", THOUGHT), 1, (WRONG,))
    unmarked = Lesson(Example("1", "a", THOUGHT), 1)
    plain = Lesson(Example("1", "a", "b"), 1)
    assert marked.silent("whole") == plain.silent("mistake-masked") == ()
    assert marked.silent("mistake-masked") == (WRONG,)
    ((begin, end),) = unmarked.silent("mistake-masked")
    assert THOUGHT[begin:end].strip() == "2 + 2 is 5."
    ((begin, end),) = marked.silent("after-reflection")
    assert (begin, THOUGHT[end:].startswith("No: it is 4.")) == (0, True)


def test_a_survey_counts() -> None:
    lessons = [Lesson(Example("1", "a", THOUGHT), 4, (WRONG,)), Failure(id="2", stage="read", reason="empty")]
    seen = survey(lessons, "mistake-masked", 16)
    assert (seen.rows, seen.left_out, seen.masked, seen.marked, seen.first_marked) == (1, 1, 1, 1, 4)
    assert seen.tokens == 16  # no more than is read
    assert survey([], "whole", 16).tokens == 0


@unhurried
@given(
    devices=st.integers(1, 64),
    each=st.integers(1, 64),
    rows=st.integers(1, 100_000),
    length=st.integers(16, 8_192),
    tokens=st.floats(1, 8_192),
    packing=st.booleans(),
)
def test_a_schedule_shares_every_step_equally(
    *, devices: int, each: int, rows: int, length: int, tokens: float, packing: bool
) -> None:
    asked = TrainSettings(batch=devices * each, max_length=length, batch_tokens=4 * length)
    plan = scheduled(asked, rows, devices, tokens=min(tokens, length) if packing else 0.0)
    assert plan.per_device * plan.accumulation <= each
    assert 1 <= plan.per_device <= 4
    if not packing:
        assert plan.per_device * plan.accumulation * devices == asked.batch
    assert 1 <= plan.warmup <= plan.steps


@given(st.integers(1, 1_000))
def test_a_share_of_the_run_is_never_every_step(times: int) -> None:
    assert 0 < every(times) < 1
    assert every(times) == pytest.approx(1 / times, abs=2e-6)


def test_held_out_rows_leave_one_to_learn_from() -> None:
    assert [held_out_rows(TrainSettings(held_out=text), 100) for text in ("2%", "64", "0", "500")] == [2, 64, 0, 99]
    assert held_out_rows(TrainSettings(held_out_data="x"), 100) == 0


def test_numbers_come_back_as_numbers() -> None:
    values = {"a": 2e-5, "b": 1e-06, "c": 0.1, "d": 3.0, "e": None, "f": 1.5e-7}
    assert yaml.safe_load(as_yaml(values)) == {key: value for key, value in values.items() if value is not None}


def type_in(*words: str) -> Result:
    return CliRunner().invoke(app, ["export", *words])


def test_a_run_gives_what_was_selected_else_what_was_recycled(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    RunDir(run).close()
    (run / "recycled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PLAIN))
    words = (str(run), "--for", "trl", "--output", str(tmp_path / "out"), "--recipe", "reflection-tuning-7b")
    recycled = type_in(*words)
    assert recycled.exit_code == 0, recycled.output
    assert "3 rows" in recycled.output
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (config["model_name_or_path"], config["learning_rate"]) == ("meta-llama/Llama-2-7b-hf", 2e-5)
    (run / "selected.jsonl").write_text(json.dumps(PLAIN[0]) + "\n")
    changed = type_in(*words, "--student", "org/model", "--template", "chat", "--set", "batch=64", "--devices", "4")
    assert "1 row." in changed.output
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (config["model_name_or_path"], config["gradient_accumulation_steps"]) == ("org/model", 16)


def test_flags_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(PLAIN[0]) + "\n")
    no_folder = type_in(str(tmp_path / "data.jsonl"), "--for", "trl")
    assert "writes a folder" in str(no_folder.exception)
    assert type_in(str(tmp_path), "--recipe", "smoke").exit_code == 2


def test_a_shipped_configuration_of_deepspeed_is_copied(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text(json.dumps(PLAIN[0]) + "\n")
    words = (str(tmp_path / "data.jsonl"), "--for", "axolotl", "--output", str(tmp_path / "out"))
    assert type_in(*words, "--set", "deepspeed=zero3-13b").exit_code == 0
    assert json.loads((tmp_path / "out" / "deepspeed.json").read_text())["zero_optimization"]["stage"] == 3
    assert yaml.safe_load((tmp_path / "out" / "config.yml").read_text())["deepspeed"] == "deepspeed.json"


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "messages").mkdir()
    (tmp_path / "messages" / "README.md").write_text("My notes.")
    with pytest.raises(SettingsError, match="holds other things"):
        written(tmp_path, "messages", PLAIN)
    assert (tmp_path / "messages" / "README.md").read_text() == "My notes."
