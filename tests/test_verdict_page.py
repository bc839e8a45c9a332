"""The verdict on a journey's folder: page, JSON and Markdown, whole, unfinished and broken, and the command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from journey import balanced, forget, judged, note, small, stages, values
from reflectune.cli import app
from reflectune.errors import RunError
from reflectune.evaluate.alpaca_eval import length_control
from reflectune.evaluate.scores import Evaluation, Score
from reflectune.verdict import Verdict, Written, write_verdict

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small journey with its verdict."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(length_control, "RESAMPLES", 50)
        folder = small(tmp_path_factory.mktemp("runs") / "made")
        score = Score(
            model="recycled-0", benchmark="arc", form="logprob", metric="acc", value=31.0, low=25.0, high=37.0, items=99
        )
        Evaluation(command="benchmark", versions={}, settings={}, scores=(score,)).save(
            folder / "benchmarks" / "recycled-0"
        )
        (folder / "data").mkdir()
        (folder / "data" / "report.html").write_text("<p>")
        write_verdict(folder)
        yield folder


def copied(journey: Path, place: Path) -> Path:
    return shutil.copytree(journey, place / "made")


def quick(folder: Path) -> Written:
    """A verdict without the model of length: with too few prompts for it."""
    for file in folder.glob("verdicts/*/*/verdicts.jsonl"):
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:30]))
    return write_verdict(folder)


def test_the_page_tells_everything_in_order(journey: Path) -> None:
    page = (journey / "verdict.html").read_text()
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert found == [
        *("Every comparison", "In figures", "The students", "Benchmarks", "The data, before and after"),
        *("What it took", "What to mistrust", "How to repeat it"),
    ]
    assert page.index('class="lead"') < page.index("<h2>")
    for said in ("68 / 4 / 28", "1.250", "2.000 → 1.500"):
        assert said in page
    assert "31.0%" in page
    assert 'href="data/report.html"' in page
    assert "<svg" in page
    assert "random subset" in page


def test_it_needs_nothing_but_itself(journey: Path) -> None:
    page = (journey / "verdict.html").read_text()
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=[\"']?https?://", page)
    assert "default-src 'none'" in page


def test_the_figures_are_typed_and_read_back(journey: Path) -> None:
    found = Verdict.model_validate_json((journey / "verdict.json").read_bytes())
    assert found.conclusion.kind == "better-than-original-only"
    assert found.conclusion.unbeaten == ("random",)
    main, other = found.comparisons
    assert (main.other, main.pooled.items, main.pooled.verdicts, main.seeds) == ("original", 50, 100, (0, 1))
    assert main.pooled.win_rate.value == 70.0
    assert main.pooled.level.by == "alpaca-eval"
    assert other.pooled.standing == "not-shown"
    students = {one.name: one for one in found.students}
    assert (students["recycled-0"].steps, students["recycled-0"].answer_length) == (90, 5.0)
    assert found.data.kept == 150
    assert found.data.metrics[0].change is not None
    assert found.data.metrics[0].change.low == 15.0
    assert [one.cost for one in found.stages] == [1.5, *[None] * 15]
    assert found.repeat.judge == "judge-7b@http://127.0.0.1:9/v1"
    assert found.text["en"] in (journey / "verdict.html").read_text()


def test_the_markdown_has_the_paragraph_and_the_table(journey: Path) -> None:
    text = (journey / "verdict.md").read_text()
    found = Verdict.model_validate_json((journey / "verdict.json").read_bytes())
    assert found.text["en"] in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| original | 50 | 68 / 4 / 28 | 70.0% (95%: ")


def test_no_place_of_this_machine_and_no_clock_stands_on_it(journey: Path) -> None:
    for name in ("verdict.html", "verdict.json", "verdict.md"):
        text = (journey / name).read_text()
        assert "/home/somebody" not in text
        assert str(journey) not in text
        assert not re.search(r"\b20\d\d-\d\d-\d\d|\b\d\d:\d\d:\d\d\b", text)
    assert "first.jsonl" in (journey / "verdict.html").read_text()


def test_pages_of_two_journeys_differ_in_their_times_alone(journey: Path, tmp_path: Path) -> None:
    pages = []
    for place, seconds in enumerate((12.5, 4000.0)):
        folder = copied(journey, tmp_path / str(place))
        (folder / "pipeline.json").write_text(json.dumps({"reflectune": "0.1.0", "stages": stages(seconds)}))
        pages.append(quick(folder).page.read_text())
    assert pages[0] != pages[1]
    bare = [re.sub(r"<time>.*?</time>", "", page) for page in pages]
    assert bare[0] == bare[1]


def test_unknown_costs_are_unknown_and_never_nothing(journey: Path) -> None:
    page = (journey / "verdict.html").read_text()
    costs = re.findall(r'data-name="cost">(.*?)</td>', page)
    assert costs == ["$1.50", "-", "-", "unknown", *["-"] * 12, "unknown"]
    assert "do verdict" not in page


def test_in_chinese(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    quick(folder)
    done = RUNNER.invoke(app, ["verdict", str(folder), "--lang", "zh"])
    assert done.exit_code == 0, done.output
    assert "结论：" in done.stdout
    page = (folder / "verdict.html").read_text()
    assert '<html lang="zh-CN">' in page
    assert "值得怀疑之处" in page
    assert Verdict.model_validate_json((folder / "verdict.json").read_bytes()).text["en"].startswith("student-1b")


@pytest.mark.parametrize(
    "gone", ["pipeline.json", "recipe.yaml", "arms", "students", "answers", "stats.json", "benchmarks"]
)
def test_without_a_part_there_is_a_page_that_says_so(gone: str, journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    shutil.rmtree(folder / gone) if (folder / gone).is_dir() else (folder / gone).unlink()
    written = quick(folder)
    assert "{{" not in written.page.read_text()
    if gone not in {"answers", "benchmarks"}:
        assert gone in written.verdict.missing
        assert gone in next(one for one in written.verdict.caveats if one.name == "unfinished").values["names"]


def test_before_anything_is_judged_the_page_says_that(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    shutil.rmtree(folder / "verdicts")
    written = write_verdict(folder)
    assert written.verdict.conclusion.kind == "nothing"
    page = written.page.read_text()
    assert "Nothing is compared yet" in page
    assert "No comparison is judged yet." in page


def test_a_stage_that_did_not_end_is_named(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    known = stages(1.0)
    known["recycle"]["state"] = "failed"  # type: ignore[index]
    (folder / "pipeline.json").write_text(json.dumps({"reflectune": "0.1.0", "stages": known}))
    assert quick(folder).verdict.missing == ("do recycle",)


def test_a_comparison_without_any_verdict_is_named(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    run = judged(folder, "longest", ())
    note(folder, "judge/first/recycled-against-longest-0")
    lost = '{"id":"9","stage":"judge","reason":"unparsed","detail":"","raw":null}\n'
    (run / "judge_failures.jsonl").write_text(lost)
    found = quick(folder).verdict
    assert found.missing == ("first/recycled-against-longest-0 (no verdict)",)
    assert [one.other for one in found.comparisons] == ["original", "random"]


def test_of_traces_nothing_is_missed_that_they_do_not_have(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    shutil.rmtree(folder / "arms")
    (folder / "stats.json").unlink()
    shutil.rmtree(folder / "verdicts")
    run = judged(folder, "base", balanced(values(20, 2, 4)))
    run.rename(run.with_name("reflective-against-base-0"))
    traces = "data: x.jsonl\narms: [base, reflective]\ntraces: {}\nprompts: [first.jsonl]\n"
    (folder / "recipe.yaml").write_text(traces)
    forget(folder, *stages(1.0))
    note(folder, "traces", command=["traces", "x.jsonl", "--against", "first.jsonl"])
    note(folder, "train/recycled-0")
    note(folder, "judge/first/reflective-against-base-0")
    found = write_verdict(folder).verdict
    assert found.missing == ()
    assert found.conclusion.kind == "better"
    assert "the untrained student" in found.text["en"]
    assert "not-looked-for" not in {one.name for one in found.caveats}
    assert found.data.contaminated == 0


def test_what_an_earlier_recipe_left_is_listed_and_in_no_figure(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    before = quick(folder).verdict
    judged(folder, "original", balanced(values(0, 0, 30)), seed=7)
    judged(folder, "longest", balanced(values(0, 0, 30)))
    judged(folder, "original", balanced(values(0, 0, 30)), dataset="second")
    for part in ("students", "answers/first", "benchmarks"):
        shutil.copytree(folder / part / "recycled-0", folder / part / "recycled-7")
    written = write_verdict(folder)
    assert written.verdict.left_over == (
        *("answers/first/recycled-7", "benchmarks/recycled-7", "students/recycled-7"),
        *("verdicts/first/recycled-against-longest-0", "verdicts/first/recycled-against-original-7"),
        "verdicts/second/recycled-against-original-0",
    )
    assert written.verdict.model_copy(update={"left_over": ()}) == before
    assert "Not part of this recipe, and in no figure: 6" in written.page.read_text()


def test_a_stage_that_is_not_done_is_missing_and_no_figure(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    names = ["judge/first/recycled-against-original-1", "answer/first/random-0", "train/random-0", "select", "stats"]
    for key in names:
        note(folder, key, state="running", name=key)
    found = quick(folder).verdict
    assert sorted(found.missing) == sorted(names)
    assert found.left_over == ()
    assert found.comparisons[0].seeds == (0,)
    assert {one.name for one in found.students} == {"original-0", "recycled-0", "random"}
    assert found.data.kept is None
    assert found.data.metrics == ()


def test_where_no_stage_is_noted_everything_is_read(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    judged(folder, "longest", balanced(values(20, 0, 4)))
    (folder / "pipeline.json").unlink()
    found = quick(folder).verdict
    assert [one.other for one in found.comparisons] == ["original", "random", "longest"]
    assert found.left_over == ()


BROKEN = {
    "pipeline.json": '{"stages": 3}',
    "stats.json": "no json",
    "arms/arms.json": '{"original": {"rows": "many"}}',
    "students/recycled-0/facts.json": '{"name": "x"}',
    "verdicts/first/recycled-against-original-0/verdicts.jsonl": '{"id": 1}',
    "answers/first/recycled-0/answers.jsonl": "[1]",
    "benchmarks/recycled-0/evaluation.json": "{}",
}


@pytest.mark.parametrize("file", sorted(BROKEN))
def test_a_broken_file_is_an_error_with_the_mend(file: str, journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    (folder / file).write_text(BROKEN[file])
    with pytest.raises(RunError) as caught:
        write_verdict(folder)
    assert file.rpartition("/")[2] in caught.value.what
    assert caught.value.mend


def test_what_strangers_wrote_is_shown_as_text(tmp_path: Path) -> None:
    harm = "<img src=x onerror=alert(1)>\u202e"
    judged(tmp_path, "original", balanced(values(12, 5, 12)), dataset="set<b>")
    (tmp_path / "pipeline.json").write_text('{"stages": {}}')
    note(tmp_path, "recycle", name=harm)
    note(tmp_path, "judge/set<b>/recycled-against-original-0")
    (tmp_path / "stats.json").write_text("{}")
    page = write_verdict(tmp_path).page.read_text()
    assert "<img" not in page
    assert "<b>" not in page
    assert "\u202e" not in page


def test_the_command_prints_the_paragraph_or_one_object(journey: Path, tmp_path: Path) -> None:
    folder = copied(journey, tmp_path)
    found = quick(folder).verdict
    text = found.text["en"]
    done = RUNNER.invoke(app, ["verdict", str(folder)])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == text
    assert "verdict.html" in done.stderr
    done = RUNNER.invoke(app, ["verdict", str(folder), "--json", "--quiet", "--output", str(tmp_path / "page.html")])
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert told["text"] == text
    assert told["conclusion"] == found.conclusion.kind
    assert told["comparisons"]["recycled against random, by judge-7b@http://127.0.0.1:9/v1"]["standing"] == "not-shown"
    assert (tmp_path / "page.json").is_file()
    assert (tmp_path / "page.md").is_file()
    assert 'href="data/report.html"' not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verdict", "nowhere"], "There is no folder"),
        (["verdict", "."], "holds nothing of a journey"),
        (["verdict", ".", "--output", "page.txt"], "is no page"),
        (["verdict", ".", "--output", "nowhere/page.html"], "There is no folder"),
    ],
)
def test_what_cannot_be_told_of_is_an_error(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 1
    assert said in str(done.exception)
