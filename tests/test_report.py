"""A run on one page: which rows it shows and why, what it tells, and that data of any kind does no harm on it."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.cli import app
from reflectune.criteria import mean_score
from reflectune.errors import MissingExtraError, ReflectuneError, RunError
from reflectune.evaluate.scores import Evaluation, Score
from reflectune.page import page
from reflectune.page.text import cut, shown, visible
from reflectune.records import Recycled
from reflectune.report import write_report
from reflectune.report.choice import Known, choose
from reflectune.report.facts import evaluations_of
from reflectune.report.survey import survey
from reflectune.runs import RunDir
from reflectune.runs.deciding import Said, decide, deciding_in
from shown_run import HARMFUL_ID, LONG, ORACLE, make, remarks

VOID = {"meta", "line", "rect", "path", "br"}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, its text, and whether they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs" / "data"))


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the run, made once."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(made, path)
    return path.read_text(encoding="utf-8")


# Texts


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\ttext\nand 中文 é 👩‍👩‍👧", "plain\ttext\nand 中文 é 👩‍👩‍👧"),
        ("\u202eabc\u202c", "[U+202E]abc[U+202C]"),
        ("a\x00b\x1b[0m", "a[U+0000]b[U+001B][0m"),
        ("a\r\nb\rc", "a\nb[U+000D]c"),
        ("half \ud83d", "half [U+D83D]"),
        ("\u200b\ufeff\u2066", "[U+200B][U+FEFF][U+2066]"),
        ("\ufdd0\ufffe\uffff\U0010ffff", "[U+FDD0][U+FFFE][U+FFFF][U+10FFFF]"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, seen: str) -> None:
    assert visible(text) == seen


@given(st.text(st.characters()) | st.text("<>&\"'[]U+\u202e\x00"))
def test_a_text_on_a_page_reads_as_it_is_written_out(text: str) -> None:
    written = shown(text)
    written.encode()
    assert {tag for tag, _ in Page(written).elements} <= {"span"}
    assert html.unescape(re.sub(r"<span class=unseen>(.*?)</span>", r"[\1]", written)) == visible(text)


@given(st.text(st.characters() | st.sampled_from("\x0b\ufffd\ufffe\uffff")))
def test_what_is_written_out_may_stand_in_xml(text: str) -> None:
    assert re.fullmatch("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*", visible(text))


def test_a_cut_says_how_much_is_missing() -> None:
    assert cut("short", 10) == "short"
    assert cut("x" * 1000, 10) == f"{'x' * 10} … [990 more characters]"


def test_nothing_runs_on_our_pages() -> None:
    policy = next(attrs["content"] for _, attrs in Page(page("<Title>", "Body")).elements if "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


# Which rows


def known(name: str, **figures: Any) -> Known:
    return Known(name, figures.pop("asked", (10, 20)), figures.pop("answered", (10, 20)), **figures)


def test_rows_are_ranked_by_the_change_of_ifd_and_misfits_come_last() -> None:
    rows = [
        known("small", ifd=0.5, ifd_after=0.6),
        known("large", ifd=0.2, ifd_after=0.9),
        known("worse", ifd=0.9, ifd_after=0.3),
        known("misfit", ifd=0.1, ifd_after=1.5),
        known("more", ifd=0.1, ifd_after=1.0),
        known("unscored"),
        known("same", ifd=0.5, ifd_after=0.5),
    ]
    found = choose(rows, 2)
    assert [picked.id for picked in found.rows["best"]] == ["large", "small"]
    assert [picked.id for picked in found.rows["worst"]] == ["misfit", "more"]
    assert found.rows["best"][0].why == "IFD 0.200 → 0.900 (+0.700): place 1 of 6"
    assert found.ranked == 6
    assert "1 or above" in found.rules["best"]


def test_without_scores_the_critiques_rank_and_without_those_after_the_first_ones() -> None:
    after = [known(str(n), critique=5, critique_after=5 + n / 10) for n in range(9)]
    found = choose(after, 3)
    assert [picked.id for picked in found.rows["best"]] == ["8", "7", "6"]
    assert [picked.id for picked in found.rows["worst"]] == ["0", "1", "2"]
    assert "5.00 → 5.80 (+0.80)" in found.rows["best"][0].why
    before = [known(str(n), critique=n) for n in range(9)]
    found = choose(before, 1)
    assert [picked.id for picked in (*found.rows["best"], *found.rows["worst"])] == ["8", "0"]
    assert "before the rewriting" in found.rules["best"]
    nothing = choose([known(str(n)) for n in range(9)], 2)
    assert (nothing.rows["best"], nothing.ranked) == ((), 0)
    assert len(nothing.rows["typical"]) == 2


def test_typical_rows_are_the_nearest_to_the_median() -> None:
    rows = [known(str(n), asked=(n, n), answered=(n * n, n)) for n in range(1, 100)]
    found = choose(rows, 3)
    middle = [int(picked.id) for picked in found.rows["typical"]]
    assert all(abs(n - 50) <= 4 for n in middle)
    assert "words of the old instruction" in found.rules["typical"]


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2), st.integers(0, 50)), max_size=40), st.integers(0, 10))
def test_no_row_stands_twice_and_the_order_of_the_data_changes_nothing(
    figures: list[tuple[float, float, int]], each: int
) -> None:
    rows = [known(str(n), ifd=old, ifd_after=new, asked=(5, words)) for n, (old, new, words) in enumerate(figures)]
    found = choose(rows, each)
    names = [picked.id for some in found.rows.values() for picked in some]
    assert len(names) == len(set(names))
    assert all(len(some) <= each for some in found.rows.values())
    if rows and each:
        assert len(found.rows["best"]) == min(each, max(1, len(rows) // 3))
    assert choose(rows[::-1], each) == found


def test_the_survey_finds_critiques_scores_and_decisions(run: Path) -> None:
    with deciding_in(run) as folder:
        decide(folder, "weather", Said("reject"))
        decide(folder, "chinese", Said("accept"))
    with RunDir(run, look=True) as folder:
        found = survey(folder, "recycle")
    assert [row.id for row in found.known] == ["chinese", HARMFUL_ID, "long"]
    assert found.decided == {"reject": 1, "accept": 1}
    assert found.scored == 2
    chinese = found.known[0]
    assert (chinese.critique, chinese.critique_after) == (6, 6)
    assert (chinese.ifd, chinese.ifd_after) == (0.5, 0.625)
    assert set(found.critiques.before) == {
        (half, name) for half in ("instruction", "response") for name in ("detail", "accuracy")
    }
    assert found.critiques.after["response", "accuracy"][8] == 4


def test_a_critique_of_nothing_has_no_mean() -> None:
    assert mean_score(remarks("instruction", "response")) == 6
    assert mean_score(()) is None


# The page


def test_the_page_tells_what_the_run_came_to(whole: str) -> None:
    seen = Page(whole)
    assert seen.open == []
    for told in (
        "rows 7 rewritten 4 failed 2 pending 1",
        "It is not finished",
        "oracle@http://127.0.0.1:9/v1",
        "words of the response",
        "instruction: detail",
        "copy 1 14.3%",
        "at instruction: It is the old text.",
        "Typical rows",
        "mean critique score 6.00 → 6.00 (+0.00): place 1 of 4",
        "critique of original, before the new instruction: 6.0 on average",
        "critique of Q, before the new response",
        "critique of QA, after",
        "今天北京天气很好，气温二十度。",
    ):
        assert told in seen.text, told


def test_data_that_means_harm_is_text(whole: str) -> None:
    seen = Page(whole)
    assert not {tag for tag, _ in seen.elements} & {"script", "img", "iframe", "textarea", "a href", "object", "form"}
    for tag, attributes in seen.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "style" not in attributes
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    assert "\u202e" not in whole
    assert "<span class=unseen>U+202E</span>" in whole
    assert "<script>document.title" in seen.text


def test_a_cell_of_a_megabyte_is_cut_with_a_note(whole: str) -> None:
    assert len(whole) < 700_000
    assert f"[{len(LONG) - 20_000:,} more characters]" in whole


def test_nothing_is_asked_of_elsewhere(whole: str) -> None:
    loading = {"src", "srcset", "data", "poster", "action", "background", "xlink:href"}
    assert not [name for _, attributes in Page(whole).elements for name in attributes if name in loading]
    style = whole[whole.index("<style>") : whole.index("</style>")]
    assert not re.search(r"url\(|@import", style)


def test_the_same_run_has_the_same_page(run: Path, tmp_path: Path) -> None:
    first, second = (write_report(run, tmp_path / name).page.read_bytes() for name in ("one.html", "two.html"))
    assert first == second


@pytest.fixture
def _no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any, **__: Any) -> Any:
        raise MissingExtraError("No.", mend="pip install 'reflectune[stats]'")

    monkeypatch.setattr("reflectune.report.before_after", lacking)


@pytest.mark.usefixtures("_no_statistics")
def test_without_the_extras_it_says_what_is_missing(run: Path) -> None:
    report = write_report(run)
    assert report.missing == ("pip install 'reflectune[stats]'",)
    written = report.page.read_text(encoding="utf-8")
    assert "The extra stats computes the figures here" in written
    assert "Best rows" in written


def test_without_pictures_there_are_tables(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any) -> Any:
        raise MissingExtraError("No.", mend="pip install 'reflectune[plots]'")

    import importlib

    monkeypatch.setattr(importlib.import_module("reflectune.report.before_after"), "draw_each", lacking)
    report = write_report(run)
    written = report.page.read_text(encoding="utf-8")
    assert report.missing == ("pip install 'reflectune[plots]'",)
    assert "words of the response" in written
    assert "aria-roledescription" not in written


@pytest.mark.usefixtures("_no_statistics")
@pytest.mark.parametrize(("rows", "each"), [(0, 0), (1, 1)])
def test_as_many_rows_as_are_wanted(run: Path, rows: int, each: int) -> None:
    report = write_report(run, each=rows)
    assert [len(some) for some in report.choice.rows.values()] == [each] * 3


def test_a_run_without_a_rewritten_row_has_a_report(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    with RunDir(run) as folder:
        folder.forget("recycle")
    report = write_report(run)
    written = report.page.read_text(encoding="utf-8")
    assert "No row is rewritten yet" in written
    assert report.choice.rows == {"typical": (), "best": (), "worst": ()}


@pytest.mark.usefixtures("_no_statistics")
def test_what_people_decided_is_told_and_shown(run: Path) -> None:
    with deciding_in(run) as folder:
        decide(folder, "weather", Said("reject"))
        version = next(folder.rows("recycle", row="chinese")).example
        assert version is not None
        decide(folder, "chinese", Said("edit", version.version.model_copy(update={"response": "By hand: 天晴。"})))
    written = write_report(run).page.read_text(encoding="utf-8")
    assert "rejected by hand" in written
    assert "By hand: 天晴。" in written
    assert "A person wrote what stands for it." in written
    assert "It rains hard today." not in written


@pytest.mark.usefixtures("_no_statistics")
def test_evaluations_of_the_run_and_beside_it_are_found(run: Path) -> None:
    def evaluated(folder: Path, model: str, **settings: object) -> None:
        score = Score(model=model, benchmark="gsm8k", form="generative", metric="accuracy", value=12.5, items=8)
        Evaluation(command="benchmark", versions={}, settings=settings, scores=(score,)).save(folder)

    evaluated(run / "student", "below")
    evaluated(run.parent / "data-student-gsm8k", "data-student")
    evaluated(run.parent / "data-zh-student-gsm8k", "data-zh-student")
    evaluated(run.parent / "judged", "of its files", files=[str(run / "recycled.jsonl"), "b.json"])
    evaluated(run.parent / "database", "another")
    evaluated(run.parent / "other", "other", files=["b.json"])
    (run.parent / "data-broken").mkdir()
    (run.parent / "data-broken" / "evaluation.json").write_text("{")
    found = {evaluation.scores[0].model for _, evaluation in evaluations_of(run)}
    assert found == {"below", "data-student", "of its files"}
    written = write_report(run).page.read_text(encoding="utf-8")
    assert "data-student" in written
    assert "data-zh-student" not in written
    assert "12.5" in written


@pytest.mark.usefixtures("_no_statistics")
def test_what_selection_did_is_told(run: Path) -> None:
    noted = {
        "reflectune": "0.1.0",
        "score": {"student": "SmolLM2", "template": "chat", "convention": "published"},
        "select": {
            "rule": "selective",
            "rows": 7,
            "kept": 3,
            "kept_by_reason": {"<new>": 3},
            "dropped_by_reason": {"low": 4},
        },
    }
    (run / "run.json").write_text(json.dumps(noted))
    seen = Page(write_report(run).page.read_text(encoding="utf-8")).text
    assert "SmolLM2, chat, published" in seen
    assert "Selected by the rule selective: 3 of 7 rows kept." in seen
    assert "kept: <new>" in seen


# The command


def invoked(*words: str) -> Any:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, ["report", *words])


def test_the_command_says_where_the_page_is(run: Path, tmp_path: Path) -> None:
    done = invoked(str(run), "--json", "--rows", "1", "--output", str(tmp_path / "page.html"))
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["page"] == str(tmp_path / "page.html")
    assert told["bytes"] == (tmp_path / "page.html").stat().st_size
    assert (told["rows"], told["rewritten"], told["failed"], told["pending"]) == (7, 4, 2, 1)
    assert told["failures"] == {"copy": 1, "no-instruction": 1}
    assert told["statistics"]["pairs"] == 4
    assert all(len(names) == 1 for names in told["shown"].values())


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("nowhere",), "There is no run in nowhere"),
        (("{run}", "--output", "page.txt"), "page.txt is no page"),
        (("{run}", "--output", "no/such/folder/page.html"), "There is no folder"),
    ],
)
def test_what_cannot_be_done_is_said(run: Path, words: tuple[str, ...], what: str) -> None:
    done = invoked(*(word.format(run=run) for word in words))
    assert isinstance(done.exception, ReflectuneError)
    assert what in done.exception.what


def test_the_folder_of_a_judge_has_no_report(tmp_path: Path) -> None:
    with RunDir(tmp_path / "judged") as folder:
        folder.remember("note", "so that it stays")
        (tmp_path / "judged" / "recipe.yaml").write_text("data: x")
        with pytest.raises(RunError, match="holds no data"):
            write_report(tmp_path / "judged")


@pytest.fixture
def real(data: Path, tmp_path: Path) -> Path:
    """Five hundred real rows, rewritten by a rule."""
    from itertools import islice

    from reflectune.formats import open_source
    from reflectune.recipe import Recipe
    from reflectune.records import Rewrite

    source = open_source(data / "instruct" / "alpaca_random_first3000.json")
    run = tmp_path / "real"
    with RunDir(run) as folder:
        folder.made_by("recycle", ORACLE)
        folder.confirm("recycle")
        folder.ingest(islice(source.rows(), 500), mapping=source.mapping.model_dump_json())
        entries = []
        for example in folder.pending("recycle"):
            old = example.version
            new = old.model_copy(update={"response": f"{old.response} In short: {' '.join(old.response.split()[:9])}."})
            rewrite = Rewrite(kind="response", remarks=(), version=new)
            done = Recycled(id=example.id, language="en", versions={"original": old, "A": new}, rewrites=(rewrite,))
            entries.append((example.id, done.model_dump_json().encode(), None))
        folder.store.keep_results("recycle", ORACLE.fingerprint, entries)
    Recipe(data="alpaca").save(run / "recipe.yaml")
    return run


def test_real_rows_have_their_figures(real: Path) -> None:
    report = write_report(real)
    plain = report.plain()["statistics"]
    assert plain["pairs"] == report.facts.counts.done
    assert plain["differences"]["response_words"]["mean"] > 5
    assert plain["before"]["metrics"]["response_words"]["mean"] == pytest.approx(44, abs=12)
    written = report.page.read_text(encoding="utf-8")
    assert Page(written).open == []
    assert written.count('aria-roledescription="group mark container"') >= 2
