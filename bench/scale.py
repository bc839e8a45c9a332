"""52,002 rows, as many as Alpaca has, through a server that answers in 5 ms: memory, resuming, exporting.

    python bench/scale.py

The rows are real ones again and again, each with its number in the instruction, so that no two are equal. Memory is
read from outside once a second, with the rows done so far.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from measure import TESTS, finished, memory_mb, save
from on_real_rows import PROOF, cherry

ROWS = 52_002
LATENCY_MS = 5
FLAT_FROM = 5_000
BOUNDS = {"peak_rss_mb": 250.0, "growth_mb": 10.0, "resume_s": 3.0, "export_s": 15.0}
"""`growth_mb`: the line through the memory at each moment, from row 5,000 to the last."""


def tiled(rows: int) -> Path:
    """A file of real rows, again and again, no two of them equal."""
    real = json.loads(cherry().read_text(encoding="utf-8"))
    path = PROOF / "scale" / "alpaca.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = (real[number % len(real)] | {"instruction": _numbered(real, number)} for number in range(rows))
    path.write_text("[\n" + ",\n".join(map(json.dumps, numbered)) + "\n]\n", encoding="utf-8")
    return path


def _numbered(rows: list[dict[str, str]], number: int) -> str:
    return f"{rows[number % len(rows)]['instruction']} (No. {number + 1})"


def sampled(process: subprocess.Popen[bytes], run: Path) -> Iterator[tuple[int, float, float]]:
    """While a process works, once a second: rows done, resident memory and its highest so far, in MB."""
    while process.poll() is None:
        time.sleep(1)
        memory = memory_mb(process.pid)
        if "VmRSS" not in memory:  # it has just ended
            return
        yield rows_done(run), memory["VmRSS"], memory["VmHWM"]


def watched(command: list[str], run: Path) -> list[tuple[int, float, float]]:
    """Run a command to its end; returns what `sampled` saw."""
    samples = []
    process = subprocess.Popen(command)
    try:
        for sample in sampled(process, run):
            samples.append(sample)
            if len(samples) % 20 == 0:
                print(f"{sample[0]:7,} rows, {sample[1]:5.1f} MB, at most {sample[2]:5.1f} MB", flush=True)
    finally:
        process.kill()
    if process.wait():
        raise SystemExit(f"reflectune ended with {process.returncode}")
    return samples


def rows_done(run: Path) -> int:
    """How many results a run's database holds; nothing is ever deleted from it here."""
    if not (run / "state.sqlite").is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{run / 'state.sqlite'}?mode=ro", uri=True)) as database:
            return database.execute("SELECT coalesce(max(rowid), 0) FROM results").fetchone()[0]
    except sqlite3.OperationalError:  # its tables are not made yet
        return 0


def growth(samples: list[tuple[int, float, float]], start: int, stop: int) -> float:
    """How many MB a straight line through the memory rises between two rows."""
    points = [(done, rss) for done, rss, _ in samples if start <= done < stop]
    if len(points) < 3:
        raise SystemExit(f"Only {len(points)} samples from row {start:,} on: too few to tell a slope.")
    middle, level = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    slope = sum((done - middle) * (rss - level) for done, rss in points) / sum(
        (done - middle) ** 2 for done, _ in points
    )
    return slope * (stop - start)


def timed(command: list[str]) -> float:
    """Seconds that a command takes, start-up included."""
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer of them; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("scale"):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    rows, flat_from = arguments.rows, FLAT_FROM * arguments.rows // ROWS
    shutil.rmtree(PROOF / "scale", ignore_errors=True)
    data, run, output = tiled(rows), PROOF / "scale" / "run", PROOF / "scale" / "output.jsonl"
    program = [sys.executable, "-m", "reflectune"]
    with Loopback("--latency-ms", str(LATENCY_MS)) as server:
        flags = ["--oracle", "loopback", "--base-url", server.base_url, "--run", str(run), "--quiet"]
        started = time.perf_counter()
        samples = watched([*program, "recycle", str(data), *flags], run)
        seconds = time.perf_counter() - started
        stats = server.stats()
        resume_s = timed([*program, "recycle", str(data), *flags])
        asked_again = server.stats()["requests"] - stats["requests"]
    export_s = timed([*program, "export", str(run), "--output", str(output)])
    with output.open("rb") as lines:
        exported = sum(1 for _ in lines)
    figures = {
        "peak_rss_mb": max(peak for *_, peak in samples),
        "growth_mb": growth(samples, flat_from, rows),
        "resume_s": resume_s,
        "export_s": export_s,
    }
    print(f"{rows:,} rows and {stats['requests']:,} requests in {seconds:.0f} s, {exported:,} rows exported")
    for name, figure in figures.items():
        print(f"{name:12} {figure:8.2f}   bound {BOUNDS[name]}")
    slope = figures["growth_mb"] / (rows - flat_from) * 10_000
    print(f"memory: {slope:+.2f} MB for each 10,000 rows from row {flat_from:,} on")
    met = all(figure < BOUNDS[name] for name, figure in figures.items()) and exported == rows and not asked_again
    shutil.rmtree(PROOF / "scale")
    if rows < ROWS:
        return
    save(
        "scale",
        met=met,
        rows=rows,
        exported=exported,
        requests=stats["requests"],
        asked_again=asked_again,
        seconds=round(seconds, 1),
        figures=figures,
        bounds=BOUNDS,
        samples=samples[::10],
    )


if __name__ == "__main__":
    main()
