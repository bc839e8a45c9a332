"""Every script in examples/ does what it says, with the embedded model where it takes one."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from shown_run import make

EXAMPLES = Path(__file__).parents[1] / "examples"
ELSEWHERE = {"chat.py": "test_chat_cli.py", "recycle.py": "test_docs.py", "demo.py": "make demo"}
"""Scripts that are run by something else."""
Typed = Callable[..., str]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    """Type `python examples/NAME ...` in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *words])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_script_is_run() -> None:
    ours = Path(__file__).read_text(encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        assert script.name in ELSEWHERE or f'typed("{script.name}"' in ours, f"nothing runs examples/{script.name}"


def test_scripts_are_short_and_need_public_names_only() -> None:
    for script in EXAMPLES.glob("*.py"):
        lines = script.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 40, script.name
        for line in lines:
            if line.startswith("from reflectune"):
                module, names = line.removeprefix("from ").split(" import ")
                assert not any(part.startswith("_") for part in [*module.split("."), *names.split(", ")]), line


def test_traces_of_our_own_sums(typed: Typed) -> None:
    told = typed("traces.py")
    assert told.count("── ") == told.count("<reflection>") == 3
    assert [line.split(": ")[1] for line in told.splitlines() if line.startswith("── ")] == ["36", "18", "310"]


def test_statistics_of_our_own_pairs(typed: Typed) -> None:
    told = typed("stats.py")
    assert told.startswith("10 rows")
    assert "response_words: " in told


def test_a_report_of_a_run(typed: Typed, tmp_path: Path) -> None:
    make(tmp_path / "runs" / "demo")
    told = typed("report.py")
    assert told.splitlines()[0] == str(Path("runs/demo/report.html"))
    assert (tmp_path / "runs/demo/report.html").is_file()


@pytest.mark.model
def test_scores_and_what_is_kept(typed: Typed) -> None:
    told = typed("score.py")
    assert told.count("r-IFD") >= 10
    assert told.count("kept: ") == 5
    assert told.count("dropped: ") == 5


@pytest.mark.model
def test_answers_to_our_own_questions(typed: Typed) -> None:
    assert typed("generate.py").count("> ") == 10


@pytest.mark.model
def test_a_verdict(typed: Typed) -> None:
    assert typed("judge.py").startswith(("A against B: ", "no verdict at "))


@pytest.mark.model
def test_a_student(typed: Typed, tmp_path: Path) -> None:
    told = typed("train.py")
    assert "step 2: loss " in told
    assert json.loads((tmp_path / "student" / "adapter_config.json").read_text())["peft_type"] == "LORA"
