"""`reflectune benchmark` through lm-eval, with replies that are scripted, on files that we wrote ourselves."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmark_files import SUMS, make
from reflectune.cli import app
from reflectune.errors import RequestRefused, SettingsError
from reflectune.evaluate.benchmarks import Subject, ask_and_score, ask_with, figures_of, parts_of
from reflectune.evaluate.benchmarks.code.sandbox import check_sandbox
from reflectune.evaluate.benchmarks.lm import engine_lm
from reflectune.evaluate.scores import Evaluation
from reflectune.oracles.engine import Engine
from reflectune.prompts import Prompts
from reflectune.recipe import BenchmarkSettings
from reflectune.records import Reply, Request
from reflectune.testing import MemoryStore, Said, ScriptedOracle

pytest.importorskip("lm_eval")

RIGHT = {asked: str(right) for asked, right in SUMS}


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["benchmark", *words])
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(*words: str, code: int = 0) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(reflectune(*words, "--json", code=code).stdout.splitlines()[-1])
    return summary


def items(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "items.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "own")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[ScriptedOracle]]:
    """Let scripted oracles be the models that a command opens; gives those that were opened."""

    def script(say: Callable[[Request], Said]) -> list[ScriptedOracle]:
        opened: list[ScriptedOracle] = []

        def open_one(name: str, *_: object) -> ScriptedOracle:
            opened.append(ScriptedOracle(say, name=name))
            return opened[-1]

        monkeypatch.setattr("reflectune.cli.benchmarking.open_model", open_one)
        return opened

    return script


def sums(request: Request) -> Said:
    """Right, but for the second question; with tags where it is told to reflect, but for the third."""
    question = request.messages[-1].content.split("\n")[0]
    place = list(RIGHT).index(question)
    answer = "1" if place == 1 else RIGHT[question]
    if request.messages[0].role == "user" or place == 2:
        return f"Adding them up gives:\n#### {answer}"
    draft = "5" if place else RIGHT[question]
    thought = f"It is {draft}.\n<reflection>\nNo, {answer}.\n</reflection>"
    return f"<thinking>\n{thought}\n</thinking>\n<output>{answer}</output>"


FILES = ("--data", "own", "--run", "run")


def test_replies_are_asked_scored_and_written(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(sums)
    summary = told("m", "--tasks", "gsm8k", "--arms", "plain,prompt-only", *FILES)
    assert (summary["questions"], summary["failed"], summary["pending"], summary["requests"]) == (12, 0, 0, 12)
    plain, prompted = summary["scores"]
    assert (plain["arm"], plain["value"], plain["items"]) == ("plain", pytest.approx(500 / 6), 6)
    assert (prompted["arm"], prompted["value"]) == ("prompt-only", pytest.approx(400 / 6))
    assert prompted["without_output"] == pytest.approx(100 / 6)
    assert prompted["reflections"] == pytest.approx(5 / 6)
    assert "1 replies state no answer" in prompted["note"]
    assert "6 of the 1,319 questions are in the file" in plain["note"]
    found = items(Path("run"))
    assert [(item["arm"], item["id"]) for item in found] == [
        (arm, str(number)) for arm in ("plain", "prompt-only") for number in range(1, 7)
    ]
    assert found[6]["draft"] is True
    assert found[7]["draft"] is False
    assert found[8]["draft"] is None
    assert (found[8]["without_output"], found[8]["scored"], found[8]["marks"]) == (True, "", {"accuracy": [False]})
    assert found[9]["text"].startswith("<thinking>")
    assert found[9]["scored"] == found[9]["gold"] == RIGHT[found[9]["question"]]
    systems = {request.messages[0].content for request in opened[0].requests if request.messages[0].role == "system"}
    assert len(systems) == 1
    assert "<reflection>" in systems.pop()
    assert {request.sampling.temperature for request in opened[0].requests} == {0}
    saved = Evaluation.load(Path("run/evaluation.json"))
    assert saved.command == "benchmark"
    assert saved.settings["tasks"] == ["gsm8k"]
    assert {"reflectune", "lm-eval"} <= saved.versions.keys()
    assert [score.value for score in saved.scores] == [score["value"] for score in summary["scores"]]


def test_the_same_command_asks_nothing_again(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(sums)
    first = told("m", "--tasks", "gsm8k", *FILES)
    before = Path("run/items.jsonl").read_bytes()
    second = told("m", "--tasks", "gsm8k", *FILES)
    assert (second["requests"], second["cached"]) == (0, 6)
    assert Path("run/items.jsonl").read_bytes() == before
    assert [one["value"] for one in first["scores"]] == [one["value"] for one in second["scores"]]
    assert [len(one.requests) for one in opened] == [6, 0]


def test_a_tuned_model_stands_beside_the_plain_one(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(sums)
    words = ("base", "--tuned", "tuned", "--tasks", "gsm8k", "--arms", "plain,prompt-only", "--limit", "2", *FILES)
    summary = told(*words)
    assert [(one["model"], one["arm"]) for one in summary["scores"]] == [
        ("base", "plain"),
        ("base", "prompt-only"),
        ("tuned", "reflective"),
    ]
    assert [one.name for one in opened] == ["base", "tuned"]
    assert [item["id"] for item in items(Path("run"))] == ["1", "2"] * 3
    assert [arm["arm"] for arm in summary["comparisons"][0]["arms"]] == ["plain", "prompt-only", "reflective"]
    shown = reflectune(*words).stderr
    assert "accuracy, %" in shown
    assert "against plain" in shown
    assert "only the first 2 are asked" in shown


def test_a_question_without_a_reply_is_in_no_figure(asked: Callable[..., list[ScriptedOracle]]) -> None:
    def say(request: Request) -> Said:
        if "3 pears" in request.messages[-1].content:
            return RequestRefused("Too long.", reason="context-overflow")
        if "4 pears" in request.messages[-1].content:
            return Reply(text="", finish_reason="content_filter")
        return sums(request)

    asked(say)
    summary = told("m", "--tasks", "gsm8k", *FILES, code=3)
    assert (summary["questions"], summary["failed"]) == (6, 2)
    assert summary["failures"] == {"content-filter": 1, "context-overflow": 1}
    [score] = summary["scores"]
    assert (score["value"], score["items"], score["failed"]) == (100, 4, 2)
    assert [item["failure"] and item["failure"]["reason"] for item in items(Path("run"))[:3]] == [
        "context-overflow",
        "content-filter",
        None,
    ]
    shown = reflectune("m", "--tasks", "gsm8k", "--max-failed", "0.5", *FILES).stderr
    assert "2 of 6 questions have no reply: content-filter 1, context-overflow 1" in shown


def test_where_every_reply_failed_there_is_no_figure(asked: Callable[..., list[ScriptedOracle]]) -> None:
    asked(lambda _: RequestRefused("Too long.", reason="context-overflow"))
    summary = told("m", "--tasks", "gsm8k,ifeval", *FILES, code=3)
    assert (summary["scores"], summary["failed"], summary["questions"]) == ([], 7, 7)


def test_a_budget_stops_it_and_it_goes_on(asked: Callable[..., list[ScriptedOracle]]) -> None:
    Path("prices.yaml").write_text("m: {input: 1000000, output: 1000000}\n")
    opened = asked(sums)
    words = ("m", "--tasks", "gsm8k", "--prices", "prices.yaml", "--max-tokens", "20", *FILES)
    summary = told(*words, "--budget", "150", "--max-concurrency", "1", code=4)
    assert summary["pending"] == 6 - len(opened[0].requests) > 0
    assert summary["scores"] == []
    assert not Path("run/evaluation.json").exists()
    done = len(opened[0].requests)
    assert told(*words)["requests"] == 6 - done
    assert Path("run/evaluation.json").exists()


def test_every_kind_of_question_is_asked_at_once(asked: Callable[..., list[ScriptedOracle]]) -> None:
    def say(request: Request) -> str:
        text = request.messages[-1].content
        if "rain" in text:
            return "It falls in thin grey lines."
        if "Half of one" in text or "One and two" in text:
            return "It is \\boxed{1/2}"
        return sums(request) if "pears" in text else "The answer is (B)"  # type: ignore[return-value]

    asked(say)
    summary = told("m", "--tasks", "math,mmlu,arc_challenge,gpqa,ifeval", *FILES)
    values = {(score["benchmark"], score["metric"]): round(score["value"], 1) for score in summary["scores"]}
    assert values[("math", "accuracy")] == 50
    assert values[("arc_challenge", "accuracy")] == 100
    assert values[("mmlu", "accuracy")] == round(100 * 4 / 12, 1)
    assert values[("gpqa", "accuracy")] in {0, 100}
    assert {values[("ifeval", metric)] for metric in ("prompt-strict", "instruction-loose")} == {100}


def test_code_is_run_only_where_that_is_said(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(lambda _: "```python\ndef twice(n):\n    return n + n\n```")
    assert isinstance(CliRunner().invoke(app, ["benchmark", "m", "--tasks", "humaneval"]).exception, SettingsError)
    assert not opened
    try:
        check_sandbox()
    except SettingsError as error:
        pytest.skip(error.what)
    summary = told("m", "--tasks", "humaneval", "--run-code", *FILES)
    assert [(score["metric"], score["value"]) for score in summary["scores"]] == [("pass@1", 100)]
    asked(lambda _: "```python\ndef twice(n):\n    return n\n```")
    assert told("m", "--tasks", "humaneval", "--run-code", "--data", "own", "--run", "other")["scores"][0]["value"] == 0


def test_a_reply_without_an_output_may_be_scored_whole(asked: Callable[..., list[ScriptedOracle]]) -> None:
    asked(sums)
    words = ("m", "--tasks", "gsm8k", "--arms", "prompt-only", *FILES)
    assert told(*words)["scores"][0]["value"] == pytest.approx(400 / 6)
    whole = told(*words, "--without-output", "whole")["scores"][0]
    assert whole["value"] == pytest.approx(500 / 6)
    assert "scored as its whole text" in whole["note"]
    assert whole["without_output"] == pytest.approx(100 / 6)


def test_worked_examples_come_as_earlier_turns(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(sums)
    [score] = told("m", "--tasks", "gsm8k", "--shots", "2", "--limit", "1", *FILES)["scores"]
    assert score["shots"] == 2
    assert "2 worked examples in place of 0" in score["note"]
    [request] = opened[0].requests
    assert [turn.role for turn in request.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert request.messages[0].content.startswith("1 and 1?\n")
    assert request.messages[1].content == "1+1 = 2\n#### 2"


def prices(*models: str) -> str:
    Path("prices.yaml").write_text("".join(f"{model}: {{input: 1, output: 2}}\n" for model in models))
    return "prices.yaml"


def system_tokens() -> float:
    return len(Prompts().text("en", "trace_system.txt").encode()) / 3


def test_what_the_hub_holds_is_unknown_to_a_dry_run() -> None:
    words = ("m@http://127.0.0.1:9/v1", "--tasks", "gsm8k", "--limit", "10", "--max-tokens", "100", "--dry-run")
    found = told(*words, "--prices", prices("m"))
    assert (found["tokens"], found["cost"]) == ({"sent": None, "received": 1000}, None)
    shown = reflectune(*words, "--prices", "prices.yaml").stderr
    assert "at most $0.0020 for the replies; what the prompts cost is unknown" in " ".join(shown.split())
    assert "unknown: state the price with --prices" in reflectune(*words).stderr
    weighed = told("m", "--tasks", "truthfulqa", "--form", "logprob", "--dry-run")
    assert (weighed["requests"], weighed["tokens"], weighed["cost"]) == (0, None, None)


def test_a_dry_run_asks_and_writes_nothing(asked: Callable[..., list[ScriptedOracle]]) -> None:
    opened = asked(sums)
    words = ("m", "--tasks", "gsm8k,mmlu", "--arms", "plain,prompt-only", "--tuned", "t", "--dry-run", *FILES)
    words += ("--max-tokens", "100", "--prices", prices("m", "t"))
    found = told(*words)
    sent, cost = found["tokens"]["sent"], found.pop("cost")
    assert found == {
        "questions": 54,
        "requests": 54,
        "tasks": {"gsm8k": 6, "mmlu": 12},
        "tokens": {"sent": sent, "received": 5400},
    }
    assert 36 * system_tokens() < sent < 36 * system_tokens() + 54 * 200  # two arms of three tell it to reflect
    assert cost == pytest.approx(sent / 1e6 + 2 * 5400 / 1e6, abs=1e-5)
    shown = reflectune(*words).stderr
    assert "at most 36 requests to m\n" in shown
    assert "at most 18 requests to t\n" in shown
    assert reflectune(*words, "--quiet").output == ""
    free = reflectune("local", "--tasks", "gsm8k", "--dry-run", *FILES).stderr
    assert "at most 3,072 (512 each)" in free
    assert "nothing: the model runs in this process" in free
    assert not opened
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "code", "what", "mend"),
    [
        (["--tasks", "typo"], 2, "tasks does not fit", "--help"),
        (["--tasks", "gsm9k"], 2, "tasks does not fit", "Did you mean gsm8k?"),
        (["--tasks", ""], 2, "tasks is empty", "Name one at least"),
        (["--tasks", "gsm8k", "--arms", "loud"], 2, "arms does not fit", "--help"),
        (["--tasks", "hellaswag"], 2, "hellaswag has no generative form", "--help"),
        (["--tasks", "humaneval"], 2, "--run-code", "--help"),
        (["--tasks", "gsm8k", "--data", "."], 1, "There is no file for gsm8k", "--data"),
        (["--tasks", "gsm8k", "--data", "nowhere"], 2, "There is no folder nowhere", "--data"),
        (["--tasks", "gsm8k", "--data", "own", "--run", "own/gsm8k/test.jsonl"], 1, "Cannot write into", "--run"),
        (["--tasks", "gsm8k", "--data", "own", "--prompts", "nope"], 2, "no prompt folder", "Name a folder"),
        (["--tasks", "mmlu", "--form", "logprob", "--data", "own"], 2, "is served", "--tokenizer"),
    ],
)
def test_what_cannot_be_done_is_said(  # noqa: PLR0917
    words: list[str],
    code: int,
    what: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from reflectune.cli import main

    monkeypatch.setattr("sys.argv", ["reflectune", "benchmark", "m@http://127.0.0.1:9/v1", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert what in said
    assert mend in said


def test_another_run_is_not_overwritten() -> None:
    Path("run").mkdir()
    Path("run/state.sqlite").touch()
    result = CliRunner().invoke(app, ["benchmark", "m", "--tasks", "gsm8k", *FILES])
    assert "holds no benchmarks" in str(result.exception)


@pytest.mark.parametrize("form", ["generative", "logprob"])
def test_figures_of_another_command_are_not_overwritten(form: str) -> None:
    Evaluation(command="judge", versions={}, settings={}, scores=()).save(Path("run"))
    words = ["benchmark", "hf:x/y", "--tasks", "arc_challenge", "--shots", "0", "--form", form, *FILES]
    result = CliRunner().invoke(app, words)
    assert "run holds what `reflectune judge` came to" in str(result.exception)
    assert [path.name for path in Path("run").iterdir()] == ["evaluation.json"]


def test_what_changed_is_told_and_fuller_figures_stay(asked: Callable[..., list[ScriptedOracle]]) -> None:
    asked(sums)
    first = reflectune("m", "--tasks", "gsm8k", "--limit", "4", *FILES).stderr
    assert "Since the last time" not in first
    more = reflectune("m", "--tasks", "gsm8k", "--arms", "plain,prompt-only", "--max-tokens", "99", *FILES).stderr
    assert "Since the last time arms changed: plain → plain, prompt-only; max_tokens changed: none → 99" in more
    assert "limit changed: 4 → none. The earlier figures will be replaced." in more
    kept = Path("run/evaluation.json").read_bytes()
    fewer = CliRunner().invoke(app, ["benchmark", "m", "--tasks", "gsm8k", "--limit", "5", *FILES])
    assert "run holds figures of 6 items, and --limit 5" in str(fewer.exception)
    assert Path("run/evaluation.json").read_bytes() == kept


def test_lm_eval_leaves_everything_as_it_was(asked: Callable[..., list[ScriptedOracle]]) -> None:
    asked(sums)
    random.seed(3)
    state, level = random.getstate(), logging.getLogger("lm_eval").level
    result = reflectune("m", "--tasks", "gsm8k", "--quiet", *FILES)
    assert (result.stdout, result.stderr) == ("", "")
    assert random.getstate() == state
    assert logging.getLogger("lm_eval").level == level


def test_task_files_are_lm_evals_own(asked: Callable[..., list[ScriptedOracle]]) -> None:
    from lm_eval.tasks import TaskManager

    asked(lambda _: "#### 8")
    told("m", "--tasks", "gsm8k,ifeval", "--arms", "plain,prompt-only", *FILES)
    manager = TaskManager(include_path="run/tasks", include_defaults=False)
    names = [f"reflectune_{name}{arm}" for name in ("gsm8k", "ifeval") for arm in ("", "_prompt_only")]
    assert manager.all_tasks == names
    loaded = manager.load("reflectune_gsm8k_prompt_only")["tasks"]["reflectune_gsm8k_prompt_only"]
    assert loaded.process_results(loaded.eval_docs[0], ["#### 8"]) == {"accuracy": True}


def test_a_model_of_replies_weighs_nothing() -> None:
    lm = engine_lm(lambda _: {}, {})
    for ask in (lm.loglikelihood, lm.loglikelihood_rolling):
        with pytest.raises(SettingsError, match="does not say how likely"):
            ask([])


def test_an_endpoints_address_is_no_part_of_its_name(asked: Callable[..., list[ScriptedOracle]]) -> None:
    asked(sums)
    words = ("org/m@http://127.0.0.1:9/v1", "--tasks", "gsm8k", "--limit", "1", "--data", "own")
    summary = told(*words)
    assert summary["run"] == "runs/org-m-gsm8k"
    assert summary["scores"][0]["model"] == items(Path("runs/org-m-gsm8k"))[0]["model"] == "org/m"


def test_python_asks_with_an_engine_of_its_own(tmp_path: Path) -> None:
    settings = BenchmarkSettings.made_of({"tasks": ["gsm8k"], "data": "own", "limit": 3}, source="A test")
    parts = parts_of(settings)
    engine = Engine(ScriptedOracle(sums), MemoryStore())
    found = ask_and_score(Subject("m", ("plain",)), parts, settings, ask_with(engine, settings), tmp_path / "tasks")
    [score] = figures_of(found, parts)
    assert (score.value, score.items, engine.usage.requests) == (pytest.approx(200 / 3), 3, 3)
