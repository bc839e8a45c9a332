"""The plan of a journey that was gone on before: what is done over, about how long that takes, what is said at last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reflectune.cli import app, running
from reflectune.cli.forecast import Forecasts
from reflectune.cli.run_plan import Line, show_plan
from reflectune.cli.running import Asked
from reflectune.pipeline import Journey
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.plan import Stage
from reflectune.pipeline.state import Spending, StageState
from reflectune.recipe import PipelineRecipe

RUNNER = CliRunner()
ROWS, PROMPTS = 4, 3
SIZES = {"recycle": {"rows": ROWS}, "train": {"rows": ROWS}, "judge": {"items": PROMPTS}, "generate": {"rows": PROMPTS}}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and prompts, in which everything happens."""
    monkeypatch.chdir(tmp_path)
    rows(tmp_path / "data.jsonl", ROWS)
    rows(tmp_path / "test.jsonl", PROMPTS)
    return tmp_path


def rows(path: Path, count: int) -> None:
    pairs = ({"instruction": f"Say {number}.", "output": str(number)} for number in range(count))
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def journey(**changes: Any) -> Journey:
    """The journey as its folder has it, with another recipe."""
    asked = {
        "data": "data.jsonl",
        "oracle": "local",
        "judge": "local",
        "student": "local",
        "select": {},
        "arms": ["original", "recycled"],
        "prompts": ["test.jsonl"],
    }
    return Journey.open(PipelineRecipe.made_of(asked | changes, source="test"), Path("runs/x"))


def gone(**changes: Any) -> Journey:
    """A journey of which every stage is done; no process was needed."""
    found = journey(**changes)
    for stage in found.stages:
        for path in stage.outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(stage.key)
        found.state = found.state.with_stage(stage.key, done(stage))
        known = found.fingerprint(stage, Fingerprints({}))
        found.note(stage, fingerprint=known)
    return found


def done(stage: Stage, **changes: Any) -> StageState:
    values = {"name": stage.name, "kind": stage.kind, "command": stage.command, "state": "done", "fingerprint": ""}
    more = {"seconds": 60.0, "summary": SIZES.get(stage.kind, {})}
    return StageState.model_validate(values | more | changes)


def planned(found: Journey, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    show_plan(found, as_json=True, quiet=False)
    return {stage["key"]: stage for stage in json.loads(capsys.readouterr().out)["stages"]}


def kinds(plan: dict[str, dict[str, Any]], state: str, *, perhaps: bool) -> set[str]:
    return {key.partition("/")[0] for key, one in plan.items() if (one["state"], one["perhaps"]) == (state, perhaps)}


def test_where_nothing_changed_everything_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    gone()
    assert {stage["state"] for stage in planned(journey(), capsys).values()} == {"done"}


def test_what_comes_after_a_changed_stage_is_left_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    gone()
    plan = planned(journey(recycle={"temperature": 0.5}), capsys)
    assert kinds(plan, "done", perhaps=False) == set()
    assert kinds(plan, "changed", perhaps=False) == {"recycle", "gates", "score", "select", "verdict"}
    assert kinds(plan, "changed", perhaps=True) == {"stats", "report", "arms", "train", "answer", "judge"}
    assert plan["judge/test/recycled-against-original-0"]["took"] is None


def test_what_does_not_depend_on_a_changed_stage_stays_done(capsys: pytest.CaptureFixture[str]) -> None:
    gone()
    plan = planned(journey(generate={"max_tokens": 6}), capsys)
    assert kinds(plan, "changed", perhaps=False) == {"answer", "verdict"}
    assert kinds(plan, "changed", perhaps=True) == {"judge"}
    plan = planned(journey(coherence=False), capsys)
    assert kinds(plan, "changed", perhaps=False) == {"stats", "verdict"}
    assert kinds(plan, "changed", perhaps=True) == set()


def test_more_seeds_leave_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    gone()
    plan = planned(journey(seeds=[0, 1]), capsys)
    assert {key for key, one in plan.items() if one["state"] == "new"} == {
        *("train/original-1", "train/recycled-1", "answer/test/original-1", "answer/test/recycled-1"),
        "judge/test/recycled-against-original-1",
    }
    assert {key for key, one in plan.items() if one["state"] == "changed"} == {"verdict"}


def forecast(found: Journey, key: str) -> float | None:
    return Forecasts(found).of(next(stage for stage in found.stages if stage.key == key)).seconds


def test_the_time_of_a_trial_is_scaled_to_the_whole() -> None:
    gone()
    rows(Path("data.jsonl"), 10 * ROWS)
    rows(Path("test.jsonl"), 20 * PROMPTS)
    for key, times in {"recycle": 10, "train/original-0": 10, "answer/test/original-0": 20}.items():
        assert forecast(journey(limit=10 * ROWS), key) == 60.0 * times, key
    assert forecast(journey(), "judge/test/recycled-against-original-0") == 60.0 * 20
    assert forecast(journey(), "verdict") == 60.0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train": {"epochs": 3.0}}, "train/original-0"),
        ({"generate": {"max_tokens": 900}}, "answer/test/original-0"),
        ({"judging": {"ask": "structured"}}, "judge/test/recycled-against-original-0"),
    ],
)
def test_the_time_of_other_settings_says_nothing(changes: dict[str, Any], key: str) -> None:
    empty = forecast(journey(**changes), key)
    gone()
    assert forecast(journey(**changes), key) == empty != 60.0


def test_a_stage_that_said_no_number_says_nothing_of_the_time_of_others() -> None:
    empty = forecast(journey(), "report")
    gone()
    assert forecast(journey(limit=2), "report") == empty != 60.0


def test_a_plan_has_the_columns_that_something_stands_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reflectune.cli.run_plan.err.width", 80)
    show_plan(journey(), as_json=False, quiet=False)
    told = capsys.readouterr().err
    assert told.splitlines()[1].split() == ["stage", "requests", "time"]
    assert "look for duplicates, and for the test sets in the data  " in told
    gone()
    show_plan(journey(recycle={"temperature": 0.5}), as_json=False, quiet=False)
    told = capsys.readouterr().err
    assert told.splitlines()[1].split() == ["stage", "state", "requests", "time"]
    assert "again if changed" in told
    assert max(map(len, told.splitlines())) <= 80


def test_of_a_stage_that_is_done_the_plan_says_what_it_took() -> None:
    stage = journey().stages[0]
    found = Forecasts(journey()).of(stage)
    assert Line(stage, "done", found, 60.0).told == "done"
    assert Line(stage, "changed", found, None).told == "over again"


def pretend(monkeypatch: pytest.MonkeyPatch, *, last: str, code: int = 0) -> dict[str, Any]:
    """Have a journey come to a stage, with an earlier verdict in its folder."""
    gone()
    Path("runs/x/verdict.json").write_text(json.dumps({"text": {"en": "An earlier verdict."}}))
    monkeypatch.setattr(Asked, "journey", lambda _: journey())
    asked: dict[str, Any] = {}

    def run(found: Journey, watch: Any, **how: Any) -> int:
        asked.update(how)
        for number, stage in enumerate(found.stages):
            watch(number, stage, "done")
            if stage.kind == last:
                break
        return code

    monkeypatch.setattr(running, "run", run)
    return asked


@pytest.mark.parametrize(("last", "said"), [("select", False), ("verdict", True)])
def test_only_a_journey_that_came_to_its_verdict_says_it(
    last: str, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, last=last)
    words = ["run", "x", *(["--until", last] if last != "verdict" else [])]
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == ("An earlier verdict." if said else "")
    assert ("verdict.html" in done.stderr) is said
    told = json.loads(RUNNER.invoke(app, [*words, "--json", "--quiet"]).stdout)
    assert told["verdict"] == ("An earlier verdict." if said else None)


def test_quiet_is_for_the_stages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch, last="verdict")
    RUNNER.invoke(app, ["run", "x", "--quiet"])
    assert asked["quiet"] is True


def test_an_unknown_cost_is_not_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, last="verdict")
    assert json.loads(RUNNER.invoke(app, ["run", "x", "--json"]).stdout)["cost"] == 0.0
    found = journey()
    found.note(found.stages[0], spent=Spending(requests=1, cost=None))
    assert json.loads(RUNNER.invoke(app, ["run", "x", "--json"]).stdout)["cost"] is None
