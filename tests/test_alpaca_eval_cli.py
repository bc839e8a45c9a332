"""`reflectune alpaca-eval` on files that we wrote ourselves."""

from __future__ import annotations

import csv
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
from reflectune.errors import InputError, OracleError, RunError, SettingsError
from reflectune.evaluate.alpaca_eval import length_control
from reflectune.evaluate.scores import Evaluation
from reflectune.prompts import Prompts
from reflectune.records import Reply, Request
from reflectune.testing import Said, ScriptedOracle
from test_alpaca_eval_judge import good_is, leaning

Script = Callable[[Callable[[Request], Said]], ScriptedOracle]
ITEMS = 24


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["alpaca-eval", *words])
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(*words: str, code: int = 0) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(reflectune(*words, "--json", code=code).stdout.splitlines()[-1])
    assert summary["items"] == summary["judged"] + summary["failed"] + summary["pending"]
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text(json.dumps(rows))
    return name


def answers(name: str, said: str, generator: str, *places: int) -> str:
    rows = [
        {"instruction": f"Do {place}.", "output": said, "generator": generator, "dataset": "d"}
        for place in places or range(ITEMS)
    ]
    return write(name, rows)


def stored(name: str = "annotations.json", *, generator: str = "mine", preferences: tuple[Any, ...] = (1, 2, 2)) -> str:
    rows = [
        {
            "instruction": f"Do {place}.",
            "output_1": "a" * (20 + place % 7),
            "generator_1": "ref",
            "output_2": "b" * (20 + place % 5),
            "generator_2": generator,
            "annotator": "someone",
            "preference": preferences[place % len(preferences)],
            "price_per_example": 0.1,
        }
        for place in range(ITEMS)
    ]
    return write(name, rows)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(length_control, "RESAMPLES", 20)


@pytest.fixture
def pairs() -> tuple[str, ...]:
    return answers("m.json", "good answer", "mine"), "--reference", answers("r.json", "bad answer", "ref")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let a scripted judge be the one that the command opens."""

    def script(say: Callable[[Request], Said]) -> ScriptedOracle:
        oracle = ScriptedOracle(say)
        monkeypatch.setattr("reflectune.cli.annotating.open_model", lambda *_: oracle)
        return oracle

    return script


def test_stored_annotations_need_no_judge() -> None:
    summary = told("--annotations", stored())
    run = Path("runs/mine-against-ref-by-someone")
    assert summary["run"] == str(run)
    assert (summary["items"], summary["judged"], summary["failed"], summary["requests"]) == (24, 24, 0, 0)
    [model] = summary["models"]
    assert (model["n_wins"], model["n_wins_base"], model["n_total"]) == (16, 8, 24)
    assert model["win_rate"] == pytest.approx(200 / 3)
    assert model["length_controlled"]["label"] == "approximate"
    assert json.loads((run / "annotations.json").read_text()) == json.loads(Path("annotations.json").read_text())
    evaluation = Evaluation.load(run / "evaluation.json")
    assert evaluation.command == "alpaca-eval"
    assert evaluation.versions.keys() == {"reflectune", "scikit-learn", "scipy", "numpy"}
    raw, level = evaluation.scores
    assert (raw.metric, level.metric, raw.judge, raw.against, raw.replies) == (
        *("win-rate", "lc-win-rate", "someone", "ref"),
        "annotations.json",
    )
    assert raw.official is False
    with (run / "leaderboard.csv").open() as stream:
        [line] = csv.DictReader(stream)
    assert (line[""], line["avg_length"], line["n_wins"], line["mode"]) == ("mine", "21", "16", "dev")


def test_the_table_shows_both_win_rates_beside_each_other() -> None:
    shown = reflectune("--annotations", stored()).stderr
    rate, level, length = (
        next(line for line in shown.splitlines() if line.startswith(name))
        for name in ("win rate", "length-controlled", "mean length")
    )
    assert "66.67" in rate
    assert "16 wins, 8 losses, 0 draws" in rate
    assert "approximate" in level
    assert "reference 23" in length
    assert "mine against ref, judged by someone" in shown
    assert "approximate: without the difficulty" in shown
    assert not reflectune("--annotations", "annotations.json", "--quiet").stderr


def test_several_models_stand_in_one_leaderboard() -> None:
    one, other = stored(), stored("other.json", generator="theirs/7b", preferences=(1, 1, 2))
    summary = told("--annotations", one, "--annotations", other)
    run = Path("runs/2-models-against-ref-by-someone")
    assert summary["run"] == str(run)
    assert [model["model"] for model in summary["models"]] == ["mine", "theirs/7b"]
    with (run / "leaderboard.csv").open() as stream:
        assert [line[""] for line in csv.DictReader(stream)] == ["mine", "theirs/7b"]
    scores = Evaluation.load(run / "evaluation.json").scores
    assert len(scores) == 4
    assert {score.replies for score in scores} == {"mine/annotations.json", "theirs-7b/annotations.json"}
    assert all((run / str(score.replies)).is_file() for score in scores)
    for name, generator in (("a.json", ".."), ("b.json", "a/b"), ("c.json", "a:b")):
        stored(name, generator=generator)
    told(*(f"--annotations={name}.json" for name in "abc"), "--run", "odd")
    places = [score.replies for score in Evaluation.load(Path("odd/evaluation.json")).scores[::2]]
    assert places == [f"{name}/annotations.json" for name in ("model", "a-b", "a-b-3")]
    with pytest.raises(InputError, match="Two files hold annotations of mine"):
        told_error("--annotations", one, "--annotations", one)


def told_error(*words: str) -> None:
    result = CliRunner().invoke(app, ["alpaca-eval", *words])
    assert result.exception is not None
    raise result.exception


def test_missing_preferences_are_failures_that_add_up() -> None:
    summary = told("--annotations", stored(preferences=(1, 2, None)), code=3)
    assert (summary["judged"], summary["failed"]) == (16, 8)
    assert summary["failures"] == {"no-preference": 8}
    failures = lines(Path("runs/mine-against-ref-by-someone/annotation_failures.jsonl"))
    assert len(failures) == 8
    assert failures[0]["detail"] == "row 3: the judge gave no preference."
    assert told("--annotations", "annotations.json", "--max-failed", "0.5")["failed"] == 8
    with pytest.raises(InputError, match="no preference to make"):
        told_error("--annotations", stored(preferences=(None,)))


def test_a_judge_prefers_and_its_verdicts_are_kept(pairs: tuple[str, ...], asked: Script) -> None:
    oracle = asked(leaning)
    summary = told(*pairs, "--judge", "some-judge")
    run = Path("runs/mine-against-ref-by-some-judge")
    assert (summary["judged"], summary["requests"], summary["cached"]) == (24, 24, 0)
    [model] = summary["models"]
    assert model["win_rate"] == pytest.approx(90)
    assert model["discrete_win_rate"] == 100
    assert model["forms"] == {"weighted": 24}
    assert 20 < model["first_preference"] < 80
    rows = json.loads((run / "annotations.json").read_text())
    assert [row["instruction"] for row in rows] == [f"Do {place}." for place in range(ITEMS)]
    assert rows[0]["annotator"].startswith("reflectune:scripted (weighted ")
    assert {row["form"] for row in rows} == {"weighted"}
    assert [row["output"] for row in json.loads((run / "model_outputs.json").read_text())] == ["good answer"] * 24
    assert json.loads((run / "reference_outputs.json").read_text())[0]["generator"] == "ref"
    scores = Evaluation.load(run / "evaluation.json")
    assert scores.scores[0].judge == rows[0]["annotator"]
    assert scores.scores[0].official is False
    assert "prompts" in scores.versions
    again = told(*pairs, "--judge", "some-judge")
    assert (again["requests"], again["cached"], again["models"]) == (0, 24, summary["models"])
    assert len(oracle.requests) == 24
    with pytest.raises(RunError, match="what its own judge said"):
        told_error("--annotations", str(run / "annotations.json"), "--run", str(run))
    assert told("--annotations", str(run / "annotations.json"), "--run", "copy")["models"] == summary["models"]


def test_a_judge_without_probabilities_is_told_of_once(pairs: tuple[str, ...], asked: Script) -> None:
    asked(good_is)
    shown = reflectune(*pairs)
    assert shown.stderr.count("tells no probabilities") == 1
    assert "Verdicts: 24 plain" in shown.stderr
    saved = Evaluation.load(Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct/evaluation.json"))
    assert "verdicts: 24 plain" in saved.scores[0].note
    asked(good_is)
    assert "tells no" not in reflectune(*pairs, "--form", "plain", "--run", "plain").stderr


def test_what_has_no_pair_or_no_verdict_is_a_failure(asked: Script) -> None:
    model = answers("m.json", "good answer", "mine", *range(2, ITEMS), 99)
    reference = answers("r.json", "bad answer", "ref")
    asked(lambda request: "Hm." if "Do 5." in request.messages[-1].content else good_is(request))
    summary = told(model, "--reference", reference, "--max-failed", "0.2")
    assert summary["failures"] == {"no-answer": 2, "no-label": 1, "no-reference": 1}
    assert (summary["items"], summary["judged"]) == (25, 21)
    [found] = summary["models"]
    assert (found["n_total"], found["failed"], found["items"]) == (21, 4, 25)
    rows = json.loads(Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct/annotations.json").read_text())
    assert [row["index"] for row in rows if row["preference"] is None] == [5]
    assert len(lines(Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct/annotation_failures.jsonl"))) == 4
    reflectune(model, "--reference", reference, code=3)


def test_a_judge_that_never_gives_a_verdict(pairs: tuple[str, ...], asked: Script) -> None:
    asked(lambda _: "Hm.")
    summary = told(*pairs, code=3)
    assert (summary["judged"], summary["failed"], summary["models"]) == (0, 24, [])
    assert not Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct/evaluation.json").exists()
    shown = reflectune(*pairs, code=3).stderr
    assert "24 of 24 instructions have no verdict: 24 no-label" in shown
    assert "--form plain" in shown


def test_figures_never_stand_beside_the_annotations_of_others(pairs: tuple[str, ...], asked: Script) -> None:
    run = Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct")
    made = [run / "evaluation.json", run / "leaderboard.csv"]
    asked(leaning)
    told(*pairs)
    assert all(path.is_file() for path in made)
    asked(lambda _: "Hm.")
    assert told(*pairs, "--both-orders", code=3)["judged"] == 0
    assert not any(path.exists() for path in made)
    asked(leaning)
    told(*pairs)

    def interrupted(request: Request) -> Said:
        os.kill(os.getpid(), signal.SIGINT)
        return leaning(request)

    asked(interrupted)
    assert told(*pairs, "--form", "plain", "--max-concurrency", "1", code=130)["pending"] > 0
    assert not any(path.exists() for path in made)


def test_what_changed_is_told_and_fuller_figures_stay(pairs: tuple[str, ...], asked: Script) -> None:
    asked(leaning)
    quiet = reflectune(*pairs, "--run", "run", "--limit", "12").stderr
    assert "Since the last time" not in quiet + reflectune(*pairs, "--run", "run", "--limit", "12").stderr
    more = reflectune(*pairs, "--run", "run").stderr
    assert "Since the last time limit changed: 12 → none. The earlier figures will be replaced." in more
    other = answers("other.json", "bad answer", "ref")
    shown = reflectune(pairs[0], "--run", "run", "--reference", other, "--judge", "else", "--both-orders").stderr
    for told_of in ("reference changed: r.json → other.json", "judge changed: local → else", "both_orders changed"):
        assert told_of in shown
    kept = Path("run/evaluation.json").read_bytes()
    with pytest.raises(SettingsError, match="figures of 24 items, and --limit 23"):
        told_error(*pairs, "--run", "run", "--limit", "23")
    assert Path("run/evaluation.json").read_bytes() == kept
    assert told(*pairs, "--run", "run", "--limit", "24")["judged"] == 24


def test_a_dry_run_asks_and_writes_nothing(pairs: tuple[str, ...], asked: Script) -> None:
    oracle = asked(leaning)
    Path("prices.yaml").write_text("j: {input: 1, output: 2}\n")
    words = (*pairs, "--both-orders", "--dry-run", "--limit", "10", "--judge", "j", "--prices", "prices.yaml")
    result = reflectune(*words, "--json")
    told_of = json.loads(result.stdout)
    sent = told_of["tokens"]["sent"]
    assert told_of == {
        "items": 10,
        "requests": 20,
        "tokens": {"sent": sent, "received": 160},
        "cost": pytest.approx((sent + 2 * 160) / 1e6, abs=1e-6),
    }
    asked_of_one = len(Prompts().text("en", "alpaca_eval_system.txt").encode())
    assert 20 * asked_of_one / 3 < sent < 20 * (asked_of_one + 400) / 3
    assert "10 instructions, 20 requests" in result.stderr
    assert "at most 160 (8 each)" in result.stderr
    assert "may be asked once more for each" in result.stderr
    assert reflectune(*words, "--quiet").output == ""
    assert not oracle.requests
    assert not Path("runs").exists()
    assert json.loads(reflectune("--annotations", stored(), "--dry-run", "--json").stdout)["requests"] == 0


def test_interrupted_it_goes_on(pairs: tuple[str, ...], asked: Script) -> None:
    def interrupted(request: Request) -> Said:
        if len(oracle.requests) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return leaning(request)

    oracle = asked(interrupted)
    summary = told(*pairs, code=130)
    assert summary["pending"] > 0
    run = Path("runs/mine-against-ref-by-SmolLM2-135M-Instruct")
    assert not (run / "evaluation.json").exists()  # figures of a part are no evaluation
    assert (run / "annotations.json").is_file()
    more = asked(leaning)
    rest = told(*pairs)
    assert rest["pending"] == 0
    assert (run / "evaluation.json").is_file()
    assert len(more.requests) == ITEMS - len(oracle.requests)


def test_a_budget_ends_it(pairs: tuple[str, ...], asked: Script) -> None:
    prices = Path("prices.yaml")
    prices.write_text("scripted: {input: 1, output: 1}\n")
    asked(lambda request: Reply(text=good_is(request), prompt_tokens=1000, completion_tokens=1))
    summary = told(*pairs, "--budget", "0.005", "--prices", str(prices), "--max-concurrency", "1", code=4)
    assert summary["pending"] > 0


def test_their_own_files_are_read() -> None:
    Path("d.csv").write_text(",instruction_difficulty\n" + "".join(f"{place},{place % 3}\n" for place in range(24)))
    gamed = "".join(f"v,0.5,{place},{1 - 2 * (place % 2)},{place % 3},False\n" for place in range(24))
    header = "model,preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline\n"
    Path("g.csv").write_text(header + gamed)
    [model] = told("--annotations", stored(), "--difficulty", "d.csv", "--gamed", "g.csv")["models"]
    level = model["length_controlled"]
    assert level["difficulty_effect"] is not None
    assert level["why"] == "the judge is not weighted_alpaca_eval_gpt4_turbo; the reference is not gpt4_1106_preview"
    [alone] = told("--annotations", "annotations.json", "--gamed", "g.csv")["models"]
    assert alone["length_controlled"] == level
    Path("d.csv").write_text(",instruction_difficulty\n0,9\n")
    with pytest.raises(InputError, match="disagree about the difficulties"):
        told_error("--annotations", "annotations.json", "--difficulty", "d.csv", "--gamed", "g.csv")


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ((), SettingsError, "either answers or annotations"),
        (("m.json", "--annotations", "a.json"), SettingsError, "either answers or annotations"),
        (("m.json",), SettingsError, "What are the answers of m.json compared with"),
        (("--annotations", "a.json", "--name", "x"), SettingsError, "both names already"),
        (("--annotations", "none.json"), InputError, "none.json: no such file"),
        (("m.json", "--reference", "none.json"), InputError, "none.json: no such file"),
        (("m.json", "--reference", "m.json", "--judge", "./nowhere"), SettingsError, "no model at"),
        (("m.json", "--reference", "m.json", "--prompts", "nowhere"), SettingsError, "no prompt folder"),
        (("--annotations", "m.json"), InputError, "row 1 has no column 'output_1'"),
    ],
)
def test_bad_input_is_told(words: tuple[str, ...], error: type[Exception], match: str) -> None:
    answers("m.json", "x", "mine")
    with pytest.raises(error, match=match):
        told_error(*words)


def test_a_run_of_something_else_is_not_touched(pairs: tuple[str, ...], asked: Script) -> None:
    asked(leaning)
    Path("other").mkdir()
    Path("other/state.sqlite").touch()
    for words in ((*pairs, "--run", "other"), ("--annotations", stored(), "--run", "other")):
        with pytest.raises(RunError, match="holds no annotations"):
            told_error(*words)
    assert [path.name for path in Path("other").iterdir()] == ["state.sqlite"]


def test_figures_of_another_command_are_not_overwritten(pairs: tuple[str, ...], asked: Script) -> None:
    asked(leaning)
    Evaluation(command="benchmark", versions={}, settings={}, scores=()).save(Path("other"))
    kept = Path("other/evaluation.json").read_bytes()
    for words in ((*pairs, "--run", "other"), ("--annotations", stored(), "--run", "other")):
        with pytest.raises(SettingsError, match="holds what `reflectune benchmark` came to"):
            told_error(*words)
    assert [path.name for path in Path("other").iterdir()] == ["evaluation.json"]
    assert Path("other/evaluation.json").read_bytes() == kept


def test_a_judge_of_no_use_is_an_error(pairs: tuple[str, ...], asked: Script) -> None:
    asked(lambda _: OracleError("no such model", mend="Name another."))
    with pytest.raises(OracleError, match="no such model"):
        told_error(*pairs)


def test_a_served_judge_tells_probabilities(
    pairs: tuple[str, ...], loopback: Callable[..., Loopback], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server = loopback()
    [model] = told(*pairs, "--judge", f"judge@{server.base_url}")["models"]
    assert model["forms"] == {"weighted": 24}
    assert 0 < model["win_rate"] < 100
    assert model["win_rate"] != model["discrete_win_rate"]
    silent = loopback("--no-logprobs")
    again = told(*pairs, "--judge", f"judge@{silent.base_url}", "--run", "silent")
    assert again["models"][0]["forms"] == {"plain": 24}
    assert again["requests"] == 48
    assert silent.stats()["answered"] == 48


@pytest.mark.model
def test_the_embedded_model_judges(pairs: tuple[str, ...]) -> None:
    summary = told(*pairs, "--limit", "2", "--max-failed", "1")
    assert summary["judged"] == 2
    [model] = summary["models"]
    assert model["forms"] == {"weighted": 2}
    assert model["length_controlled"] is None
    plain = told(*pairs, "--limit", "1", "--form", "plain", "--run", "plain", "--max-failed", "1")
    assert plain["models"][0]["forms"] == {"plain": 1}
