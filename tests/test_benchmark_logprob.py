"""`reflectune benchmark --form logprob`: lm-eval's own tasks on our files, by a model here and by a served one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmark_files import make
from loopback import Loopback
from reflectune.cli import app
from reflectune.errors import OracleError
from reflectune.evaluate.benchmarks import parts_of
from reflectune.evaluate.benchmarks.logprob import Weigher, _cut, _score
from reflectune.recipe import BenchmarkSettings
from reflectune.student.weights import find_student

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.model

SERVER = Path(__file__).with_name("prompt_server.py")
TASKS = "arc_challenge,hellaswag,mmlu,truthfulqa"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("logprob")
    make(place / "own")
    return place


def weigh(folder: Path, model: str, run: str, *words: str) -> dict[str, Any]:
    shared = ("--form", "logprob", "--data", str(folder / "own"), "--run", str(folder / run), "--limit", "1", "--json")
    result = CliRunner().invoke(app, ["benchmark", model, *shared, *words])
    if result.exception is not None:
        raise result.exception
    assert "%|" not in result.stderr  # no bar, as this is no terminal
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def samples(folder: Path, run: str, task: str) -> list[dict[str, Any]]:
    path = folder / run / f"samples-{task}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def here(folder: Path) -> dict[str, Any]:
    return weigh(folder, "local", "here", "--tasks", TASKS, "--shots", "1")


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback(find_student("local").folder, script=SERVER) as running:
        yield running


def test_every_benchmark_has_its_figure(folder: Path, here: dict[str, Any]) -> None:
    scores = {score["benchmark"]: score for score in here["scores"]}
    assert {name: (score["metric"], score["items"], score["shots"]) for name, score in scores.items()} == {
        "arc_challenge": ("acc-norm", 1, 1),
        "hellaswag": ("acc-norm", 1, 1),
        "mmlu": ("acc", 2, 1),
        "truthfulqa": ("mc2", 1, 0),
    }
    assert (here["questions"], here["form"]) == (5, "logprob")
    for name, task in {"arc_challenge": "arc_challenge", "mmlu": "mmlu"}.items():
        rows = samples(folder, "here", f"reflectune_{task}")
        metric = scores[name]["metric"].replace("-", "_")
        assert scores[name]["value"] == pytest.approx(100 * sum(row[metric] for row in rows) / len(rows))
        assert not any(score["official"] for score in scores.values())


def test_prompts_are_those_of_lm_eval(folder: Path, here: dict[str, Any]) -> None:
    assert here
    [asked, *_] = samples(folder, "here", "reflectune_arc_challenge")
    prompt, choice = asked["arguments"][0]
    assert prompt == "Question: What is 6?\nAnswer: thing B6\n\nQuestion: What is 0?\nAnswer:"
    assert choice == " thing A0"
    [asked, *_] = samples(folder, "here", "reflectune_mmlu")
    prompt, choice = asked["arguments"][1]
    assert prompt == (
        "The following are multiple choice questions (with answers) about botany.\n\n"
        "botany 0?\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\n"
        "What of botany is 0, if any?\nA. this\nB. that\nC. these\nD. those\nAnswer:"
    )
    assert choice == " B"
    [asked, *_] = samples(folder, "here", "reflectune_hellaswag")
    assert asked["arguments"][0][0].endswith("\n\nWalking: A man walks 0 miles. He")


def test_nothing_is_weighed_twice(folder: Path, here: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("lm_eval.models.huggingface")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(models.HFLM, "_model_call", never)
    again = weigh(folder, "local", "here", "--tasks", TASKS, "--shots", "1")
    assert again["scores"] == here["scores"]


def test_a_served_model_says_the_same(folder: Path, here: dict[str, Any], server: Loopback) -> None:
    words = ("--tasks", "arc_challenge", "--shots", "1", "--tokenizer", "local")
    there = weigh(folder, f"m@{server.base_url}", "there", *words)
    assert there["scores"][0]["value"] == here["scores"][0]["value"]
    [one], [other] = (samples(folder, run, "reflectune_arc_challenge") for run in ("here", "there"))
    weights = [[float(said[0][0]) for said in row["resps"]] for row in (one, other)]
    assert len(weights[0]) == 3
    assert weights[0] == pytest.approx(weights[1], abs=1e-3)


def test_a_server_that_tells_no_likelihoods_is_no_use(folder: Path, server: Loopback) -> None:
    with pytest.raises(OracleError, match="does not tell the log-probabilities of prompts") as caught:
        weigh(folder, f"m@{server.base_url}/nowhere", "silent", "--tasks", "truthfulqa", "--tokenizer", "local")
    assert "`echo` and `logprobs`" in caught.value.mend
    assert not list((folder / "silent").glob("samples-*"))


class Short:
    """A model that reads few words."""

    max_length = 3

    def tok_encode(self, text: str) -> list[str]:
        return text.split()


def test_prompts_that_are_too_long_are_told() -> None:
    samples = [{"arguments": [["a b c d", " e"], ["a", " b"]]}, {"arguments": [["aaa", " bbb"]]}]
    assert _cut(Short(), samples) == 1


@pytest.mark.parametrize(("text", "official"), [("abc", True), ("a b c d e f", False)])
def test_only_prompts_that_are_whole_follow_the_published_procedure(text: str, official: bool) -> None:
    settings = BenchmarkSettings.made_of({"tasks": ["truthfulqa"], "form": "logprob"}, source="A test")
    samples = [{"arguments": [(text, "d"), (text, "e")], "acc": 1.0}] * 2
    found = {"results": {"truthfulqa_mc2": {"acc,none": 1.0, "acc_stderr,none": 0.0}}}
    [part] = parts_of(settings)
    score = _score(Weigher("m", Short(), ""), part, "truthfulqa_mc2", found | {"samples": {"truthfulqa_mc2": samples}})
    assert score.official is official
    assert ("lose their beginning" in score.note) is not official


@pytest.mark.parametrize(
    ("name", "task", "marks", "low", "high"),
    [
        ("arc_challenge", "arc_challenge", [0.0, 0.0], 0.0, 65.8),  # Wilson's: z^2 / (n + z^2)
        ("arc_challenge", "arc_challenge", [1.0] * 3, 43.9, 100.0),
        ("arc_challenge", "arc_challenge", [1.0], 20.7, 100.0),
        ("truthfulqa", "truthfulqa_mc2", [0.25, 0.25], None, None),
        ("truthfulqa", "truthfulqa_mc2", [0.25], None, None),
        ("truthfulqa", "truthfulqa_mc2", [0.25, 0.35], 20.2, 39.8),
    ],
)
def test_marks_that_are_all_alike_are_not_certain(
    name: str, task: str, marks: list[float], low: float | None, high: float | None
) -> None:
    metric = "acc" if name == "truthfulqa" else "acc_norm"
    settings = BenchmarkSettings.made_of({"tasks": [name], "form": "logprob"}, source="A test")
    samples = [{"arguments": [("a", "b")], metric: mark} for mark in marks]
    figure = {f"{metric},none": sum(marks) / len(marks), f"{metric}_stderr,none": "N/A"}
    [part] = parts_of(settings)
    score = _score(Weigher("m", Short(), ""), part, task, {"results": {task: figure}, "samples": {task: samples}})
    assert (score.low, score.high) == (pytest.approx(low, abs=0.06), pytest.approx(high, abs=0.06))
