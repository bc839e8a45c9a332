"""Recycling against a server that misbehaves, goes down or rations, and on a disk that is full or a machine that dies.

What a run comes to is compared byte by byte with what it comes to where nothing goes wrong.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from faulty import KINDS, Faults
from loopback import Loopback
from reflectune.records import digest
from test_cli import reflectune

Serve = Callable[..., Loopback]

COUNT = 60


def words(number: int, start: int, stop: int) -> str:
    """Words that no other row has."""
    letters = str.maketrans("0123456789", "ghijklmnop")
    return " ".join(digest([number, place])[:7].translate(letters) for place in range(start, stop))


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    rows = [
        {"instruction": f"Compare {words(number, 0, 3)} with this.", "output": words(number, 3, 20)}
        for number in range(COUNT)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def recycled(server: Loopback, folder: Path, run: str, *flags: str) -> dict[str, Any]:
    """The summary of a run over the rows."""
    command = ("recycle", "rows.json", "--oracle", f"m@{server.base_url}", "--run", run, "--json")
    done = reflectune(*command, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert (summary["rewritten"], summary["failures"]) == (COUNT, {})
    return summary


def exported(folder: Path, run: str) -> bytes:
    return (folder / run / "recycled.jsonl").read_bytes()


@pytest.mark.usefixtures("data_file")
def test_rows_end_right_whatever_goes_wrong(loopback: Serve, tmp_path: Path) -> None:
    recycled(loopback(), tmp_path, "well", "--no-provenance")
    kinds = [kind for kind in KINDS if not kind.startswith("429")]
    server = loopback("--faults", "0.3", "--fault-kinds", ",".join(kinds), "--hang-s", "1", "--latency-ms", "10")
    recycled(server, tmp_path, "badly", "--no-provenance", "--timeout", "0.5", "--max-concurrency", "64")
    stats = server.stats()
    assert exported(tmp_path, "badly") == exported(tmp_path, "well")
    assert (stats["answered_twice"], stats["distinct_valid"]) == (0, 2 * COUNT)
    assert len(stats["faults"]) > len(kinds) / 2
    assert sum(stats["faults"].values()) == pytest.approx(0.3 * 2 * COUNT, rel=0.5)


@pytest.mark.usefixtures("data_file")
def test_refusals_that_have_nothing_to_do_with_the_rate(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--faults", "0.05", "--fault-kinds", "429,429-after", "--latency-ms", "10")
    recycled(server, tmp_path, "run")
    stats = server.stats()
    assert sum(stats["faults"].values()) > 0
    assert (stats["answered_twice"], stats["distinct_valid"]) == (0, 2 * COUNT)


@pytest.mark.parametrize("retry_after", ["exact", "ceil", "none"])
@pytest.mark.usefixtures("data_file")
def test_a_storm_of_refusals_fails_nothing(loopback: Serve, tmp_path: Path, retry_after: str) -> None:
    server = loopback("--rpm", "2400", "--burst", "5", "--retry-after", retry_after, "--latency-ms", "5")
    recycled(server, tmp_path, "run", "--max-concurrency", "64")
    stats = server.stats()
    granted, refused = (sum(second[place] for second in stats["timeline"]) for place in (1, 2))
    assert granted == stats["answered"] == stats["distinct_valid"] == 2 * COUNT
    assert 0 < refused < 2 * COUNT


@pytest.mark.usefixtures("data_file")
def test_an_outage_fails_nothing(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--down-after", "40", "--down-s", "2", "--latency-ms", "20")
    summary = recycled(server, tmp_path, "run", "--max-concurrency", "16")
    stats = server.stats()
    assert summary["seconds"] > 2
    assert (stats["answered_twice"], stats["distinct_valid"]) == (0, 2 * COUNT)
    assert stats["requests"] - 2 * COUNT <= 16


@pytest.mark.usefixtures("data_file")
def test_a_run_that_is_killed_comes_to_the_same(loopback: Serve, tmp_path: Path) -> None:
    with Loopback() as server:
        recycled(server, tmp_path, "whole")
        port = urlsplit(server.base_url).port
    server = loopback("--latency-ms", "50", "--port", str(port))
    command = [sys.executable, "-m", "reflectune", "recycle", "rows.json", "--oracle", f"m@{server.base_url}"]
    command += ["--run", "killed", "--max-concurrency", "4", "--quiet"]
    moments = random.Random(7)
    kills = 3
    for number in range(1, kills + 1):
        process = subprocess.Popen(command, cwd=tmp_path)
        while server.stats()["requests"] < 30 * number:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.wait()
    done = subprocess.run(command, cwd=tmp_path, check=False)
    stats = server.stats()
    assert done.returncode == 0
    assert exported(tmp_path, "killed") == exported(tmp_path, "whole")
    assert stats["distinct"] == 2 * COUNT
    assert stats["requests"] - stats["distinct"] <= 4 * kills


@pytest.mark.usefixtures("data_file")
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this system cannot limit another process")
@pytest.mark.parametrize("after", [0, 1, COUNT])
def test_a_full_disk_is_told_and_corrupts_nothing(loopback: Serve, tmp_path: Path, after: int) -> None:
    server = loopback("--latency-ms", "20")
    recycled(server, tmp_path, "whole")
    before = server.stats()["requests"]

    def asked() -> int:
        requests: int = server.stats()["requests"]
        return requests - before

    command = [sys.executable, "-m", "reflectune", "recycle", "rows.json", "--oracle", f"m@{server.base_url}"]
    command += ["--run", "full", "--max-concurrency", "8"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while asked() < after:
        time.sleep(0.005)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Error:" in told
    assert "disk" in told
    assert "Traceback" not in told
    recycled(server, tmp_path, "full")
    assert exported(tmp_path, "full") == exported(tmp_path, "whole")
    assert asked() - before <= 2 * 8


def test_faults_follow_from_the_request_alone() -> None:
    rows = [[{"role": "system", "content": "Be kind."}, {"role": "user", "content": str(row)}] for row in range(4000)]
    one, other = (Faults(0.3, KINDS, 1.0) for _ in range(2))
    kinds = [one.kind_for(row) for row in rows]
    assert [other.kind_for(row) for row in reversed(rows)] == kinds[::-1]
    assert sum(map(bool, kinds)) == pytest.approx(1200, rel=0.1)
    assert {*kinds} == {*KINDS, ""}
    assert not any(one.kind_for(row) for row in rows)
    refused = rows[kinds.index("refusal")]
    told = [*refused, {"role": "assistant", "content": "I cannot."}, {"role": "user", "content": "Try again."}]
    assert not one.kind_for(told)
    assert one.undone(told) == refused
