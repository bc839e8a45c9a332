"""`reflectune traces` on files that we wrote ourselves."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from reflectune.cli import app
from reflectune.errors import OracleError
from reflectune.formats import open_source
from reflectune.records import Request
from reflectune.runs import RunDir
from reflectune.tags import parse
from reflectune.testing import Said, ScriptedOracle


def solved(number: int) -> dict[str, str]:
    product = 3 * number
    return {
        "question": f"A shop sells {number} bags on each of 3 days, then 7 more. How many?",
        "answer": f"In 3 days it sells {number}*3 = <<{number}*3={product}>>{product} bags.\n"
        f"So it sells {product}+7 = <<{product}+7={product + 7}>>{product + 7} bags.\n#### {product + 7}",
    }


ROWS = [solved(number) for number in range(11, 41)]
CHOICES = [{"question": f"Which of these is {n}?", "choices": ["0", str(n)], "answer": 1} for n in range(1, 7)]


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(*words: str, code: int = 0) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(reflectune("traces", *words, "--json", code=code).stdout.splitlines()[-1])
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(name: str, rows: list[Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Request], Said]], ScriptedOracle]:
    """Let a scripted oracle be the one that a command opens."""

    def script(say: Callable[[Request], Said]) -> ScriptedOracle:
        oracle = ScriptedOracle(say)
        monkeypatch.setattr("reflectune.cli.inquiry.open_oracle", lambda *_: oracle)
        return oracle

    return script


def answer(request: Request, letter: str = "A") -> str:
    return json.dumps({"reasoning": f"Sample {request.sample} of it.", "answer": letter})


def alternating(request: Request) -> str:
    return answer(request, "AB"[request.sample % 2])


def test_worked_solutions_become_traces() -> None:
    summary = told(write("sums.jsonl", [*ROWS, ROWS[0]]))
    run = Path("runs/sums-traces")
    assert summary["run"] == str(run)
    assert (summary["rows"], summary["traces"], summary["failed"], summary["pending"]) == (31, 30, 1, 0)
    assert summary["failures"] == {"duplicate": 1}
    assert summary["kinds"].keys() == {"clean", "planted"}
    assert sum(summary["mistakes"].values()) == summary["kinds"]["planted"]
    assert summary["requests"] == 0
    traces = lines(run / "traces.jsonl")
    assert [trace["trace"]["source"] for trace in traces] == [f"sums.jsonl:{row}" for row in range(1, 31)]
    for row, trace in zip(ROWS, traces, strict=True):
        assert trace.keys() == {"id", "messages", "trace"}
        assert trace["trace"].keys() == {
            *("kind", "mistake", "mistakes", "corrections", "answer", "checked", "source"),
        }
        assert [turn["role"] for turn in trace["messages"]] == ["system", "user", "assistant"]
        assert trace["messages"][1]["content"] == row["question"]
        parsed = parse(trace["messages"][2]["content"])
        assert parsed.well_formed
        assert parsed.output == trace["trace"]["answer"] == row["answer"].rpartition("#### ")[2]
        assert len(parsed.reflections) == len(trace["trace"]["mistakes"]) == len(trace["trace"]["corrections"])
    [failure] = lines(run / "trace_failures.jsonl")
    assert (failure["stage"], failure["reason"]) == ("trace", "duplicate")


def test_traces_are_read_as_messages_again() -> None:
    reflectune("traces", write("sums.jsonl", ROWS), "--no-system", "--limit", "3")
    source = open_source("runs/sums-traces/traces.jsonl")
    examples = [row.example for row in source.rows()]
    assert source.mapping.shape == "messages"
    assert [example and example.instruction for example in examples] == [row["question"] for row in ROWS[:3]]
    assert not any(example and example.system for example in examples)


def test_the_same_command_gives_the_same_file() -> None:
    write("sums.jsonl", ROWS)
    files = []
    for seed in ("1", "1", "2"):
        reflectune("traces", "sums.jsonl", "--seed", seed, "--output", "out.jsonl")
        files.append(Path("out.jsonl").read_bytes())
        assert files[-1] == Path("runs/sums-traces/traces.jsonl").read_bytes()
    assert files[0] == files[1] != files[2]


def test_only_what_is_asked_for_is_planted() -> None:
    write("sums.jsonl", ROWS)
    summary = told("sums.jsonl", "--clean", "0", "--kind", "arithmetic", "--kind", "wrong-unit")
    assert summary["kinds"] == {"planted": 30}
    assert summary["mistakes"].keys() == {"arithmetic"}  # bags are no unit
    assert told("sums.jsonl", "--clean", "1")["kinds"] == {"clean": 30}


def test_traces_are_shown() -> None:
    shown = reflectune("traces", write("sums.jsonl", ROWS), "--show", "2", "--clean", "0").stderr
    assert shown.count("<reflection>") == 2
    assert "sums.jsonl:1" in shown
    assert "30 traces: 30 planted" in shown
    assert not reflectune("traces", "sums.jsonl", "--show", "2", "--quiet").stderr


def test_what_an_evaluation_set_holds_is_left_out() -> None:
    write("sums.jsonl", ROWS)
    write("test.jsonl", [{"question": ROWS[4]["question"]}])
    summary = told("sums.jsonl", "--against", "test.jsonl")
    assert (summary["traces"], summary["failures"]) == (29, {"contaminated": 1})
    [failure] = lines(Path("runs/sums-traces/trace_failures.jsonl"))
    assert "test.jsonl, row 1" in failure["detail"]
    assert "as did the original" not in failure["detail"]
    assert "sums.jsonl:5" not in Path("runs/sums-traces/traces.jsonl").read_text()


def test_a_dry_run_writes_nothing() -> None:
    write("sums.jsonl", [*ROWS, {"question": "a", "answer": "b"}])
    assert told("sums.jsonl", "--dry-run") == {"rows": 31, "usable": 30, "requests": 0}
    assert told("sums.jsonl", "--dry-run", "--mistakes", "own", "--samples", "3", "--oracle", "m")["requests"] == 90
    assert "1 cannot be used" in reflectune("traces", "sums.jsonl", "--dry-run").stderr
    assert (
        "at most 120 requests to m"
        in reflectune("traces", "sums.jsonl", "--dry-run", "--mistakes", "oracle", "--oracle", "m").stderr
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(("allowed", "code"), [("0.05", 3), ("0.2", 0)])
def test_too_many_failures_end_with_3(allowed: str, code: int) -> None:
    write("sums.jsonl", [*ROWS, *({"question": f"a{n}", "answer": "b"} for n in range(3))])
    summary = told("sums.jsonl", "--max-failed", allowed, code=code)
    assert (summary["traces"], summary["failures"]) == (30, {"no-answer": 3})


def test_what_is_left_out_on_purpose_is_no_failure() -> None:
    assert told(write("sums.jsonl", ROWS[:2] * 5))["failures"] == {"duplicate": 8}


@pytest.mark.parametrize(
    ("rows", "flags", "code", "what", "mend"),
    [
        ([], [], 1, "the file is empty", "at least one row"),
        ([{"question": "a", "answer": "b"}], ["--from", "gsm8k"], 1, "data.jsonl: no row holds", "--from"),
        ([{"question": "a"}], ["--from", "gsm8k"], 1, "no column 'answer'", "Rename the column"),
        (CHOICES, [], 2, "rows of the form choice have none", "--mistakes own"),
        ([{"instruction": "a", "output": "b"}], [], 2, "rows of the form open have none", "--mistakes oracle"),
        (
            [{"instruction": "a", "output": "b"}],
            ["--mistakes", "own"],
            2,
            "nobody knows the answers",
            "--mistakes oracle",
        ),
        (ROWS, ["--output", "data.jsonl"], 2, "would overwrite the data", "--output"),
        (ROWS, ["--output", "out.docx"], 2, "cannot write this kind", ".jsonl"),
        (ROWS, ["--output", "no/out.jsonl"], 2, "there is no folder", "Make it"),
        (ROWS, ["--kind", "typo"], 2, "kinds does not fit: it is one of arithmetic", "--help"),
        (ROWS, ["--run", "data.jsonl"], 1, "Cannot write into", "--run"),
        (ROWS, ["--against", "nope.jsonl"], 1, "no such evaluation file", "Did you mean"),
        (ROWS, ["--prompts", "nope"], 2, "no prompt folder", "Name a folder"),
    ],
)
def test_what_cannot_be_done_is_said(  # noqa: PLR0917
    rows: list[Any],
    flags: list[str],
    code: int,
    what: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from reflectune.cli import main

    write("data.jsonl", rows)
    monkeypatch.setattr("sys.argv", ["reflectune", "traces", "data.jsonl", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert what in said
    assert mend in said


def test_a_run_that_holds_other_things_is_not_overwritten() -> None:
    write("sums.jsonl", ROWS)
    with RunDir(Path("runs/sums-traces")) as run:
        run.ingest(open_source("sums.jsonl").rows())
    result = CliRunner().invoke(app, ["traces", "sums.jsonl"])
    assert "holds no traces" in str(result.exception)


def test_own_samples_are_asked_for_once(asked: Callable[..., ScriptedOracle]) -> None:
    oracle = asked(alternating)
    words = (write("choices.jsonl", CHOICES), "--mistakes", "own", "--oracle", "m", "--samples", "2", "--clean", "0")
    first = told(*words)
    assert (first["rows"], first["traces"], first["kinds"]) == (6, 6, {"own": 6})
    assert (first["requests"], first["cached"], first["cost"]) == (12, 0, None)
    data = Path("runs/choices-traces/traces.jsonl").read_bytes()
    again = told(*words)
    assert (again["requests"], again["cached"]) == (0, 12)
    assert len(oracle.requests) == 12
    assert Path("runs/choices-traces/traces.jsonl").read_bytes() == data
    assert [trace["trace"]["source"] for trace in lines(Path("runs/choices-traces/traces.jsonl"))] == [
        f"choices.jsonl:{row}" for row in range(1, 7)
    ]


def test_rows_without_a_mistake_are_no_failures_of_the_command(asked: Callable[..., ScriptedOracle]) -> None:
    asked(lambda request: answer(request, "B"))
    words = (write("choices.jsonl", CHOICES), "--mistakes", "own", "--oracle", "m", "--samples", "1", "--clean", "0")
    assert told(*words)["failures"] == {"no-mistake": 6}


def test_an_oracle_that_fails_leaves_what_was_asked(asked: Callable[..., ScriptedOracle]) -> None:
    def say(request: Request) -> Said:
        return OracleError("no key") if len(oracle.requests) > 4 else alternating(request)

    oracle = asked(say)
    words = ["traces", write("choices.jsonl", CHOICES), "--mistakes", "own", "--oracle", "m", "--samples", "2"]
    result = CliRunner().invoke(app, [*words, "--max-concurrency", "1"])
    assert isinstance(result.exception, OracleError)
    oracle = asked(alternating)
    summary = json.loads(reflectune(*words, "--json").stdout.splitlines()[-1])
    assert summary["cached"] >= 4
    assert summary["requests"] == 12 - summary["cached"]
    assert summary["pending"] == 0


def test_an_interrupted_run_says_so_and_goes_on(asked: Callable[..., ScriptedOracle]) -> None:
    def say(request: Request) -> str:
        if len(oracle.requests) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return alternating(request)

    oracle = asked(say)
    words = (write("choices.jsonl", CHOICES), "--mistakes", "own", "--oracle", "m", "--samples", "2", "--clean", "0")
    first = told(*words, "--max-concurrency", "1", code=130)
    assert 0 < first["pending"] < 6
    assert first["traces"] == 6 - first["pending"] == len(lines(Path("runs/choices-traces/traces.jsonl")))
    oracle = asked(alternating)
    again = told(*words)
    assert (again["traces"], again["pending"]) == (6, 0)
    assert again["requests"] == 12 - first["requests"]


def test_an_oracle_writes_traces_of_open_instructions(asked: Callable[..., ScriptedOracle]) -> None:
    said = {
        "passage_is_wrong": {"remark": "Fine.", "passage_is_wrong": True, "answer_is_right": True},
        "reflection": {"reflection": "No, it is the air.", "rest": "", "answer": "The air."},
        "sound": {"remark": "No.", "sound": False, "passage": "It is the sea."},
        "reasoning": {"reasoning": "I look up.\nIt is the sea.", "answer": "The sea."},
    }
    oracle = asked(lambda request: json.dumps(next(said[n] for n in said if f" {n}: " in request.messages[0].content)))
    write("open.jsonl", [{"instruction": f"Why is sky {n} blue?", "output": "Air."} for n in range(3)])
    summary = told("open.jsonl", "--mistakes", "oracle", "--oracle", "m")
    assert (summary["traces"], summary["kinds"], len(oracle.requests)) == (3, {"oracle": 3}, 12)
    [trace, *_] = lines(Path("runs/open-traces/traces.jsonl"))
    begin, end = trace["trace"]["mistakes"][0]
    assert trace["messages"][-1]["content"][begin:end] == "It is the sea."
