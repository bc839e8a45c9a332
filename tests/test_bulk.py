"""What a whole data set needs, on the command line: money, samples, shards, retries, and where each row comes from."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from loopback import Loopback
from reflectune.records import digest
from test_cli import lines, reflectune

Serve = Callable[..., Loopback]

COUNT = 40


def word(number: int, place: int) -> str:
    """A word of its own for each row and place."""
    return digest([number, place])[:7].translate(str.maketrans("0123456789", "ghijklmnop"))


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Rows of very different lengths, in words that no two of them share."""
    rows = [
        {
            "instruction": f"How does {word(number, 3)} differ from {word(number, 5)}?",
            "output": " ".join(word(number, place) for place in range(7, 20 + 5 * (number % 7))),
        }
        for number in range(COUNT)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    (tmp_path / "prices.yaml").write_text("m: {input: 1.0, output: 4.0}\n")
    return path


def summary_of(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    done = reflectune(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_a_sample_tells_what_the_rest_costs(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--prices", "prices.yaml")
    sample = summary_of(*command, "--sample", "10", cwd=tmp_path)
    assert (sample["rewritten"], sample["pending"], sample["requests"]) == (10, COUNT - 10, 20)
    projected = sample["projection"]
    assert (projected["measured_rows"], projected["rows"], projected["requests"]) == (10, COUNT - 10, 60)
    same = summary_of(*command, "--sample", "10", "--dry-run", cwd=tmp_path)
    assert (same["requests"], same["projection"]) == (0, projected)
    rest = summary_of(*command, cwd=tmp_path)
    assert rest["requests"] == projected["requests"]
    assert projected["cost"]["low"] <= rest["cost"] <= projected["cost"]["high"]
    assert projected["cost"]["low"] > rest["cost"] / 2
    totals = json.loads((tmp_path / "runs/rows/run.json").read_text())
    assert totals["cost"] == pytest.approx(sample["cost"] + rest["cost"])
    assert totals["requests"] == server.stats()["requests"] == 2 * COUNT


def test_a_budget_stops_the_run_and_a_higher_one_goes_on(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback("--latency-ms", "20")
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--max-concurrency", "4")
    priced = (*command, "--prices", "prices.yaml")
    unknown = reflectune(*command, "--budget", "1", cwd=tmp_path)
    assert (unknown.returncode, "--prices" in unknown.stderr) == (2, True)
    stopped = reflectune(*priced, "--budget", "0.08", "--json", cwd=tmp_path)
    assert stopped.returncode == 4, stopped.stderr
    summary = json.loads(stopped.stdout)
    assert 0 < summary["rewritten"] < COUNT
    assert 0.02 < summary["cost"] <= 0.08
    assert "--budget AMOUNT" in stopped.stderr
    same = reflectune(*priced, "--budget", "0.08", "--json", cwd=tmp_path)
    assert (same.returncode, json.loads(same.stdout)["requests"]) == (4, 0)
    rest = reflectune("runs", "resume", "runs/rows", "--budget", "5", "--json", cwd=tmp_path)
    assert (rest.returncode, json.loads(rest.stdout)["rewritten"]) == (0, COUNT)
    stats = server.stats()
    assert stats["requests"] == stats["distinct"] == 2 * COUNT


def test_a_price_that_is_not_known_is_shown_as_such(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--limit", "2")
    assert "unknown" in reflectune(*command, "--dry-run", cwd=tmp_path).stderr
    done = reflectune(*command, "--json", cwd=tmp_path)
    assert "cost unknown" in done.stderr
    assert json.loads(done.stdout)["cost"] is None
    assert json.loads((tmp_path / "runs/rows/run.json").read_text())["cost"] is None


def test_shards_come_to_the_same_as_the_whole(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}")
    summary_of(*command, "--run", "whole", cwd=tmp_path)
    for shard in (1, 3):
        part = summary_of(*command, "--shard", f"{shard}/3", "--run", f"part-{shard}", cwd=tmp_path)
        assert part["rows"] in {13, 14}
    merged = reflectune("runs", "merge", "part-1", "part-3", "--run", "merged", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert "missing: 2/3" in merged.stderr
    rest = reflectune("runs", "resume", "merged", "--json", cwd=tmp_path)
    assert json.loads(rest.stdout)["requests"] == 2 * 13
    assert (tmp_path / "merged/recycled.jsonl").read_bytes() == (tmp_path / "whole/recycled.jsonl").read_bytes()
    again = reflectune("runs", "merge", "part-1", "whole", "--run", "twice", cwd=tmp_path)
    assert (again.returncode, "shard" in again.stderr) == (1, True)
    assert reflectune(*command, "--shard", "4/3", cwd=tmp_path).returncode == 2


def test_failed_rows_are_tried_again_with_another_oracle(loopback: Serve, tmp_path: Path) -> None:
    rows: list[dict[str, str]] = [
        {"id": "short", "instruction": "Read this.", "input": "A word.", "output": "Done."},
        {"id": "long", "instruction": "Read this.", "input": "word " * 40_000, "output": "Done."},
        {"id": "none", "instruction": "Read this.", "output": ""},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    small, large = loopback("--context", "8000"), loopback()
    first = reflectune("recycle", "rows.json", "--oracle", f"small@{small.base_url}", "--json", cwd=tmp_path)
    assert json.loads(first.stdout)["failures"] == {"context-overflow": 1, "no-response": 1}
    other = ("--oracle", f"large@{large.base_url}", "--json")
    nothing = reflectune("runs", "retry", "runs/rows", "--reason", "copy", *other, cwd=tmp_path)
    assert json.loads(nothing.stdout)["requests"] == 0
    retried = reflectune("runs", "retry", "runs/rows", "--reason", "context-overflow", *other, cwd=tmp_path)
    summary = json.loads(retried.stdout)
    assert (summary["rewritten"], summary["requests"], summary["failures"]) == (2, 2, {"no-response": 1})
    written = {row["id"]: row["reflectune"]["oracle"] for row in lines(tmp_path / "runs/rows/recycled.jsonl")}
    assert written == {"short": f"small@{small.base_url}", "long": f"large@{large.base_url}"}
    resumed = reflectune("runs", "resume", "runs/rows", "--json", cwd=tmp_path)
    assert json.loads(resumed.stdout)["requests"] == 0
    assert "by large@" in reflectune("runs", "show", "runs/rows", "--row", "long", cwd=tmp_path).stdout
    by_whom = json.loads((tmp_path / "runs/rows/run.json").read_text())["rewritten_by"]
    assert by_whom == {
        f"small@{small.base_url}": {"rewritten": 1, "failed": 0},
        f"large@{large.base_url}": {"rewritten": 1, "failed": 0},
    }
    refused = reflectune("recycle", "rows.json", "--reason", "copy", cwd=tmp_path)
    assert (refused.returncode, "--retry-failed" in refused.stderr) == (2, True)


def test_another_oracle_is_asked_for_failed_rows_only(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    small, large = loopback("--context", "2000"), loopback()
    rows = json.loads(data_file.read_text())
    rows[0]["output"] += " word" * 4000
    rows[1]["output"] += " word" * 4000
    data_file.write_text(json.dumps(rows))
    command = ("recycle", data_file, "--oracle", f"small@{small.base_url}", "--max-failed", "1")
    summary_of(*command, "--limit", "5", cwd=tmp_path)
    started = summary_of(*command, "--sample", "6", cwd=tmp_path)
    assert (started["failed"], started["pending"] > 20) == (2, True)
    retried = reflectune("runs", "retry", "runs/rows", "--oracle", f"large@{large.base_url}", "--json", cwd=tmp_path)
    summary = json.loads(retried.stdout)
    assert (summary["failed"], summary["pending"]) == (0, started["pending"])
    rest = reflectune("runs", "resume", "runs/rows", "--json", cwd=tmp_path)
    assert json.loads(rest.stdout)["rewritten"] == COUNT
    assert large.stats()["requests"] == summary["requests"] <= 2 * 2


def test_a_retry_that_comes_to_nothing_takes_no_failure_away(loopback: Serve, tmp_path: Path) -> None:
    rows = [{"id": str(n), "instruction": "Read this.", "output": "word " * 40_000} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    server = loopback("--context", "8000")
    first = reflectune("recycle", "rows.json", "--oracle", f"m@{server.base_url}", "--json", cwd=tmp_path)
    assert json.loads(first.stdout)["failures"] == {"context-overflow": 3}
    failures = (tmp_path / "runs/rows/failures.jsonl").read_bytes()
    for flags, code in (
        (["--oracle", "z@http://127.0.0.1:9/v1"], 1),
        (["--budget", "1"], 2),
        (["--reason", "copy"], 3),
    ):
        done = reflectune("runs", "retry", "runs/rows", *flags, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        shown = json.loads(reflectune("runs", "show", "runs/rows", cwd=tmp_path).stdout)
        assert (shown["failed"], shown["pending"], shown["reasons"]) == (3, 0, {"context-overflow": 3})
        assert (tmp_path / "runs/rows/failures.jsonl").read_bytes() == failures
    assert "context-overflow (3)" in done.stderr


def test_a_retry_that_is_interrupted_says_so(loopback: Serve, tmp_path: Path) -> None:
    rows = [{"id": str(n), "instruction": "Read this.", "output": f"{n} " + "word " * 10_000} for n in range(30)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    small, large = loopback("--context", "2000"), loopback("--latency-ms", "300")
    reflectune("recycle", "rows.json", "--oracle", f"m@{small.base_url}", cwd=tmp_path)
    arguments = ["runs", "retry", "runs/rows", "--oracle", f"big@{large.base_url}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "reflectune", *arguments, "--json"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    while not large.stats()["requests"]:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"Go on with: reflectune runs retry runs/rows --oracle big@{large.base_url}" in told
    assert json.loads((tmp_path / "runs/rows/run.json").read_text())["failed"] == 30
    done = reflectune(*arguments, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rewritten"] == 30
    stats = large.stats()
    assert stats["requests"] == stats["distinct"]


def test_rows_that_gates_leave_out_stay_out_when_more_rows_come(
    loopback: Serve, data_file: Path, tmp_path: Path
) -> None:
    command = ("recycle", data_file, "--oracle", f"m@{loopback().base_url}", "--limit")
    summary_of(*command, "10", cwd=tmp_path)
    written = lines(tmp_path / "runs/rows/recycled.jsonl")
    (tmp_path / "exam.json").write_text(json.dumps([{"question": row["output"]} for row in written[:4]]))
    gates = ("gates", "runs/rows", "--against", "exam.json", "--drop", "contamination", "--gate", "contamination")
    marked = summary_of(*gates, cwd=tmp_path)["marked"]["contamination"]
    assert marked >= 4
    more = reflectune(*command, "12", cwd=tmp_path)
    assert "have not been through the quality gates" in more.stderr
    assert len(lines(tmp_path / "runs/rows/recycled.jsonl")) == 12 - marked
    assert len({mark["id"] for mark in lines(tmp_path / "runs/rows/gates.jsonl")}) == marked
    assert json.loads((tmp_path / "runs/rows/run.json").read_text())["written"] == 12 - marked


def test_each_shard_has_a_folder_of_its_own(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    command = ("recycle", data_file, "--oracle", f"m@{loopback().base_url}")
    for shard in ("1/2", "2/2"):
        summary_of(*command, "--shard", shard, cwd=tmp_path)
    parts = ("runs/rows-1-of-2", "runs/rows-2-of-2")
    assert reflectune("runs", "merge", *parts, "--run", "runs/all", cwd=tmp_path).returncode == 0
    assert len(lines(tmp_path / "runs/all/recycled.jsonl")) == COUNT
    other = reflectune(*command, "--shard", "1/2", "--run", parts[1], cwd=tmp_path)
    assert (other.returncode, "holds shard 2/2" in other.stderr) == (2, True)
    twice = reflectune("runs", "merge", parts[0], parts[0], "--run", "runs/twice", cwd=tmp_path)
    assert (twice.returncode, "named twice" in twice.stderr) == (1, True)


def test_a_command_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("[{")
    for name in ("nope.json", "broken.json"):
        assert reflectune("recycle", name, "--oracle", "m@http://127.0.0.1:9/v1", cwd=tmp_path).returncode == 1
    assert not list((tmp_path / "runs").glob("*"))


def test_a_budget_needs_an_endpoint_that_counts(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback("--no-usage")
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--prices", "prices.yaml")
    done = reflectune(*command, "--budget", "1", cwd=tmp_path)
    assert (done.returncode, "how many tokens" in done.stderr) == (1, True)
    asked = server.stats()["requests"]
    assert asked <= 1 + 32
    assert summary_of(*command, cwd=tmp_path)["requests"] == 2 * COUNT - asked


def test_columns_that_were_read_otherwise_before(loopback: Serve, tmp_path: Path) -> None:
    """The first try with other columns fails at the endpoint; the second must not write into the old ones."""
    server = loopback()
    row = {"q": "What is tea?", "a": "A drink.", "q2": "What is coffee made of?", "a2": "Of beans."}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    command = ("recycle", "rows.json", "--oracle", "m", "--no-provenance", "--base-url")
    summary_of(*command, server.base_url, "--map", "instruction=q,response=a", cwd=tmp_path)
    other = ("--map", "instruction=q2,response=a2")
    assert reflectune(*command, "http://127.0.0.1:9/v1", *other, cwd=tmp_path).returncode == 1
    summary_of(*command, server.base_url, *other, cwd=tmp_path)
    (written,) = lines(tmp_path / "runs/rows/recycled.jsonl")
    assert (written["q"], written["a"]) == (row["q"], row["a"])
    assert written["q2"] != row["q2"]


def test_a_finished_run_writes_nothing_again(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}", "--output", "out.jsonl")
    first = reflectune(*command, cwd=tmp_path)
    out = tmp_path / "out.jsonl"
    written = out.stat().st_mtime_ns
    again = reflectune(*command, cwd=tmp_path)
    assert out.stat().st_mtime_ns == written
    shown = [text.split("rows:")[0].partition("\n")[2] for text in (first.stderr, again.stderr)]
    assert shown[0] == shown[1]
    out.unlink()
    reflectune(*command, cwd=tmp_path)
    assert len(lines(out)) == COUNT


def test_the_card_says_what_the_data_is(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback()
    command = ("recycle", data_file, "--oracle", f"m@{server.base_url}")
    reflectune(*command, "--license", "cc-by-4.0", cwd=tmp_path)
    card = (tmp_path / "runs/rows/README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["language"], front["size_categories"]) == ("cc-by-4.0", ["en"], ["n<1K"])
    assert front["configs"] == [{"config_name": "default", "data_files": "recycled.jsonl"}]
    assert f"| rewritten | {COUNT} |" in card
    assert "127.0.0.1" not in card
    reflectune(*command, "--license", "Ask us: first", cwd=tmp_path)
    card = (tmp_path / "runs/rows/README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["license_name"]) == ("other", "Ask us: first")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small text files needs."""

    calls: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.calls.append((self.path, body))
        if self.headers.get("Authorization") != "Bearer hf_right":
            self._answer(401, {"error": "who are you?"})
        elif self.path.endswith("/preupload/main"):
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self._answer(200, {"files": [file | {"shouldIgnore": False, "oid": None} for file in files]})
        else:
            host = f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]
            commit = {"success": True, "commitOid": "a" * 40, "commitUrl": f"{host}/datasets/me/rows/commit/{'a' * 40}"}
            self._answer(200, {"url": f"{host}/datasets/me/rows", **commit})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        packed = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(packed)))
        self.end_headers()
        self.wfile.write(packed)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass


@contextmanager
def hub() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    calls: list[tuple[str, bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHub", (Hub,), {"calls": calls}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_run_is_pushed_in_one_commit(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    server = loopback()
    reflectune("recycle", data_file, "--oracle", f"m@{server.base_url}", cwd=tmp_path)
    push = ("runs", "push", "runs/rows", "me/rows")
    assert "recycled.jsonl" in reflectune(*push, "--dry-run", cwd=tmp_path).stderr
    with hub() as (url, calls):
        variables = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        refused = reflectune(*push, cwd=tmp_path, **variables, HF_TOKEN="hf_wrong")
        assert refused.returncode == 1
        assert "HF_TOKEN" in refused.stderr
        assert "Traceback" not in refused.stderr
        calls.clear()
        done = reflectune(*push, cwd=tmp_path, **variables, HF_TOKEN="hf_right")
        assert done.returncode == 0, done.stderr
    assert "/datasets/me/rows" in done.stderr
    created = json.loads(calls[0][1])
    assert created.get("private") or created["visibility"] == "private"
    commit = [json.loads(line) for line in calls[-1][1].splitlines()]
    files = {entry["value"]["path"] for entry in commit if entry["key"] == "file"}
    assert files == {"README.md", "recycled.jsonl", "failures.jsonl", "run.json", "recipe.yaml"}
    assert calls[-1][0] == "/api/datasets/me/rows/commit/main"
