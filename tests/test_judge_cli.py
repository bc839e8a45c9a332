"""`reflectune judge` from end to end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loopback import Loopback
from reflectune.cli import app
from reflectune.cli.beside import named, others_in
from reflectune.cli.hand_verdicts import Sat, conclude
from reflectune.cli.judging import Asked
from reflectune.evaluate.judge import Verdict, matched, read_answers
from reflectune.evaluate.judge.people import verdict_of
from reflectune.evaluate.scores import Evaluation
from reflectune.recipe import JudgeSettings, Recipe
from reflectune.records import Failure, Request
from reflectune.testing import Said, ScriptedOracle
from test_judge import by_text, reviews, write

ROWS = [{"instruction": f"Describe thing {n}.", "input": "x" * n} for n in range(6)]


def answers(name: str, texts: list[str], **more: Any) -> str:
    rows = [{**row, "output": text, **more} for row, text in zip(ROWS, texts, strict=False)]
    return str(write(Path(name), rows))


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["judge", *words])
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(*words: str, code: int = 0) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(reflectune(*words, "--json", code=code).stdout.splitlines()[-1])
    for judge in summary.get("judges", ()):
        if "verdicts" in judge:
            assert summary["items"] == judge["verdicts"] + judge["failed"] + judge["pending"]
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "k")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedOracle]:
    """Let a scripted oracle be every judge that a command opens."""

    def script(say: Callable[[Request], Said]) -> ScriptedOracle:
        oracle = ScriptedOracle(say)

        def opened(name: str, *_: object) -> ScriptedOracle:
            oracle.name = name
            return oracle

        monkeypatch.setattr("reflectune.cli.judging.open_model", opened)
        return oracle

    return script


def test_two_files_are_judged_and_saved(asked: Callable[..., ScriptedOracle]) -> None:
    oracle = asked(by_text)
    a = answers("a.json", ["good one", "good", "good", "bad", "good", "bad"], dataset="s", generator="m/a")
    b = answers("b.json", ["bad", "bad", "good", "good and long", "bad"], dataset="s")
    summary = told(a, b, "--judge", "j", "--max-failed", "0.2")
    run = Path("runs/m-a-against-b-by-j")
    assert (summary["run"], summary["a"], summary["b"], summary["items"]) == (str(run), "m/a", "b", 6)
    [judge] = summary["judges"]
    assert (judge["verdicts"], judge["failed"], judge["failures"]) == (5, 1, {"no-counterpart": 1})
    found = judge["sets"]["s"]
    assert (found["wins"], found["ties"], found["losses"], found["winning_score"]) == (3, 1, 1, 1.4)
    assert summary["requests"] == len(oracle.requests) == 9  # equal answers look the same in both orders
    verdicts = [Verdict.model_validate(row) for row in lines(run / "verdicts.jsonl")]
    assert [said.outcome for said in verdicts] == ["win", "win", "tie", "lose", "win"]
    assert {said.judge for said in verdicts} == {"j"}
    assert all(len(look.raw) == 1 for said in verdicts for look in said.looks)
    [lost] = [Failure.model_validate(row) for row in lines(run / "judge_failures.jsonl")]
    assert (lost.stage, lost.reason) == ("match", "no-counterpart")
    saved = Evaluation.load(run / "evaluation.json")
    assert saved.command == "judge"
    assert saved.settings["judges"] == [judge["judge"]]
    scores = {score.metric: score for score in saved.scores}
    assert scores["win-rate"].value == 70
    assert scores["winning-score"].value == pytest.approx(1.4)
    assert {(s.model, s.against, s.benchmark, s.form, s.failed, s.replies) for s in saved.scores} == {
        ("m/a", "b", "s", "pairwise", 1, "verdicts.jsonl")
    }


def test_the_same_command_asks_nothing_twice(asked: Callable[..., ScriptedOracle]) -> None:
    oracle = asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    first = told(a, b, "--judge", "j", "--limit", "4")
    kept = Path("runs/a-against-b-by-j/verdicts.jsonl").read_bytes()
    again = told(a, b, "--judge", "j", "--limit", "4")
    assert (first["requests"], again["requests"], again["cached"], len(oracle.requests)) == (8, 0, 8, 8)
    assert Path("runs/a-against-b-by-j/verdicts.jsonl").read_bytes() == kept
    assert told(a, b, "--judge", "j")["requests"] == 4


def test_two_judges_and_how_far_they_agree(asked: Callable[..., ScriptedOracle]) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 3 + ["bad"] * 3), answers("b.json", ["bad"] * 3 + ["good"] * 3)
    shown = reflectune(a, b, "--judge", "one", "--judge", "two", "--name-a", "[red]A", "--name-b", "B").stderr
    assert "[red]A against B, judged by one" in shown
    assert "Cohen's kappa 1.000" in shown
    saved = Evaluation.load(Path("runs/red-A-against-B-by-one-and-two/evaluation.json"))
    [kappa] = [score for score in saved.scores if score.metric == "kappa"]
    assert (kappa.value, kappa.items, kappa.judge and kappa.judge.count("structured")) == (1, 6, 2)
    assert {row["judge"] for row in lines(Path("runs/red-A-against-B-by-one-and-two/verdicts.jsonl"))} == {"one", "two"}
    assert not reflectune(a, b, "--judge", "one", "--quiet").stderr


def test_rows_of_one_file_only_are_told_of(asked: Callable[..., ScriptedOracle]) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 4)
    shown = " ".join(reflectune(b, a, "--judge", "j", code=3).stderr.split())
    assert "b against a: 4 pairs, matched by question; without a pair: 2 questions (2 only in a.json)" in shown
    assert "No verdict, and no tie, on 2 questions: 2 no-counterpart (2 only in a.json)" in shown
    few = answers("few.json", ["bad"])
    assert "1 pair, matched" in reflectune(a, few, "--dry-run").stderr


def test_replies_that_are_no_verdict_end_with_3(asked: Callable[..., ScriptedOracle]) -> None:
    asked(lambda request: "8 9" if "thing 1" in request.messages[1].content else by_text(request))
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    summary = told(a, b, "--judge", "j", code=3)
    [judge] = summary["judges"]
    assert (judge["verdicts"], judge["failed"], judge["failures"]) == (5, 1, {"invalid": 1})
    assert judge["sets"]["all"]["ties"] == 0
    assert lines(Path("runs/a-against-b-by-j/judge_failures.jsonl"))[0]["raw"] == "8 9"
    assert "No verdict, and no tie, on 1 question: 1 invalid" in reflectune(a, b, "--judge", "j", code=3).stderr
    assert told(a, b, "--judge", "j", "--max-failed", "0.5")["requests"] == 0


def test_an_interrupted_judge_goes_on(asked: Callable[..., ScriptedOracle]) -> None:
    def say(request: Request) -> Said:
        if len(oracle.requests) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return by_text(request)

    oracle = asked(say)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    first = told(a, b, "--judge", "j", "--max-concurrency", "1", code=130)
    assert first["judges"][0]["pending"] == 5
    notes = {score.note for score in Evaluation.load(Path("runs/a-against-b-by-j/evaluation.json")).scores}
    assert all("5 pairs are not judged yet" in note for note in notes)
    again = told(a, b, "--judge", "j")
    assert (again["judges"][0]["pending"], again["requests"] + first["requests"]) == (0, 12)


def test_a_dry_run_asks_and_writes_nothing() -> None:
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 5)
    found = told(a, b, "--judge", "gpt-4o@https://api.openai.com/v1", "--judge", "local", "--dry-run")
    assert (found["items"], found["pairs"], found["failed"], found["requests"]) == (6, 5, 1, 5 * 2 + 5 * 24)
    assert [judge["judge"] for judge in found["judges"]] == ["gpt-4o@https://api.openai.com/v1", "local"]
    assert found["judges"][0]["cost"]["likely"] > found["judges"][1]["cost"]["likely"] == 0
    assert reflectune(a, b, "--dry-run", "--quiet").output == ""
    shown = reflectune(a, b, "--dry-run").stderr
    assert "120 requests to local" in shown
    assert "nothing: the model runs in this process" in shown
    assert "unknown: state the price" in reflectune(a, b, "--dry-run", "--judge", "m@http://127.0.0.1:9/v1").stderr
    assert not Path("runs").exists()


def test_published_reviews_need_no_judge(tmp_path: Path) -> None:
    path = reviews(tmp_path, ("9 2", "3 8"), ("9, 2", "9 2"), ("No idea.", "3 8"))
    shown = reflectune("--reviews", str(path), "--name-a", "x", "--max-failed", "0.5").stderr
    assert "x against Answer2, judged by j" in shown
    assert "3 reviewed pairs, 1 judge; nobody is asked" in shown
    assert "1 / 1 / 0" in shown
    summary = told("--reviews", str(path), code=3)
    assert (summary["requests"], summary["judges"][0]["failures"]) == (0, {"unparsable": 1})
    saved = Evaluation.load(Path("runs") / path.stem / "evaluation.json")
    assert {score.benchmark for score in saved.scores} == {"set"}
    assert not told("--reviews", str(path), "--max-failed", "1")["agreement"]


def test_a_server_judges(loopback: Callable[..., Loopback]) -> None:
    server = loopback()
    a, b = answers("a.json", [f"good {n}" for n in range(6)]), answers("b.json", [f"bad {n}" for n in range(6)])
    first = told(a, b, "--judge", f"m@{server.base_url}")
    assert (first["requests"], first["judges"][0]["verdicts"]) == (12, 6)
    assert told(a, b, "--judge", f"m@{server.base_url}")["cached"] == 12
    stats = server.stats()
    assert (stats["answered"], stats["answered_twice"]) == (12, 0)
    talk = told(a, b, "--judge", f"m@{server.base_url}", "--ask", "dialogue", "--run", "runs/talk")
    assert (talk["requests"], talk["judges"][0]["verdicts"]) == (144, 6)


@pytest.mark.model
def test_the_embedded_model_judges() -> None:
    a, b = answers("a.json", ["It is round and red."]), answers("b.json", ["No."])
    summary = told(a, b)
    [judge] = summary["judges"]
    assert (judge["verdicts"], judge["failed"], summary["requests"]) == (1, 0, 24)
    for row in lines(Path("runs/a-against-b-by-SmolLM2-135M-Instruct/verdicts.jsonl")):
        for look in Verdict.model_validate(row).looks:
            assert all(1 <= (getattr(look.a, name) or 0) <= 10 for name in ("overall", "helpfulness", "detail"))
            assert look.a.remark
    assert told(a, b)["requests"] == 0


@pytest.mark.parametrize(
    ("words", "code", "what", "mend"),
    [
        (["a.json"], 2, "Two files of answers are compared, and 1 are named", "judge A B"),
        (["a.json", "nope.json"], 1, "no such file", "Check the path"),
        (["a.json", "other.json"], 1, "no question in common", "same instructions"),
        (["a.json", "b.json", "--judge", "x", "--judge", "x"], 2, "The judges are x, x", "two different ones"),
        (["a.json", "b.json", *["--judge", "x", "--judge", "y", "--judge", "z"]], 2, "x, y, z", "one judge"),
        (["a.json", "b.json", "--prompts", "nope"], 2, "no prompt folder", "Name a folder"),
        (["a.json", "b.json", "--judge", "./nope"], 2, "no model at ./nope", "Check the path"),
        (["a.json", "b.json", "--budget", "1", "--judge", "m@http://127.0.0.1:9/v1"], 2, "price of", "--prices"),
        (["a.json", "b.json", "--map", "instruction=x,response=y"], 1, "no column 'x'", "There are"),
        (["a.json", "b.json", "--run", "a.json"], 2, "is a file", "--run"),
        (["--reviews", "a.json"], 1, "holds no reviews", "`data`"),
        (["--reviews", "r.json", "r.json"], 1, "once more", "Name each file once"),
    ],
)
def test_what_cannot_be_done_is_said(  # noqa: PLR0917
    words: list[str],
    code: int,
    what: str,
    mend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from reflectune.cli import main

    answers("a.json", ["good"] * 6)
    answers("b.json", ["bad"] * 6)
    write(Path("other.json"), [{"instruction": "Else?", "output": "x"}])
    reviews(tmp_path, ("9 2", "3 8")).rename("r.json")
    monkeypatch.setattr("sys.argv", ["reflectune", "judge", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code, said
    assert what in said
    assert mend in said


def test_a_run_that_holds_other_things_is_not_overwritten(asked: Callable[..., ScriptedOracle]) -> None:
    from reflectune.formats import open_source
    from reflectune.runs import RunDir

    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    with RunDir(Path("runs/a-against-b-by-j")) as run:
        run.ingest(open_source(a).rows())
    result = CliRunner().invoke(app, ["judge", a, b, "--judge", "j"])
    assert "holds no verdicts" in str(result.exception)


def test_what_changed_is_told_and_fuller_figures_stay(asked: Callable[..., ScriptedOracle]) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    shown = [reflectune(a, b, "--run", "run", "--judge", "j", "--limit", "4").stderr for _ in range(2)]
    assert "Since the last time" not in "".join(shown)
    more = reflectune(a, b, "--run", "run", "--judge", "k", "--temperature", "0.5").stderr
    for told_of in ("judge changed: j → k", "limit changed: 4 → none", "temperature changed: none → 0.5"):
        assert told_of in more
    assert "The earlier figures will be replaced." in more
    Path("own/en").mkdir(parents=True)
    Path("own/en/judge_structured.txt").write_text("Judge.\n")
    reflectune(a, b, "--run", "run", "--judge", "k", "--prompts", "own")
    Path("own/en/judge_structured.txt").write_text("Judge well.\n")
    again = reflectune(a, b, "--run", "run", "--judge", "k", "--prompts", "own").stderr
    assert "Since the last time wording changed: " in again
    kept = Path("run/evaluation.json").read_bytes()
    fewer = CliRunner().invoke(app, ["judge", a, b, "--run", "run", "--judge", "k", "--limit", "5"])
    assert "figures of 6 items, and --limit 5" in str(fewer.exception)
    assert Path("run/evaluation.json").read_bytes() == kept
    assert told(a, b, "--run", "run", "--judge", "k", "--limit", "6")["items"] == 6


def test_what_a_person_judged_stays_when_a_model_judges_again(asked: Callable[..., ScriptedOracle]) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    reflectune(a, b, "--run", "run", "--judge", "j")
    found = matched(*map(read_answers, (a, b)))
    said = tuple(verdict_of(pair, "tie", "human:ada", 0) for pair in found.pairs)
    by_hand = Asked(Recipe(data=a), JudgeSettings(), (a, b), (), quiet=True)
    run = Path("run")
    sat = Sat(run, ("a", "b"), by_hand, "human:ada", found, "", said, finished=True)
    conclude(sat, named([(run, other) for other in others_in(run, "human:ada")], run), as_json=False)
    before = Evaluation.load(run / "evaluation.json")
    assert "human:ada: what was judged by hand stays." in reflectune(a, b, "--run", "run", "--judge", "j").stderr
    assert sorted(row["judge"] for row in lines(run / "verdicts.jsonl")) == ["human:ada"] * 6 + ["j"] * 6
    after = Evaluation.load(run / "evaluation.json")
    assert {score.judge for score in after.scores} == {score.judge for score in before.scores}
    assert len(after.scores) == len(before.scores)
    reflectune(a, b, "--run", "run", "--judge", "k")
    scores = Evaluation.load(run / "evaluation.json").scores
    judges = {(score.judge or "").partition(" (")[0] for score in scores}
    assert judges == {"human:ada", "k", "human:ada and k"}


@pytest.mark.parametrize("reviewed", [False, True])
def test_figures_of_another_command_are_not_overwritten(
    asked: Callable[..., ScriptedOracle], tmp_path: Path, reviewed: bool
) -> None:
    oracle = asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    words = ["--reviews", str(reviews(tmp_path, ("9 2", "3 8")))] if reviewed else [a, b, "--judge", "j"]
    Evaluation(command="benchmark", versions={}, settings={}, scores=()).save(Path("other"))
    result = CliRunner().invoke(app, ["judge", *words, "--run", "other"])
    assert "other holds what `reflectune benchmark` came to" in str(result.exception)
    assert [path.name for path in Path("other").iterdir()] == ["evaluation.json"]
    assert not oracle.requests


def test_reviews_take_no_judges_place(asked: Callable[..., ScriptedOracle], tmp_path: Path) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    reflectune(a, b, "--judge", "j", "--run", "run")
    kept = Path("run/verdicts.jsonl").read_bytes()
    published = str(reviews(tmp_path, ("9 2", "3 8")))
    for words in (["--run", "run"], ["--run", "a.json"]):
        result = CliRunner().invoke(app, ["judge", "--reviews", published, *words])
        assert "own judge said" in str(result.exception) or "is a file" in str(result.exception)
    assert Path("run/verdicts.jsonl").read_bytes() == kept


def test_an_evaluation_that_cannot_be_read_is_not_overwritten(asked: Callable[..., ScriptedOracle]) -> None:
    asked(by_text)
    a, b = answers("a.json", ["good"] * 6), answers("b.json", ["bad"] * 6)
    Path("run").mkdir()
    Path("run/evaluation.json").write_text("{}")
    result = CliRunner().invoke(app, ["judge", a, b, "--judge", "j", "--run", "run"])
    assert str(result.exception).count("\n") == 1
    assert "no evaluation that this version" in str(result.exception)
    assert "Take it away, or name another folder with --run." in str(result.exception)
    assert Path("run/evaluation.json").read_text() == "{}"
