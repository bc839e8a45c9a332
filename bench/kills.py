"""One run of 3,111 real rows, ended by `kill -9` at 20 random moments and each time taken up by the same command.

    python bench/kills.py

The data is byte by byte that of a run that nothing disturbed, and the server counts how many requests were asked again:
at most as many as were in flight, for each kill.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from measure import TESTS, finished, save
from on_real_rows import PROOF, cherry

KILLS = 20
CONCURRENCY = 32
LATENCY_MS = 250
SECONDS_BETWEEN = (0.2, 4.6)
"""From the start of a process to its end; so some die while they start."""
ALL_ROWS = 3111


def command(run: Path, base_url: str, rows: int) -> list[str]:
    flags = ["--oracle", "loopback", "--base-url", base_url, "--limit", str(rows)]
    flags += ["--max-concurrency", str(CONCURRENCY), "--run", str(run), "--quiet"]
    return [sys.executable, "-m", "reflectune", "recycle", str(cherry()), *flags]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ALL_ROWS, help="fewer of them; then nothing is saved")
    parser.add_argument("--seed", type=int, default=None, help="of the random moments; by default another each time")
    arguments = parser.parse_args()
    if arguments.resume and finished("kills"):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    moments = random.Random(seed)
    whole, killed = PROOF / "kills_none", PROOF / "kills"
    for run in (whole, killed):
        shutil.rmtree(run, ignore_errors=True)
    with Loopback() as server:
        subprocess.run(command(whole, server.base_url, arguments.rows), check=True)
        port = urlsplit(server.base_url).port
    # The same address again: an oracle's name, which the data carries, holds it.
    with Loopback("--latency-ms", str(LATENCY_MS), "--port", str(port)) as server:
        started, kills, idle = time.monotonic(), [], 0
        for _ in range(KILLS):
            process = subprocess.Popen(command(killed, server.base_url, arguments.rows))
            time.sleep(moments.uniform(*SECONDS_BETWEEN) * min(1.0, 0.1 + arguments.rows / ALL_ROWS))
            idle += process.poll() is not None
            process.kill()
            process.wait()
            stats = server.stats()
            kills.append({"requests": stats["requests"], "distinct": stats["distinct"]})
        subprocess.run(command(killed, server.base_url, arguments.rows), check=True)
        seconds, stats = time.monotonic() - started, server.stats()
    repeats, most = stats["requests"] - stats["distinct"], CONCURRENCY * KILLS
    same = [(run / "recycled.jsonl").read_bytes() for run in (whole, killed)]
    checks = {
        "the data is byte by byte that of an undisturbed run": same[0] == same[1],
        "no row failed": not (killed / "failures.jsonl").read_bytes(),
        "repeats are within what was in flight": repeats <= most,
        "every process was killed before its end": idle == 0,
    }
    print(f"seed {seed}: {KILLS} kills in {seconds:.0f} s, {stats['distinct']} different requests")
    print(f"{repeats} requests were asked again, {repeats / most:.2f} of the bound ({CONCURRENCY} x {KILLS} = {most})")
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {check}")
    if arguments.rows < ALL_ROWS:
        return
    save(
        "kills",
        met=all(checks.values()),
        seed=seed,
        kills=kills,
        seconds=round(seconds, 1),
        repeats=repeats,
        bound=most,
        checks=checks,
    )


if __name__ == "__main__":
    main()
