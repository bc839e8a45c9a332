"""The command line against a real server: what it prints, writes and exits with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loopback import Loopback
from typed import reflectune as typed

Serve = Callable[..., Loopback]

ROWS = [
    {"id": "tea", "instruction": "How do I make tea?", "input": "", "output": "Use hot water.", "topic": "drinks"},
    {
        "id": "sum",
        "instruction": "Sum this up.",
        "input": "Bees carry pollen from flower to flower.",
        "output": "Bees help.",
    },
    {"id": "zh", "instruction": "怎样泡茶才好喝？", "input": "", "output": "用热水泡。"},
]


def reflectune(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder of its own, with no key but what is given."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return subprocess.run(
        [sys.executable, "-m", "reflectune", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean | variables,
        check=False,
        timeout=120,
    )


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_from_a_file_to_recycled_data(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    done = reflectune("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    counted = {
        name: summary[name] for name in ("rows", "rewritten", "failed", "pending", "failures", "requests", "cached")
    }
    assert counted == {
        "rows": 3, "rewritten": 3, "failed": 0, "pending": 0, "failures": {}, "requests": 6, "cached": 0,
    }  # fmt: skip
    assert summary["cost"] is None
    assert summary["prompt_tokens"] > 0
    run = tmp_path / "runs" / "rows"
    recycled = lines(run / "recycled.jsonl")
    assert [row["id"] for row in recycled] == ["tea", "sum", "zh"]
    assert [list(row) for row in recycled] == [[*row, "reflectune"] for row in ROWS]
    came_from = recycled[0]["reflectune"]
    assert (came_from["id"], came_from["version"], came_from["oracle"]) == ("tea", "QA", f"m@{server.base_url}")
    assert {score["version"] for score in came_from["scores"]} == {"original", "Q"}
    assert recycled[0]["topic"] == "drinks"
    assert all(new["output"] != old["output"] for new, old in zip(recycled, ROWS, strict=True))
    assert lines(run / "failures.jsonl") == []
    assert json.loads((run / "run.json").read_text())["requests"] == 6
    assert "alpaca" in done.stderr
    assert "\x1b[" not in done.stderr


def test_the_same_command_resumes_and_asks_nothing(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json")
    reflectune(*command, cwd=tmp_path)
    first = (tmp_path / "runs/rows/recycled.jsonl").read_bytes()
    again = json.loads(reflectune(*command, cwd=tmp_path).stdout)
    assert (again["requests"], again["cached"], again["rewritten"]) == (0, 0, 3)
    assert (tmp_path / "runs/rows/recycled.jsonl").read_bytes() == first
    assert server.stats()["requests"] == 6


def test_a_limit_can_be_raised_and_a_changed_row_is_done_again(
    loopback: Serve, data_file: Path, tmp_path: Path
) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json")
    limited = json.loads(reflectune(*command, "--limit", "1", cwd=tmp_path).stdout)
    assert (limited["rows"], limited["requests"]) == (1, 2)
    assert json.loads(reflectune(*command, cwd=tmp_path).stdout)["requests"] == 4
    changed = [ROWS[0] | {"output": "Boil water first, then wait."}, *ROWS[1:]]
    data_file.write_text(json.dumps(changed, ensure_ascii=False), encoding="utf-8")
    assert json.loads(reflectune(*command, cwd=tmp_path).stdout)["requests"] == 2


def test_a_changed_prompt_redoes_just_what_changed(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json")
    reflectune(*command, cwd=tmp_path)
    prompt = tmp_path / "prompts" / "en" / "structured_response.txt"
    prompt.parent.mkdir(parents=True)
    prompt.write_text("Write a better response. Reply with one JSON value.")
    again = json.loads(reflectune(*command, "--prompts", tmp_path / "prompts", cwd=tmp_path).stdout)
    assert again["rewritten"] == 3
    assert again["requests"] == 2
    assert again["cached"] == 4


def test_failures_are_filled_in_and_tried_again(loopback: Serve, tmp_path: Path) -> None:
    rows = [ROWS[0], {"id": "none", "instruction": "No answer?", "output": ""}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    server = loopback()
    command = ("recycle", tmp_path / "rows.jsonl", "--oracle", f"m@{server.base_url}", "--fill", "original", "--json")
    done = reflectune(*command, cwd=tmp_path)
    assert done.returncode == 3
    assert json.loads(done.stdout)["failures"] == {"no-response": 1}
    run = tmp_path / "runs" / "rows"
    assert [row["recycled"] for row in lines(run / "recycled.jsonl")] == [True, False]
    assert [failure["reason"] for failure in lines(run / "failures.jsonl")] == ["no-response"]
    assert reflectune(*command, "--max-failed", "1", cwd=tmp_path).returncode == 0
    shown = reflectune("runs", "show", run, "--failed", cwd=tmp_path)
    assert "no-response" in shown.stdout


def test_a_run_is_listed_shown_exported_and_retried(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    reflectune("recycle", data_file, "--oracle", f"m@{server.base_url}", cwd=tmp_path)
    assert "3 rows: 3 rewritten" in reflectune("runs", "list", cwd=tmp_path).stdout
    row = reflectune("runs", "show", "runs/rows", "--row", "sum", cwd=tmp_path).stdout
    assert "helpfulness" in row
    assert "── QA" in row
    assert (
        json.loads(reflectune("runs", "show", "runs/rows", "--row", "zh", "--json", cwd=tmp_path).stdout)["id"] == "zh"
    )
    exported = reflectune("export", "runs/rows", "--to", "messages", cwd=tmp_path).stdout.splitlines()
    assert [turn["role"] for turn in json.loads(exported[0])["messages"]] == ["user", "assistant"]
    assert reflectune("export", "runs/rows", "--output", "out.csv", cwd=tmp_path).returncode == 0
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("id,instruction,input,output")
    plain = reflectune("export", "runs/rows", "--no-provenance", cwd=tmp_path).stdout.splitlines()
    assert [list(json.loads(row)) for row in plain] == [list(row) for row in ROWS]
    assert reflectune("runs", "retry", "runs/rows", cwd=tmp_path).returncode == 0
    missing = reflectune("runs", "show", "runs/rows", "--row", "nobody", cwd=tmp_path)
    assert (missing.returncode, "no row nobody" in missing.stderr) == (1, True)


def test_all_four_versions_are_made_and_kept(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--versions", "all", "--json")
    estimate = json.loads(reflectune(*command, "--dry-run", cwd=tmp_path).stdout)
    done = reflectune(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rewritten"], summary["requests"], estimate["requests"]) == (3, 9, 9)
    shown = reflectune("runs", "show", "runs/rows", "--row", "sum", "--json", cwd=tmp_path)
    versions = json.loads(shown.stdout)["result"]["versions"]
    assert list(versions) == ["original", "Q", "A", "QA"]
    assert len({version["response"] for version in versions.values()}) == 4
    assert (versions["A"]["instruction"], versions["A"]["input"]) == (ROWS[1]["instruction"], ROWS[1]["input"])
    assert versions["QA"]["instruction"] == versions["Q"]["instruction"] != versions["A"]["instruction"]
    came_from = lines(tmp_path / "runs/rows/recycled.jsonl")[1]["reflectune"]
    assert came_from["version"] == "QA"
    assert [score["version"] for score in came_from["scores"]] == ["original"] * 13 + ["Q"] * 4
    assert json.loads(reflectune(*command, cwd=tmp_path).stdout)["requests"] == 0
    fewer = json.loads(reflectune(*command[:-3], "--json", cwd=tmp_path).stdout)
    assert (fewer["rewritten"], fewer["requests"]) == (3, 0)


def test_fresh_does_everything_again(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json")
    reflectune(*command, cwd=tmp_path)
    assert json.loads(reflectune(*command, "--fresh", cwd=tmp_path).stdout)["requests"] == 6


def test_a_dry_run_asks_nothing_and_makes_no_folder(data_file: Path, tmp_path: Path) -> None:
    done = reflectune("recycle", data_file, "--oracle", "gpt-4o-mini", "--dry-run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    estimate = json.loads(done.stdout)
    assert (estimate["rows"], estimate["requests"]) == (3, 6)
    assert 1000 < estimate["prompt_tokens"] < 20_000
    low, high = estimate["ranges"]["cost"]
    assert 0 < low < estimate["cost"] < high < 0.05
    assert not (tmp_path / "runs").exists()


def test_ctrl_c_drains_and_prints_the_command_that_resumes(loopback: Serve, tmp_path: Path) -> None:
    rows = [{"instruction": f"What is {number} plus {number}?", "output": str(2 * number)} for number in range(200)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    server = loopback("--latency-ms", "100")
    command = [sys.executable, "-m", "reflectune", "recycle", "rows.json", "--oracle", f"m@{server.base_url}"]
    process = subprocess.Popen(
        [*command, "--max-concurrency", "4"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    while server.stats()["requests"] < 20:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "reflectune runs resume runs/rows" in told
    resumed = reflectune("runs", "resume", "runs/rows", "--json", cwd=tmp_path)
    assert json.loads(resumed.stdout)["rewritten"] == 200
    stats = server.stats()
    assert stats["requests"] == stats["distinct"]


def test_a_killed_run_repeats_at_most_what_was_in_flight(loopback: Serve, tmp_path: Path) -> None:
    rows = [{"instruction": f"What is {number} times three?", "output": str(3 * number)} for number in range(100)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    server = loopback("--latency-ms", "50")
    command = [sys.executable, "-m", "reflectune", "recycle", "rows.json", "--oracle", f"m@{server.base_url}"]
    kills = 3
    for number in range(1, kills + 1):
        process = subprocess.Popen([*command, "--max-concurrency", "4", "-q"], cwd=tmp_path)
        while server.stats()["requests"] < 40 * number:
            time.sleep(0.01)
        process.kill()
        process.wait()
    done = reflectune(*command[3:], "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rewritten"] == 100
    stats = server.stats()
    assert stats["requests"] - stats["distinct"] <= 4 * kills


NOBODY = ("--oracle", "m@http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("recycle", "nothing.json", *NOBODY), 1, "nothing.json"),
        (("recycle", "rows.json", "--oracle", "gpt-4o-mini"), 2, "OPENAI_API_KEY"),
        (("recycle", "rows.json", *NOBODY), 1, "127.0.0.1:9"),
        (("recycle", "rows.json", "--oracle", ""), 2, "oracle does not fit"),
        (("recycle", "rows.json", "--oracle", "local:nothing.gguf"), 2, "nothing.gguf"),
        (("recycle", "rows.json", "--reflect", "nothing"), 2, "--reflect"),
        (("recycle", "rows.json", "--reflect", "response", "--versions", "all"), 2, "takes both reflections"),
        (("recycle", "rows.json", "--versions", "chosen", "--oracle", "m@http://127.0.0.1:9/v1"), 2, "--student"),
        (("recycle", "rows.json", "--map", "instruction=nothing,response=output", *NOBODY), 1, "nothing"),
        (("recycle", "rows.json", "--set", "recycle.temprature=1"), 2, "Did you mean temperature?"),
        (("recycle", "rows.json", "--prompts", "nothing", *NOBODY), 2, "no prompt folder"),
        (("recycle", "rows.json", "--run", "rows.json/run", *NOBODY), 1, "--run"),
        (("recycle", "rows.json", "--output", "out.docx", "--oracle", "m@http://127.0.0.1:9/v1"), 2, ".docx"),
        (("recycle", "rows.json", "--output", "rows.json"), 2, "overwrite"),
        (("recycle", "rows.json", "--output", "nowhere/out.jsonl"), 2, "nowhere"),
        (("recycle", "rows.json", "--key-env", "sk-not-a-name"), 2, "key_env"),
        (("recycle", "rows.json", "--map", "instruction=[/red]x,response=output", *NOBODY), 1, "[/red]x"),
        (("runs", "show", "nothing"), 1, "no run in nothing"),
        (("runs", "resume", "nothing"), 1, "no run in nothing"),
        (("export", "nothing"), 1, "no run in nothing"),
        (("nothing",), 2, "nothing"),
    ],
)
def test_a_mistake_is_one_clear_message(
    data_file: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = typed(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_wrong_key_and_an_unknown_model(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback("--require-key", "sk-right", "--models", "alpha,beta")
    wrong = reflectune(
        "recycle", data_file, "--oracle", f"alpha@{server.base_url}", cwd=tmp_path, OPENAI_API_KEY="sk-wrong"
    )
    assert (wrong.returncode, "OPENAI_API_KEY" in wrong.stderr, "sk-wrong" in wrong.stderr) == (1, True, False)
    unknown = reflectune(
        "recycle", data_file, "--oracle", f"alpa@{server.base_url}", cwd=tmp_path, OPENAI_API_KEY="sk-right"
    )
    assert (unknown.returncode, "alpha" in unknown.stderr) == (1, True)
    (tmp_path / ".env").write_text("MY_KEY=sk-right\n")
    right = reflectune(
        "recycle", data_file, "--oracle", f"alpha@{server.base_url}", "--key-env", "MY_KEY", "--json", cwd=tmp_path
    )
    assert json.loads(right.stdout)["rewritten"] == 3
    kept = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert b"sk-right" not in kept


def test_a_row_that_overflows_the_context_fails_alone(loopback: Serve, tmp_path: Path) -> None:
    rows = [ROWS[0], {"id": "long", "instruction": "Read this.", "input": "word " * 400_000, "output": "Done."}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    server = loopback("--context", "8000")
    done = reflectune("recycle", "rows.json", "--oracle", f"m@{server.base_url}", "--json", cwd=tmp_path)
    assert done.returncode == 3
    assert json.loads(done.stdout)["failures"] == {"context-overflow": 1}
    assert [row["id"] for row in lines(tmp_path / "runs/rows/recycled.jsonl")] == ["tea"]


def test_help_has_examples_and_completion_is_offered(tmp_path: Path) -> None:
    shown = reflectune("recycle", "--help", cwd=tmp_path, COLUMNS="110").stdout
    assert "reflectune recycle data.jsonl --oracle gpt-4o-mini" in shown
    assert "--install-completion" in reflectune("--help", cwd=tmp_path).stdout


def test_colours_are_left_out_when_asked(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    coloured = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}")
    assert "\x1b[3" in reflectune(*command, cwd=tmp_path, **coloured).stderr
    assert "\x1b[3" not in reflectune(*command, cwd=tmp_path, **coloured, NO_COLOR="1").stderr


def test_a_dry_run_loads_no_model(data_file: Path, tmp_path: Path) -> None:
    done = reflectune("recycle", data_file, "--dry-run", "--json", cwd=tmp_path)
    estimate = json.loads(done.stdout)
    assert (estimate["rows"], estimate["requests"]) == (3, 90)


def test_another_oracle_that_never_answers_takes_nothing_away(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    reflectune("recycle", data_file, "--oracle", f"m@{server.base_url}", cwd=tmp_path)
    run = tmp_path / "runs" / "rows"
    before = (run / "recycled.jsonl").read_bytes()
    assert reflectune("recycle", data_file, "--oracle", "m@http://127.0.0.1:9/v1", cwd=tmp_path).returncode == 1
    assert (run / "recycled.jsonl").read_bytes() == before
    assert reflectune("export", run, cwd=tmp_path).stdout.encode() == before


def test_other_data_does_not_take_over_a_run(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    reflectune("recycle", data_file, "--oracle", f"m@{server.base_url}", cwd=tmp_path)
    other = tmp_path / "elsewhere" / "rows.json"
    other.parent.mkdir()
    other.write_text(json.dumps(ROWS[:1]))
    done = reflectune("recycle", other, "--oracle", f"m@{server.base_url}", cwd=tmp_path)
    assert (done.returncode, "--run" in done.stderr) == (2, True)
    again = reflectune("recycle", other, "--oracle", f"m@{server.base_url}", "--fresh", cwd=tmp_path)
    assert again.returncode == 0


def test_a_broken_recipe_does_not_keep_a_run_from_going_on(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--json")
    reflectune(*command, cwd=tmp_path)
    (tmp_path / "runs" / "rows" / "recipe.yaml").write_text("")
    assert json.loads(reflectune(*command, cwd=tmp_path).stdout)["requests"] == 0
