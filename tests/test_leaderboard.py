"""`reflectune leaderboard`: evaluations in, one page and one Markdown file out."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner, Result

from reflectune.cli import app
from reflectune.errors import RunError, SettingsError
from reflectune.evaluate.benchmarks.catalogue import GENERATIVE, LOGPROB
from reflectune.evaluate.leaderboard import as_markdown, boards, find_evaluations
from reflectune.evaluate.leaderboard.board import _MAIN
from reflectune.evaluate.leaderboard.html import board_html
from reflectune.evaluate.leaderboard.wording import NAMES
from reflectune.evaluate.scores import Evaluation, Score, rows_learnt_from


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def score(**changes: Any) -> Score:
    plain: dict[str, Any] = {
        "model": "base", "benchmark": "gsm8k", "form": "generative", "metric": "accuracy", "value": 40.0, "low": 30.0,
        "high": 50.0, "items": 50, "arm": "plain", "tokens": 5000, "mean_length": 300.0, "replies": "items.jsonl",
    }  # fmt: skip
    return Score(**(plain | changes))


def evaluated(name: str, *scores: Score, **more: Any) -> Path:
    run = Path("runs") / name
    Evaluation(command="benchmark", versions={}, settings={}, scores=scores, **more).save(run)
    (run / "items.jsonl").write_text("{}\n")
    return run


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made() -> list[Any]:
    return boards(find_evaluations(Path("runs"))[0])


def test_forms_never_share_a_table() -> None:
    evaluated("one", score(), score(form="logprob", benchmark="mmlu", arm=None, shots=5, value=25.0))
    evaluated("two", score(form="pairwise", benchmark="vicuna", metric="win-rate", arm=None, against="x", judge="j"))
    assert [(board.form, [column.title for column in board.columns]) for board in made()] == [
        ("generative", ["gsm8k accuracy"]),
        ("logprob", ["mmlu (5-shot) accuracy"]),
        ("pairwise", ["vicuna win rate"]),
    ]


def test_a_model_has_a_row_for_each_way_of_asking_and_the_plain_one_first() -> None:
    evaluated("one", score(arm="reflective", without_output=2.0), score(arm="prompt-only"), score(), score(model="a"))
    [board] = made()
    assert [(row.model, row.arm) for row in board.rows] == [
        ("a", "plain"), ("base", "plain"), ("base", "prompt-only"), ("base", "reflective"),
    ]  # fmt: skip
    assert board.rows[-1].without_output == 2.0
    assert board.rows[0].tokens == 100.0


def measured_at(run: Path, seconds: int) -> None:
    os.utime(run / "evaluation.json", (seconds, seconds))


def test_of_the_same_figure_the_newest_counts_and_says_so() -> None:
    measured_at(evaluated("z-old", score(value=10.0)), 1)
    new = evaluated("a-new", score(value=20.0))
    [cell] = made()[0].rows[0].cells.values()
    assert (cell.score.value, cell.run, cell.others) == (20.0, new, 1)
    assert "the fullest and newest of 2 evaluations" in cell.told


def test_a_few_items_never_take_the_place_of_many() -> None:
    measured_at(evaluated("whole", score(value=62.0, items=1300, failed=19)), 1)
    evaluated("smoke", score(value=100.0, items=3))
    [cell] = made()[0].rows[0].cells.values()
    assert (cell.score.value, cell.others) == (62.0, 1)
    assert "(30.0% to 50.0%, n 1,300, 19 failed)" in as_markdown(made(), Path("runs"))


def test_figures_of_different_settings_stand_in_different_rows() -> None:
    for name, heat in (("cold", 0.0), ("warm", 0.7)):
        settings = {"temperature": heat, "lang": "en", "limit": heat}
        scores = (score(), score(arm="reflective"))
        Evaluation(command="benchmark", versions={}, settings=settings, scores=scores).save(Path("runs") / name)
    assert [row.asked for row in made()[0].rows] == [
        "plain, temperature 0.0",
        "plain, temperature 0.7",
        "reflective, temperature 0.0",
        "reflective, temperature 0.7",
    ]
    assert made()[0].rows[0].name == "base, temperature 0.0"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"href", "src"} and value]


def test_every_figure_leads_to_its_raw_replies() -> None:
    evaluated("one two", score(), score(metric="strict", value=1.5))
    reflectune("leaderboard", "--output", "site/page.html")
    links = Links()
    links.feed(Path("site/page.html").read_text(encoding="utf-8"))
    assert links.found == ["../runs/one%20two/items.jsonl"] * 2  # and nothing is fetched from elsewhere
    assert all((Path("site") / unquote(link)).is_file() for link in links.found)
    assert Path("site/page.md").read_text(encoding="utf-8").count("](../runs/one%20two/items.jsonl)") == 2


def test_names_are_text_and_never_markup() -> None:
    evaluated("one", score(model="<b>|x|</b>", note="a <script> & more"))
    reflectune("leaderboard")
    page = Path("runs/leaderboard.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;b&gt;|x|&lt;/b&gt;" in page
    assert "&lt;b>\\|x\\|&lt;/b>" in Path("runs/leaderboard.md").read_text(encoding="utf-8")


def test_a_chart_is_drawn_for_each_cost_that_differs() -> None:
    more = {"model": "tuned", "value": 50.0}
    evaluated("one", score(), score(**more, mean_length=200.0), learnt_from={"tuned": 300})
    evaluated("two", score(model="other"), learnt_from={"other": 3000})
    reflectune("leaderboard")
    page = Path("runs/leaderboard.html").read_text(encoding="utf-8")
    titles = re.findall(r"Score against ([^<]*)<", page)
    assert titles == ["mean length of answers, in characters", "rows trained on"]  # all took as many tokens
    assert page.count("<svg") == 2


def test_approximate_figures_say_so() -> None:
    evaluated("one", score(form="alpaca-eval", metric="lc-win-rate", arm=None, official=False, note="no difficulty"))
    reflectune("leaderboard")
    assert "n 50, approximate</small>" in Path("runs/leaderboard.html").read_text(encoding="utf-8")
    assert "no difficulty" in as_markdown(made(), Path("runs"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "win-rate", "items": 6}, "40.0% (no interval: all alike, n 6)"),
        ({"metric": "win-rate", "items": 1}, "40.0% (no interval: n 1)"),
        ({"metric": "length-matched-win-rate", "items": 6}, "40.0% (no interval: too few, or all alike, n 6)"),
        ({"metric": "winning-score", "low": 30.0, "high": 50.0}, "40.0000 (30.0000 to 50.0000, n 50)"),
    ],
)
def test_a_figure_has_its_unit_and_its_interval_or_why_there_is_none(changes: dict[str, Any], told: str) -> None:
    pair = {"form": "pairwise", "arm": None, "low": None, "high": None, "replies": None}
    evaluated("one", score(**(pair | changes)))
    assert f"| {told} |" in as_markdown(made(), Path("runs"))


def test_every_metric_that_we_measure_has_a_name() -> None:
    measured = {name.replace("_", "-") for one in (*GENERATIVE, *LOGPROB) for name in one.metrics} | {"mc2"}
    assert measured | {name for names in _MAIN.values() for name in names} == set(NAMES)


def test_each_cell_names_its_column_for_a_narrow_screen() -> None:
    evaluated("one", score(form="pairwise", arm=None, metric="win-rate", against="other", judge="j"))
    page = board_html(made()[0], None)
    assert re.findall('data-name="([^"]*)"', page) == [
        *("against", "judge", "gsm8k win rate", "mean length", "tokens a reply", "no output"),
    ]


def test_what_cannot_be_read_is_told_and_the_rest_is_there() -> None:
    evaluated("one", score())
    (Path("runs/bad")).mkdir()
    Path("runs/bad/evaluation.json").write_text("{}")
    result = reflectune("leaderboard", "--json", code=1)
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["evaluations"], told["broken"], told["models"]) == (1, 1, ["base"])
    assert "runs/bad/evaluation.json is no evaluation" in result.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [((), RunError), (("nowhere",), RunError), (("runs", "--output", "page.txt"), SettingsError)],
)
def test_bad_input_is_told(words: tuple[str, ...], error: type[Exception]) -> None:
    Path("runs").mkdir()
    assert isinstance(CliRunner().invoke(app, ["leaderboard", *words]).exception, error)


def test_a_student_says_how_many_rows_it_learnt_from() -> None:
    student = Path("student")
    student.mkdir()
    (student / "facts.json").write_text('{"rows": 256}')
    for name in ("student", "student/merged", "local:student/student.gguf"):
        assert rows_learnt_from(name) == 256
    assert rows_learnt_from("gpt-4o") is None
