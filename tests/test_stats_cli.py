"""`reflectune stats`: what it prints of files and runs, the pictures, and its errors."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from reflectune.errors import MissingExtraError
from reflectune.evaluate import METRICS, stats
from reflectune.evaluate.plots import draw
from reflectune.formats import open_source
from reflectune.recipe import Recipe
from reflectune.records import Example, Recycled, Rewrite, Scored, Version, VersionScores
from reflectune.runs import Maker, RunDir
from test_embedding import letters
from test_gates import POND_ZH, RIVER, TEA, jsonl
from typed import reflectune

WORDS = ("--no-coherence", "--no-tokens")
QUICK = (*WORDS, "--quiet")
OLD = [
    {"id": "river", "instruction": RIVER, "output": "By gravity."},
    {"id": "tea", "instruction": TEA, "output": "By hand, and slowly."},
    {"id": "pond", "instruction": POND_ZH, "output": "第二十九天。"},
    {"id": "undone", "instruction": "Why?", "output": "So."},
]
NEW = {
    "river": Version(instruction=f"{RIVER} Give two examples.", response="By gravity, as the Rhine does, always."),
    "tea": Version(instruction=TEA, response="By hand, and slowly, with great care and patience."),
    "pond": Version(instruction=POND_ZH, response="第二十九天，因为每天增加一倍。"),
}


def scored(name: str, old: float, new: float) -> Scored:
    def scores(ifd: float) -> VersionScores:
        return VersionScores(instruction_loss_alone=3.0, response_loss_alone=2.0, ifd_ppl=ifd)

    return Scored(id=name, versions={"original": scores(old), "Q": scores(new)})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "data.jsonl", *OLD)


@pytest.fixture
def run(file: Path) -> Path:
    """A run of which three rows of four are rewritten and two are scored."""
    source = open_source(file)
    path = file.parent / "run"

    async def fill(folder: RunDir) -> None:
        for example in folder.pending("recycle"):
            if (new := NEW.get(example.id)) is not None:
                recycled = Recycled(
                    id=example.id,
                    language="en",
                    versions={"original": example.version, "Q": new},
                    rewrites=(Rewrite(kind="instruction", remarks=(), version=new),),
                )
                body = recycled.model_dump_json().encode()
                await folder.store.keep_result("recycle", example.id, "f:" + example.content_hash(), body, None)

    with RunDir(path) as folder:
        folder.made_by("recycle", Maker("f:", "oracle", "prompts"))
        folder.ingest(source.rows())
        asyncio.run(fill(folder))
        folder.confirm("recycle")
        folder.remember("mapping", source.mapping.model_dump_json())
    Recipe(data=str(file), oracle="m@http://127.0.0.1:1/v1").save(path / "recipe.yaml")
    return path


def score(run: Path, *scores: Scored) -> None:
    """Score rows, as `reflectune score` does."""

    async def fill(folder: RunDir) -> None:
        for row in folder.rows("recycle"):
            for one in scores:
                if one.id == row.id and row.example is not None:
                    key = "s:" + row.example.content_hash()
                    await folder.store.keep_result("score", row.id, key, one.model_dump_json().encode(), None)

    with RunDir(run) as folder:
        folder.made_by("score", Maker("s:", "student", ""))
        asyncio.run(fill(folder))
        folder.confirm("score")


def told(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    done = reflectune("stats", *arguments, *QUICK, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# files


def test_a_file_is_told_in_a_table(file: Path, tmp_path: Path) -> None:
    done = reflectune("stats", file, *WORDS, cwd=tmp_path, COLUMNS="80", NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^words of the response +3.0 .* 4$", done.stdout, re.MULTILINE)
    assert re.search(r"^exact duplicates +0.0% *$", done.stdout, re.MULTILINE)
    assert "languages of the instructions: en 2, zh 1, unknown 1" in done.stdout
    assert "not scored: reflectune score" in done.stdout
    assert "leave out --no-coherence" in done.stdout


def test_a_file_as_json(file: Path, tmp_path: Path) -> None:
    found = told(file, cwd=tmp_path)
    assert found["rows"] == 4
    assert set(found["metrics"]) == set(METRICS)
    words = found["metrics"]["response_words"]
    assert (words["count"], words["mean"], words["median"]) == (4, (2 + 4 + 5 + 1) / 4, 3)
    assert words["interval"]["low"] < 3 < words["interval"]["high"]
    assert found["metrics"]["coherence"] is found["metrics"]["ifd_ppl"] is None
    assert told(file, "--limit", "1", cwd=tmp_path)["rows"] == 1


def test_unreadable_rows_are_told_of(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "data.jsonl", *OLD, {"id": "bad", "instruction": "", "output": "x"})
    done = reflectune("stats", path, *WORDS, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 4
    assert "1 rows hold no pair" in done.stderr


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "data.jsonl", {"a": "one two", "b": "three"}, {"a": "four", "b": "five six"})
    found = told(path, "--map", "instruction=a,response=b", cwd=tmp_path)
    assert found["metrics"]["response_words"]["mean"] == 1.5


@pytest.mark.model
def test_coherence_and_tokens_are_there_when_nothing_is_said(file: Path, tmp_path: Path) -> None:
    done = reflectune("stats", file, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Loading" not in done.stderr
    found = json.loads(done.stdout)
    assert found["metrics"]["coherence"]["count"] == found["metrics"]["response_tokens"]["count"] == 4
    assert 0 < found["diversity"]["mean_cosine_distance"] < 2
    assert found["embedder"] == "sentence-transformers/all-MiniLM-L6-v2"


# runs


def test_a_run_is_told_before_and_after(run: Path, tmp_path: Path) -> None:
    found = told(run, cwd=tmp_path)
    assert (found["before"]["rows"], found["after"]["rows"], found["pairs"]) == (3, 3, 3)
    change = found["differences"]["response_words"]
    assert (change["pairs"], change["mean"]) == (3, pytest.approx((5 + 5 + 8) / 3))
    assert 0 < change["interval"]["low"] <= change["interval"]["high"]
    assert found["differences"]["ifd_ppl"] is None


def test_scores_of_a_run_are_told(run: Path, tmp_path: Path) -> None:
    before = reflectune("stats", run, *QUICK, cwd=tmp_path).stdout
    assert f"not scored: reflectune score {run}" in before
    score(run, scored("river", 0.5, 0.8), scored("tea", 0.6, 0.7))
    found = told(run, cwd=tmp_path)
    assert found["before"]["metrics"]["ifd_ppl"]["count"] == 2
    assert found["differences"]["ifd_ppl"]["mean"] == pytest.approx(0.2)
    after = reflectune("stats", run, *QUICK, cwd=tmp_path, COLUMNS="80").stdout
    assert "not scored" not in after
    assert "perplexity, response alone" in after
    assert max(map(len, after.splitlines())) <= 80


def test_a_version_of_a_run(run: Path, tmp_path: Path) -> None:
    assert told(run, "--version", "Q", cwd=tmp_path)["pairs"] == 3
    assert told(run, "--version", "original", cwd=tmp_path)["rows"] == 4
    done = reflectune("stats", run, "--version", "A", *QUICK, cwd=tmp_path)
    assert (done.returncode, "as A" in done.stderr) == (1, True)


# two data sets


def test_two_files_are_joined_by_their_ids(file: Path, tmp_path: Path) -> None:
    rows = [{"id": row["id"], "instruction": row["instruction"], "output": f"{row['output']} More."} for row in OLD]
    found = told(jsonl(tmp_path / "new.jsonl", *rows), "--against", file, cwd=tmp_path)
    assert (found["pairs"], found["differences"]["response_words"]["mean"]) == (4, 1.0)
    assert found["differences"]["response_words"]["interval"] is None  # all four are one word longer
    found = told(tmp_path / "new.jsonl", "--against", file, "--unpaired", cwd=tmp_path)
    assert (found["pairs"], found["differences"]["response_words"]["pairs"]) == (0, 0)


def test_rows_that_a_run_wrote_are_joined_with_those_that_it_read(tmp_path: Path) -> None:
    nameless = [{key: value for key, value in row.items() if key != "id"} for row in OLD]
    old = jsonl(tmp_path / "old.jsonl", *nameless)
    ids = [row.example.id for row in open_source(old).rows() if row.example]
    recycled = [row | {"output": "New.", "reflectune": {"id": name}} for row, name in zip(nameless, ids, strict=True)]
    new = jsonl(tmp_path / "recycled.jsonl", *recycled)
    assert told(new, "--against", old, cwd=tmp_path)["pairs"] == 4


def test_a_run_against_a_file(run: Path, file: Path, tmp_path: Path) -> None:
    found = told(run, "--against", file, cwd=tmp_path)
    assert (found["before"]["rows"], found["after"]["rows"], found["pairs"]) == (4, 3, 3)
    done = reflectune("stats", run, "--against", file, *QUICK, cwd=tmp_path)
    assert "the 3 rows that are in both" in done.stdout
    done = reflectune("stats", run, "--against", file, "--unpaired", *QUICK, cwd=tmp_path)
    assert "rows are not paired" in done.stdout


# pictures


def test_pictures_of_what_is_there(run: Path, tmp_path: Path) -> None:
    score(run, scored("river", 0.5, 0.8), scored("tea", 0.6, 0.7))
    done = reflectune("stats", run, *WORDS, "--plots", "pictures", "--format", "png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"lengths.png", "ifd.png", "perplexity.png"}
    assert (tmp_path / "pictures" / "ifd.png").read_bytes().startswith(b"\x89PNG")
    assert "picture   pictures/lengths.png" in done.stderr


def test_a_picture_names_its_axes_and_both_data_sets() -> None:
    rows = [Example(str(number), "why " * (number + 1), "so " * (2 * number)) for number in range(30)]
    before = stats(rows[:10], embedder=letters(), tokenizer=len)
    after = stats(rows[10:], embedder=letters(), tokenizer=len)
    drawn = draw({"old <b>": before, "new": after})
    assert set(drawn) == {"lengths", "tokens", "coherence"}
    picture = drawn["lengths"].decode()
    assert picture.startswith("<svg")
    for text in ("words (log scale)", "share of rows per doubling", "old &lt;b&gt;", "new", "median (dashed)"):
        assert text in picture
    assert "share of rows" in drawn["coherence"].decode()


@pytest.mark.parametrize("response", ["one", "", "one two three"])
def test_equal_figures_can_be_drawn(response: str) -> None:
    assert draw({"data": stats([Example("a", "why", response), Example("b", "why", response)])})["lengths"]


def test_pictures_need_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[plots\]'"):
        draw({"data": stats([])})


# errors


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("absent.jsonl",), 1, "no such file"),
        (("data.jsonl", "--version", "Q"), 2, "--version is for the rows of a run"),
        (("run", "--map", "instruction=a,response=b"), 2, "--map is for a data file"),
        (("data.jsonl", "--version", "B"), 2, "--version"),
        (("data.jsonl", "--against", "absent.jsonl"), 1, "no such file"),
        (("data.jsonl", "--plots", "data.jsonl"), 2, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_explained(
    run: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = reflectune("stats", *arguments, *QUICK, cwd=tmp_path)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.model
def test_an_unknown_tokenizer_is_explained(file: Path, tmp_path: Path) -> None:
    done = reflectune("stats", file, "--tokenizer", "./absent", "--no-coherence", cwd=tmp_path)
    assert (done.returncode, "./absent" in done.stderr) == (2, True), done.stderr


@pytest.mark.model
def test_an_unknown_embedder_is_explained(file: Path, tmp_path: Path) -> None:
    done = reflectune("stats", file, "--embedder", "nobody/nothing", "--quiet", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert (done.returncode, "nobody/nothing cannot be loaded" in done.stderr) == (2, True), done.stderr


def test_a_run_without_a_rewritten_row_is_told_as_it_was_read(file: Path, tmp_path: Path) -> None:
    with RunDir(tmp_path / "new") as folder:
        folder.ingest(open_source(file).rows())
    score(tmp_path / "new", scored("river", 0.5, 0.8))
    found = told("new", cwd=tmp_path)
    assert (found["rows"], found["metrics"]["ifd_ppl"]["mean"]) == (4, 0.5)
    assert told("new", "--against", file, cwd=tmp_path)["pairs"] == 4
    done = reflectune("stats", "new", "--version", "Q", *QUICK, cwd=tmp_path)
    assert (done.returncode, "no row has been rewritten as Q" in done.stderr) == (1, True)
