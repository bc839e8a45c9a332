"""52,002 rows through a provider's batches, with processes killed on the way: nothing is sent twice, memory stays flat.

    python bench/batch.py

The server has the limits of OpenAI's: 50,000 requests and 200 MB for a batch. Its first batch expires when it is half
done, and one request in a hundred comes back without an answer.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from typing import Any

from measure import TESTS, finished, memory_mb, save
from on_real_rows import PROOF
from scale import ROWS, tiled

BATCH_S = 10
KILLS = 3
SECONDS_BETWEEN = (5.0, 40.0)
BOUNDS = {"peak_rss_mb": 250.0, "largest_batch": 50_000, "largest_file_mb": 200.0}


def watched(command: list[str], seconds: float | None) -> tuple[int, float]:
    """Run a command to its end, or kill it after so long; returns its exit code and the most memory that it had."""
    process, started, peak = subprocess.Popen(command), time.monotonic(), 0.0
    while process.poll() is None:
        peak = max(peak, memory_mb(process.pid).get("VmHWM", 0.0))
        if seconds is not None and time.monotonic() - started > seconds:
            process.kill()
        time.sleep(0.2)
    return process.returncode, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer of them; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("batch"):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    shutil.rmtree(PROOF / "scale", ignore_errors=True)
    data, run = tiled(arguments.rows), PROOF / "scale" / "run"
    moments, mishaps = random.SystemRandom(), ("--batch-ends", "expired", "--batch-faults", "0.01")
    kills: list[float] = []
    started = time.monotonic()
    with Loopback("--batch-s", str(BATCH_S), *mishaps) as server:
        command = [sys.executable, "-m", "reflectune", "recycle", str(data), "--oracle", "loopback", "--batch"]
        command += ["--base-url", server.base_url, "--run", str(run), "--quiet"]
        for _ in range(KILLS):
            kills.append(moments.uniform(*SECONDS_BETWEEN) * arguments.rows / ROWS)
            print(f"killed after {kills[-1]:.1f} s: {watched(command, kills[-1])}", flush=True)
        code, peak = watched(command, None)
        stats: dict[str, Any] = server.stats()
    seconds = time.monotonic() - started
    with (run / "recycled.jsonl").open("rb") as lines:
        exported = sum(1 for _ in lines)
    figures = {
        "peak_rss_mb": peak,
        "largest_batch": max(stats["batch_sizes"]),
        "largest_file_mb": stats["batch_largest_file"] / 1e6,
    }
    checks = {
        "every row is rewritten": code == 0 and exported == arguments.rows,
        "nothing that was answered well is asked again": stats["batch_answered_twice"] == 0,
        "a process asks at most one request directly": stats["requests"] <= KILLS + 1,
    }
    batches = list(zip(stats["batches"], stats["batch_sizes"], strict=True))
    print(f"{arguments.rows:,} rows in {seconds:.0f} s; batches: {batches}")
    for name, figure in figures.items():
        print(f"{name:16} {figure:10,.1f}   bound {BOUNDS[name]:,.0f}")
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {check}")
    shutil.rmtree(PROOF / "scale")
    if arguments.rows < ROWS:
        return
    save(
        "batch",
        met=all(checks.values()) and all(figure <= BOUNDS[name] for name, figure in figures.items()),
        rows=arguments.rows,
        seconds=round(seconds, 1),
        kills=kills,
        figures=figures,
        bounds=BOUNDS,
        checks=checks,
        batches=batches,
    )


if __name__ == "__main__":
    main()
