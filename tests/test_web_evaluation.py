"""Statistics and evaluations in the web app, without a browser."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from io import BytesIO, TextIOWrapper
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import yaml

from asgi import Client
from reflectune.evaluate.judge import Look, Marks, Verdict, decided
from reflectune.evaluate.judge.evaluation import Judged, lines, scores_of
from reflectune.evaluate.judge.kept import FAILURES, VERDICTS, write_pairs
from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.people import verdict_of
from reflectune.evaluate.leaderboard.wording import NAMES as NAMED
from reflectune.evaluate.leaderboard.wording import SAID
from reflectune.evaluate.plots import PICTURE_TEXTS
from reflectune.evaluate.scores import Evaluation, Score
from reflectune.formats import write_rows
from reflectune.records import Example
from reflectune.report.before_after import AFTER, BEFORE
from reflectune.report.wording import NAMES, WHOLE
from reflectune.report.worker import main as work
from reflectune.report.worker import statistics_of
from reflectune.runs import RunDir
from reflectune.web import pages
from reflectune.web import statistics as statistics_area
from reflectune.web.app import create_app
from reflectune.web.drawings import drawing
from reflectune.web.replies import read_page
from reflectune.web.state import WebState
from shown_run import HARM, make

TEXTS = Path(pages.__file__).parent / "texts"


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def is_harmless(text: str) -> None:
    """Check that nothing in a page acts, save the app's own scripts."""
    for tag, attributes in Tags(text).found:
        assert tag not in {"img", "iframe", "object", "style"}
        if tag == "script":
            assert attributes.get("type") == "application/json" or (attributes["src"] or "").startswith("/static/")
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        assert not (attributes.get("href") or "").startswith(("javascript:", "data:", "http"))
    assert "\u202e" not in text


def verdict(name: str, forward: int, reverse: int, judge: str = "gpt@http://127.0.0.1/v1", **more: Any) -> Verdict:
    """1 prefers A, -1 B."""
    looks = tuple(
        Look(order=order, a=Marks(overall=5 + said, remark=f"On A: {HARM}"), b=Marks(overall=5), raw=(HARM,))
        for order, said in (("a-first", forward), ("b-first", reverse))
    )
    told = {"dataset": "set", "rubric": "r", "length_a": 4, "length_b": 9} | more
    return Verdict(id=name, judge=judge, outcome=decided(*looks), looks=looks, **told)


def judged_run(folder: Path, model: str = "model/a") -> Path:
    """A run in which a model and a person judged four pairs."""
    folder.mkdir(parents=True)
    pairs = [
        Pair(str(n), Example(str(n), f"Question {n} {HARM}", "x"), f"answer A {n} {HARM}", f"answer B {n}", "set")
        for n in range(4)
    ]
    said = [verdict("0", 1, 1), verdict("1", 1, -1), verdict("2", -1, -1), verdict("3", 0, 0, dataset="other")]
    people = [verdict_of(pair, "left", "human:ada", 0) for pair in pairs]
    judges = (Judged("gpt", tuple(said), ()), Judged("human:ada", tuple(people), (), people=True))
    scores = [one for judge in judges for line in lines(judge) for one in scores_of(line, model, "b", VERDICTS)]
    Evaluation(command="judge", versions={}, settings={}, scores=tuple(scores)).save(folder)
    write_rows(folder / VERDICTS, (one.model_dump(mode="json") for one in (*said, *people)))
    write_rows(folder / FAILURES, [])
    write_pairs(folder, pairs)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def client(runs: Path) -> Client:
    runs.mkdir()
    return Client(create_app(WebState(runs)))


def page_of(client: Client, address: str) -> str:
    answer = client.get(address, accept="text/html")
    assert answer.status == 200, answer.text
    is_harmless(answer.text)
    return answer.text


# The leaderboard


def test_without_evaluations_the_page_says_how_to_make_one(client: Client, tmp_path: Path) -> None:
    assert "reflectune judge" in page_of(client, "/evaluation")
    nowhere = Client(create_app(WebState(tmp_path / "nowhere")))
    assert nowhere.get("/evaluation", accept="text/html").status == 200


def test_every_figure_leads_to_what_it_is_made_of(client: Client, runs: Path) -> None:
    judged_run(runs / "deep" / "judged", model=f"model {HARM}")
    write_rows(runs / "bench" / "items.jsonl", [{"id": "1", "reply": HARM}]) if (
        runs / "bench"
    ).mkdir() is None else None
    score = Score(
        model="m", benchmark="gsm8k", form="generative", metric="accuracy", value=62.5, items=8, replies="items.jsonl"
    )
    gone = score.model_copy(update={"benchmark": "math", "replies": "gone.jsonl", "value": 11.5})
    Evaluation(command="benchmark", versions={}, settings={}, scores=(score, gone)).save(runs / "bench")
    html = page_of(client, "/evaluation")
    links = {attributes["href"] for tag, attributes in Tags(html).found if tag == "a" and attributes.get("href")}
    replies = "/evaluation/replies?run=bench&file=items.jsonl"
    verdicts = "/evaluation/verdicts?run=deep%2Fjudged"
    assert {replies, verdicts} <= links
    assert "62.5" in html
    assert "11.5" in html
    assert "gone.jsonl" not in html
    assert "human:ada" in html
    assert "&lt;script&gt;document.title" in page_of(client, replies)
    assert "answer B 0" in page_of(client, verdicts)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_metrics_and_what_is_said_beside_figures_have_their_words(client: Client, runs: Path, language: str) -> None:
    texts = yaml.safe_load((TEXTS / language / "evaluation.yaml").read_text(encoding="utf-8"))
    names = {metric: texts[f"metric_{re.sub('[^a-z0-9]', '_', metric)}"] for metric in NAMED}
    said = {name: texts[f"said_{name}"] for name in SAID}
    assert (language == "en") == (names == NAMED) == (said == SAID)
    judged_run(runs / "judged")
    html = client.get("/evaluation", accept="text/html", cookie=f"lang={language}").text
    for words in (names["win-rate"], names["winning-score"], said["not_official"]):
        assert words in html
    assert "winning-score" not in html


def test_a_broken_evaluation_is_told_of(client: Client, runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "evaluation.json").write_text('{"command": "x"}')
    assert "no evaluation that this version" in page_of(client, "/evaluation")


def test_a_folder_that_leads_elsewhere_is_no_run(client: Client, runs: Path, tmp_path: Path) -> None:
    judged_run(tmp_path / "elsewhere")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    assert "model/a" not in page_of(client, "/evaluation")
    for name in ("link", "../elsewhere", "..", "/etc", "a\0b", "x" * 5000, "nowhere"):
        from urllib.parse import quote

        assert client.get(f"/evaluation/verdicts?run={quote(name)}").status == 404
        assert client.get(f"/evaluation/replies?run={quote(name)}&file=verdicts.jsonl").status == 404


# Raw replies


@pytest.mark.parametrize(
    "file", ["../secret.txt", "judge.yaml", "evaluation.json", "/etc/passwd", "", "verdicts.jsonl/..", "outside.jsonl"]
)
def test_only_files_that_figures_are_made_of_are_shown(client: Client, runs: Path, file: str) -> None:
    run = judged_run(runs / "judged")
    (runs / "secret.txt").write_text("secret")
    (run / "judge.yaml").write_text("secret")
    assert client.get(f"/evaluation/replies?run=judged&file={file}").status == 404


def test_a_named_file_outside_of_the_run_is_not_shown(client: Client, runs: Path) -> None:
    (runs / "secret.jsonl").write_text('{"secret": 1}\n')
    score = Score(
        model="m", benchmark="b", form="generative", metric="accuracy", value=1, items=1, replies="../secret.jsonl"
    )
    Evaluation(command="benchmark", versions={}, settings={}, scores=(score,)).save(runs / "run")
    assert client.get("/evaluation/replies?run=run&file=../secret.jsonl").status == 404
    page_of(client, "/evaluation")


def test_a_file_is_read_a_page_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_rows(path, ({"number": n, "text": f"line\n{n}", "deep": {"a": [1, 2]}} for n in range(45)))
    first, last = read_page(path, 1), read_page(path, 99)
    assert (first.total, first.pages, len(first.records), first.first) == (45, 3, 20, 1)
    assert (last.number, last.first, len(last.records)) == (3, 41, 5)
    number, text, deep = last.records[-1]
    assert (number.name, number.text, number.long) == ("number", "44", False)
    assert (text.text, text.long) == ("line\n44", True)
    assert json.loads(deep.text) == {"a": [1, 2]}
    with path.open("ab") as file:
        file.write(b'"no object"\n')
    assert read_page(path, 3).records[-1][0].text == "no object"
    assert read_page(path, -5).number == 1


def test_lists_and_odd_files_are_read_too(tmp_path: Path) -> None:
    whole = tmp_path / "annotations.json"
    whole.write_text(json.dumps([{"a": "x" * 30_000}] * 21))
    found = read_page(whole, 2)
    assert (found.total, found.pages, len(found.records)) == (21, 2, 1)
    assert found.records[0][0].text.endswith("[10,000 more characters]")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert (read_page(empty, 1).total, read_page(empty, 1).records) == (0, ())
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    with pytest.raises(ValueError, match="unexpected"):
        read_page(broken, 1)


def test_a_name_that_no_file_system_can_hold_is_no_file(client: Client, runs: Path) -> None:
    judged_run(runs / "judged")
    assert client.get("/evaluation/replies?run=judged&file=a%00b").status == 404


# What judges said


def articles(html: str) -> int:
    return html.count("<article")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 8),
        ("&judge=human%3Aada", 4),
        ("&outcome=tie&judge=gpt%40http%3A%2F%2F127.0.0.1%2Fv1", 2),
        ("&flipped=1", 1),
        ("&dataset=other", 1),
        ("&outcome=win&flipped=1", 0),
        ("&outcome=nonsense", 0),
        ("&page=7", 8),
    ],
)
def test_verdicts_are_filtered(client: Client, runs: Path, query: str, count: int) -> None:
    judged_run(runs / "judged")
    html = page_of(client, f"/evaluation/verdicts?run=judged{query}")
    assert articles(html) == count
    assert f"{count} of 8 verdicts" in html


def test_a_verdict_shows_question_answers_and_looks(client: Client, runs: Path) -> None:
    judged_run(runs / "judged")
    html = page_of(client, "/evaluation/verdicts?run=judged&flipped=1")
    for told in ("Question 1", "answer A 1", "answer B 1", "flips with the order", "On A:", "model/a first", "b first"):
        assert told in html, told
    people = page_of(client, "/evaluation/verdicts?run=judged&judge=human%3Aada")
    assert people.count("seen in one order") == 4
    assert "is better." in people


def test_an_empty_answer_says_so(client: Client, runs: Path) -> None:
    run = judged_run(runs / "judged")
    assert "This answer is empty." not in page_of(client, "/evaluation/verdicts?run=judged")
    write_pairs(run, [Pair("0", Example("0", "Question", "x"), " \n", "answer", "set")])
    assert page_of(client, "/evaluation/verdicts?run=judged").count("This answer is empty.") == 2


def test_many_verdicts_are_paged_and_keep_their_filter(client: Client, runs: Path) -> None:
    run = judged_run(runs / "judged")
    write_rows(run / VERDICTS, (verdict(f"n{n}", 1, 1).model_dump(mode="json") for n in range(45)))
    html = page_of(client, "/evaluation/verdicts?run=judged&outcome=win&page=2")
    assert articles(html) == 20
    assert 'href="/evaluation/verdicts?run=judged&amp;outcome=win&amp;page=3"' in html
    assert "Page 2 of 3" in html


def test_verdicts_without_kept_texts_say_how_to_get_them(client: Client, runs: Path) -> None:
    run = judged_run(runs / "judged")
    (run / "judged_pairs.jsonl").unlink()
    assert "The same command again adds them" in page_of(client, "/evaluation/verdicts?run=judged")
    (run / VERDICTS).write_text("nonsense\n")
    assert client.get("/evaluation/verdicts?run=judged").status == 404
    page_of(client, "/evaluation")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_is_there_in_both_languages(client: Client, runs: Path, language: str) -> None:
    judged_run(runs / "judged")
    for address in (
        "/evaluation",
        "/evaluation/verdicts?run=judged",
        "/evaluation/replies?run=judged&file=verdicts.jsonl",
    ):
        answer = client.get(address, accept="text/html", cookie=f"lang={language}")
        assert answer.status == 200
        assert f'lang="{"zh-Hans" if language == "zh" else "en"}"' in answer.text


# Statistics


def begin(client: Client, name: str = "data", **wish: bool) -> None:
    answer = client.post(f"/api/runs/{name}/statistics", wish)
    assert answer.status == 200, answer.text


def statistics(client: Client, name: str = "data") -> str:
    for _ in range(600):
        if client.get(f"/api/runs/{name}/statistics").json()["ended"]:
            return page_of(client, f"/runs/{name}/statistics")
        time.sleep(0.05)
    raise AssertionError("the statistics are not made")


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the worker finds in the run of every kind of row."""
    run = make(tmp_path_factory.mktemp("worked") / "data")
    return statistics_of(run, {language: statistics_area._texts(language) for language in ("en", "zh")})


@pytest.mark.server
def test_statistics_are_computed_once_and_anew_when_wanted(
    client: Client, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worked: dict[str, Any]
) -> None:
    run = make(runs / "data")
    monkeypatch.setattr(statistics_area.sys, "executable", str(says := tmp_path / "worker"))
    said = [{"progress": ["figures", 3, 9]}, {"found": worked}]
    write_rows(tmp_path / "said.jsonl", said)
    says.write_text(f"#!/bin/sh\ncat > /dev/null\ncat '{tmp_path / 'said.jsonl'}'\n")
    says.chmod(0o755)
    assert "data-working" in page_of(client, "/runs/data/statistics")
    assert client.get("/api/runs/data/statistics").status == 404  # a look begins nothing
    begin(client)
    html = statistics(client)
    assert "data-working" not in html
    assert "words of the response" in html
    assert html.count("<svg") == html.count("</svg>") >= 2
    assert "The run has changed" not in html
    known = client.app.state.statistics.runs[run]
    begin(client)
    assert client.app.state.statistics.runs[run] is known
    with RunDir(run) as folder:
        folder.remember("something", "new")
    assert "The run has changed" in page_of(client, "/runs/data/statistics")
    begin(client, anew=True)
    assert "The run has changed" not in statistics(client)
    assert client.app.state.statistics.runs[run] is not known
    chinese = client.get("/runs/data/statistics", accept="text/html", cookie="lang=zh").text
    assert "回答词数" in chinese
    assert "中位数（虚线）" in chinese


def bare(run: Path) -> Path:
    run.mkdir(parents=True)
    (run / "state.sqlite").touch()
    return run


def test_only_runs_have_statistics_and_no_other_site_begins_them(
    client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics_area, "_compute", lambda *_: pytest.fail("begun"))
    (runs / "folder").mkdir()
    bare(runs / "run")
    for name in ("folder", "nowhere"):
        assert client.get(f"/runs/{name}/statistics").status == 404
        assert client.post(f"/api/runs/{name}/statistics", {}).status == 404
    assert client.post("/api/runs/run/statistics", {}, origin="http://evil.example").status == 403
    assert client.get("/runs/run/statistics").status == 200
    assert not client.app.state.statistics.runs


def test_a_problem_is_told_and_can_be_tried_again(client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare(runs / "odd")

    def broken(run: Path, known: Any, closed: Any) -> None:
        known.problem = "<b>It broke.</b>"

    monkeypatch.setattr(statistics_area, "_compute", broken)
    begin(client, "odd")
    html = statistics(client, "odd")
    assert "&lt;b&gt;It broke." in html
    assert 'id="anew"' in html
    assert client.get("/runs/nowhere/statistics").status == 404


def test_what_the_worker_says_is_noted() -> None:
    known = statistics_area.Computing(())
    statistics_area._note(known, {"progress": ["figures", 3, 9]})
    assert (known.progress, known.ended) == (("figures", 3, 9), False)
    statistics_area._note(known, {"missing": "pip install x"})
    assert (known.missing, known.ended) == ("pip install x", True)


def test_few_runs_are_remembered_and_none_at_work_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, at_once, most = Event(), 0, 0

    def wait(run: Path, known: Any, closed: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go.wait(5)
        known.problem = "x"
        at_once -= 1

    monkeypatch.setattr(statistics_area, "_compute", wait)
    computed = statistics_area.Computed()
    begun = [computed.begin(tmp_path / str(n)) for n in range(20)]
    assert [computed.begin(tmp_path / str(n)) for n in range(20)] == begun
    assert len(computed.runs) == 20
    go.set()
    computed._pool.shutdown()
    assert most == 1
    computed.begin(tmp_path / "19")
    assert list(computed.runs) == [tmp_path / str(n) for n in range(12, 20)]


def test_what_is_at_work_ends_with_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_area.sys, "executable", str(slow := tmp_path / "slow"))
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    computed = statistics_area.Computed()
    first, second = computed.begin(tmp_path / "first"), computed.begin(tmp_path / "second")
    started = time.monotonic()
    computed.close()
    assert time.monotonic() - started < 5
    assert (first.problem, second.ended) == ("The computation broke off.", False)


def test_the_worker_tells_the_same_figures_as_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = make(tmp_path / "run")
    monkeypatch.setattr("os.nice", lambda _: None)
    monkeypatch.setattr("sys.argv", ["worker", str(run)])
    asked = json.dumps({"en": {}, "zh": {PICTURE_TEXTS[2]: "中"}}).encode()
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(asked)))
    work()
    found = json.loads(capfdbinary.readouterr().out.splitlines()[-1])["found"]
    assert (found["rows"], found["compared"], found["pairs"]) == (4, True, 4)
    assert {line["name"] for line in found["lines"]} <= {*NAMES, *WHOLE}
    assert found["pictures"]["en"].keys() == found["pictures"]["zh"].keys()
    assert "中: " in found["pictures"]["zh"]["response_words"]
    with RunDir(run) as folder:
        folder.forget("recycle")
    alone = statistics_of(run, {"en": {}})
    assert (alone["rows"], alone["compared"]) == (6, False)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_figure_and_every_text_of_a_picture_has_its_words(language: str) -> None:
    texts = yaml.safe_load((TEXTS / language / "statistics.yaml").read_text(encoding="utf-8"))
    assert {*NAMES, *WHOLE, BEFORE, AFTER} <= set(texts)
    pictures = [texts[f"picture_{place}"] for place in range(len(PICTURE_TEXTS))]
    assert f"picture_{len(PICTURE_TEXTS)}" not in texts
    if language == "en":
        assert tuple(pictures) == PICTURE_TEXTS
        assert {name: texts[name] for name in {**NAMES, **WHOLE}} == {**NAMES, **WHOLE}


# Charts


def svg(inside: str) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{inside}</svg>'


def test_a_chart_that_only_draws_goes_into_a_page() -> None:
    assert drawing(svg('<g><text aria-label="a &lt;b&gt;">x</text></g>')).startswith("<svg")


@pytest.mark.parametrize(
    "inside",
    [
        "<script>1</script>",
        "<image/>",
        "<a><text>x</text></a>",
        "<foreignObject/>",
        "<style>x</style>",
        '<g onclick="x"/>',
        '<g style="x"/>',
        '<path xlink:href="x"/>',
        "<g>",
        '<p xmlns="http://www.w3.org/1999/xhtml"/>',
    ],
)
def test_a_chart_that_could_act_does_not(inside: str) -> None:
    with pytest.raises(ValueError, match="The chart"):
        drawing(svg(inside))


def three_lengths(runs: Path) -> None:
    """Three evaluated models, so that there is something to draw."""
    for number in range(3):
        judged_run(runs / f"judged{number}", model=f"m{number} {HARM} \ufffe\uffff")
        path = runs / f"judged{number}" / "evaluation.json"
        body = json.loads(path.read_text())
        for score in body["scores"]:
            score["mean_length"] = 100 * number
        path.write_text(json.dumps(body))


def test_charts_of_hostile_names_are_harmless(client: Client, runs: Path) -> None:
    three_lengths(runs)
    html = page_of(client, "/evaluation")
    assert re.search(r'<svg [^>]*class="marks"', html)


def test_a_page_without_its_charts_says_so(client: Client, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> dict[str, str]:
        raise ValueError("no picture")

    three_lengths(runs)
    monkeypatch.setattr("reflectune.web.evaluation.draw", fail)
    html = page_of(client, "/evaluation")
    assert "charts cannot be drawn" in html
    assert "m1" in html
