"""Run a function in a process of its own and say what it cost.

The function prepares (imports, reads, builds) and returns the work; only the work is timed. So start-up is not counted:

    def prepare(url: str, requests: int) -> Callable[[], Awaitable[int]]: ...

    measured = in_child(prepare, "http://127.0.0.1:8000/v1", 4000)
"""

from __future__ import annotations

import asyncio
import inspect
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
TESTS = Path(__file__).parents[1] / "tests"
"""The loopback server is the tests' own: `sys.path.insert(0, str(TESTS))`, then `from loopback import Loopback`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a piece of work cost.

    Attributes:
        wall_s: Seconds that passed.
        cpu_s: Seconds of processor time of the process, all threads together.
        peak_rss_mb: The most memory that the process had, preparation included, in MB of 10**6 bytes.
        value: What the work returned.
    """

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    value: Any

    def per(self, count: int) -> float:
        """Milliseconds of processor time for each of `count` things."""
        return 1000 * self.cpu_s / count


def in_child(prepare: Callable[..., Callable[[], Any | Awaitable[Any]]], *args: Any, **kwargs: Any) -> Measured:
    """Prepare and run in a fresh process.

    Args:
        prepare: A function of a module, which returns the work: a function without arguments, a coroutine function too.
        args: Arguments of `prepare`, such as can be pickled.
        kwargs: Further ones.

    Raises:
        Exception: Whatever the work raised.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (prepare, args, kwargs))


def _run(prepare: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Measured:
    work = prepare(*args, **kwargs)
    wall, cpu = time.perf_counter(), time.process_time()
    value = asyncio.run(work()) if inspect.iscoroutinefunction(work) else work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measured(round(wall, 4), round(cpu, 4), round(_peak_rss_mb(), 1), value)


def _peak_rss_mb() -> float:
    """The high-water mark since the process's program was started.

    `ru_maxrss` is inherited through fork and exec, so it may be the parent's.
    """
    if peak_mb := memory_mb("self").get("VmHWM"):
        return peak_mb
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def memory_mb(process: int | str) -> dict[str, float]:
    """The memory of a process (or `self`) in MB, as Linux names it: `VmRSS`, `VmHWM`; nothing once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.partition(":") for line in lines if line.startswith("Vm"))
    return {name: int(size.split()[0]) * 1024 / 1e6 for name, _, size in fields}


def save(name: str, *, met: bool, **results: Any) -> None:
    """Write results as JSON, with the machine that they were measured on.

    Args:
        name: The file's name in `bench/results`, without `.json`.
        met: Whether every bound was kept.
        results: Numbers, or `Measured`.

    Raises:
        SystemExit: A bound was not kept.
    """
    plain = {key: asdict(value) if isinstance(value, Measured) else value for key, value in results.items()}
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "system": platform.platform()}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"met": met, **plain, "machine": machine}, indent=2) + "\n")
    if not met:
        raise SystemExit(f"{name}: a bound was not kept")


def finished(name: str) -> bool:
    """Whether a result that kept its bounds is there already; says so."""
    path = RESULTS / f"{name}.json"
    there = path.is_file() and bool(json.loads(path.read_text())["met"])
    if there:
        print(f"{path} is there already; `make clean-proof` forgets it.")
    return there
