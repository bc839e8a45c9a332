"""`reflectune score` and `reflectune select` on run folders and data files, with the embedded model as the student."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loopback import Loopback
from reflectune.cli import app

PAIRS = [
    {"id": "cats", "instruction": "Why do cats purr?", "output": "They like it, and it calms them."},
    {"id": "dogs", "instruction": "Why do dogs bark at the postman?", "output": "They guard their house."},
    {"id": "mute", "instruction": "Say nothing at all.", "output": ""},
    {"id": "sums", "instruction": "Add the numbers.", "input": "3 and 4", "output": "Seven."},
]


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(result: Result) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(PAIRS))
    return path


@pytest.mark.model
def test_a_data_file_is_scored_resumed_and_selected_from(pairs: Path) -> None:
    first = told(reflectune("score", str(pairs), "--halves", "response", "--json", "--max-failed", "1"))
    assert (first["rows"], first["scored"], first["pending"]) == (4, 3, 0)
    assert first["rows"] == first["scored"] + first["failed"] + first["pending"]
    run = Path("runs/pairs")
    scores = {line["id"]: line for line in lines(run / "scores.jsonl")}
    assert scores.keys() == {"cats", "dogs", "sums"}
    for line in scores.values():
        assert line["student"] == "SmolLM2-135M-Instruct"
        assert line["convention"] == "exact"
        assert line["ifd_ppl"] > 0
        assert line["rifd_ppl"] is None
    again = told(reflectune("score", str(run), "--json", "--max-failed", "1"))
    assert again["scored"] == 3
    assert again["scorer"]["halves"] == "response"  # a run keeps its settings
    kept = told(reflectune("select", str(run), "--rule", "top-ifd", "--take", "25%", "--json"))
    assert kept["kept"] == 1
    (best,) = lines(run / "selected.jsonl")
    highest = max((name for name in scores if scores[name]["ifd_ppl"] < 1), key=lambda name: scores[name]["ifd_ppl"])
    assert best["reflectune"]["id"] == highest
    assert best["reflectune"]["ifd_ppl"] == scores[highest]["ifd_ppl"]
    original = next(row for row in PAIRS if row["id"] == highest)
    assert {name: best[name] for name in original} == original
    dropped = {row["id"]: row["reason"] for row in lines(run / "dropped.jsonl")}
    assert dropped.keys() | {highest} == {row["id"] for row in PAIRS}
    assert dropped["mute"] == "no-response"
    assert json.loads((run / "run.json").read_text())["score"]["student"] == "SmolLM2-135M-Instruct"


@pytest.mark.model
def test_resuming_goes_on_where_many_rows_failed_and_says_so(pairs: Path) -> None:
    reflectune("score", str(pairs), code=3)
    chosen = ("--rule", "top-ifd", "--take", "2", "--to", "messages", "--output", "data.jsonl", "--no-provenance")
    reflectune("select", "runs/pairs", *chosen)
    before = Path("data.jsonl").read_bytes()
    Path("data.jsonl").unlink()
    resumed = reflectune("runs", "resume", "runs/pairs", "--json", "-q", code=3)
    assert [json.loads(line)["rows"] for line in resumed.stdout.splitlines()] == [4, 4]  # scored, selected
    assert Path("data.jsonl").read_bytes() == before  # in the same shape, at the same place


@pytest.mark.model
def test_another_convention_scores_every_row_anew(pairs: Path) -> None:
    reflectune("score", str(pairs), "--max-failed", "1")
    exact = {line["id"]: line["ifd_ppl"] for line in lines(Path("runs/pairs/scores.jsonl"))}
    reflectune("score", "runs/pairs", "--convention", "published", "--max-failed", "1")
    published = {line["id"]: line for line in lines(Path("runs/pairs/scores.jsonl"))}
    assert published.keys() == exact.keys()
    assert {line["template"] for line in published.values()} == {"vicuna"}
    assert all(published[name]["ifd_ppl"] != exact[name] for name in exact)


@pytest.mark.model
def test_recycled_versions_are_scored_and_every_row_is_kept_or_dropped(
    pairs: Path, loopback: Callable[..., Loopback]
) -> None:
    oracle = f"test@{loopback().base_url}"
    reflectune(
        "recycle", str(pairs), "--oracle", oracle, "--versions", "all", "--run", "run", "--max-failed", "1", "-q"
    )
    summary = told(reflectune("score", "run", "--json", "--max-failed", "1"))
    assert summary["versions"] == 12
    selected = told(reflectune("select", "run", "--json", "--keep-original"))
    assert selected["rows"] == 4 == selected["kept"] + selected["dropped"]
    data = {row["reflectune"]["id"]: row for row in lines(Path("run/selected.jsonl"))}
    reasons = {row["id"]: row for row in lines(Path("run/dropped.jsonl"))}
    assert data.keys() | reasons.keys() == {row["id"] for row in PAIRS}
    assert not data.keys() & reasons.keys()
    scores = {(line["id"], line["version"]): line for line in lines(Path("run/scores.jsonl"))}
    for name, row in data.items():
        version = row["reflectune"]["version"]
        assert row["reflectune"]["rifd_ppl"] == scores[name, version]["rifd_ppl"]
    for rule in ("random", "coherence", "diverse", "longest", "perplexity", "ifd", "rifd"):
        counted = told(reflectune("select", "run", "--rule", rule, "--take", "2", "--json", "--dry-run"))
        assert counted["kept"] == 2, rule
    resumed = reflectune("runs", "resume", "run", "--json", "-q")
    assert len(resumed.stdout.splitlines()) == 3  # recycled, scored, selected


@pytest.mark.model
def test_the_student_chooses_what_is_recycled(pairs: Path, loopback: Callable[..., Loopback]) -> None:
    oracle = f"test@{loopback().base_url}"
    flags = ["--oracle", oracle, "--versions", "chosen", "--student", "local", "--run", "run", "--max-failed", "1"]
    first = told(reflectune("recycle", str(pairs), *flags, "--json", "-q"))
    assert first["rewritten"] == 3
    assert first["requests"] == 6
    for name in ("cats", "dogs", "sums"):
        row = json.loads(reflectune("runs", "show", "run", "--row", name, "--json").stdout)
        versions = row["result"]["versions"].keys() if "result" in row else row["versions"].keys()
        assert versions in ({"original", "Q", "A"}, {"original", "Q", "QA"})


def test_what_cannot_be_done_says_how_it_can(pairs: Path) -> None:
    refused = reflectune("recycle", str(pairs), "--student", "local", code=1)
    assert "--versions chosen" in str(getattr(refused.exception, "mend", ""))
    refused = reflectune("recycle", str(pairs), "--versions", "chosen", code=1)
    assert "--student" in str(getattr(refused.exception, "mend", ""))
    refused = reflectune("select", "runs/none", code=1)
    assert "no run" in str(refused.exception)
    refused = reflectune("score", str(pairs), "--student", "./nowhere", code=1)
    assert "no model" in str(refused.exception)


@pytest.mark.model
def test_scoring_the_data_of_a_recycled_run_keeps_what_it_was_asked(
    pairs: Path, loopback: Callable[..., Loopback]
) -> None:
    oracle = f"test@{loopback().base_url}"
    reflectune("recycle", str(pairs), "--oracle", oracle, "--limit", "2", "--max-failed", "1", "-q")
    summary = told(reflectune("score", str(pairs), "--json"))
    assert (summary["rows"], summary["versions"]) == (2, 6)
    recipe = Path("runs/pairs/recipe.yaml").read_text()
    assert f"oracle: {oracle}" in recipe
    assert "limit: 2" in recipe
    for place in (str(pairs), "runs/pairs/recycled.jsonl"):
        refused = reflectune("select", "runs/pairs", "--output", place, code=1)
        assert "would overwrite" in str(refused.exception)
    assert not Path("runs/pairs/selected.jsonl").exists()
    assert json.loads(pairs.read_text()) == PAIRS


def test_a_dry_run_loads_no_student(pairs: Path) -> None:
    found = told(reflectune("score", str(pairs), "--student", "/nowhere", "--dry-run", "--json"))
    assert found == {"run": "runs/pairs", "student": "/nowhere", "rows": 4, "versions": 3, "texts": 12}
    assert not Path("runs").exists()
