"""Processor time of `import reflectune` and `reflectune --help`, beside a bare interpreter in the same run.

python bench/cold_start.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from measure import finished, save

ROUNDS = 9
COMMANDS = {
    "python": (sys.executable, "-c", "pass"),
    "import": (sys.executable, "-c", "import reflectune"),
    "help": (str(Path(sys.executable).with_name("reflectune")), "--help"),
}
BOUNDS_S = {"import": 0.2, "help": 0.3}


def cpu_seconds(command: tuple[str, ...]) -> float:
    """User and system time of one run of a command, its children included."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{complaint.decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("cold_start"):
        return
    # In turns, so that a busy moment of the machine falls on all of them; the first round warms the disk.
    rounds = [{name: cpu_seconds(command) for name, command in COMMANDS.items()} for _ in range(ROUNDS + 1)][1:]
    best = {name: round(min(times[name] for times in rounds), 4) for name in COMMANDS}
    median = {name: round(statistics.median(times[name] for times in rounds), 4) for name in COMMANDS}
    for name in COMMANDS:
        bound = f", bound {BOUNDS_S[name]} s" if name in BOUNDS_S else ""
        ratio = best[name] / best["python"]
        print(f"{name:7} {best[name]:.3f} s CPU at best, {median[name]:.3f} s median, {ratio:5.1f} x python{bound}")
    save(
        "cold_start",
        met=all(best[name] < bound for name, bound in BOUNDS_S.items()),
        rounds=ROUNDS,
        best_s=best,
        median_s=median,
        bounds_s=BOUNDS_S,
    )


if __name__ == "__main__":
    main()
