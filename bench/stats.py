"""The statistics of 2,999 real Alpaca rows beside known figures, and the time that 52,002 rows take.

    python bench/stats.py

The command line looks at alpaca_random_first3000.json, of which one row has no response. The coherence is that which is
published of all of Alpaca (Selective Reflection-Tuning, table 6); words are known by white space, and tokens are about
as many as other tokenizers of this kind give (the published counts are in Llama-2 tokens).

Then the time of everything but tokens and embeddings over as many rows as Alpaca has, before and after, with their
intervals. The embeddings take a constant time for each row beside that.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import finished, in_child, save

ROWS = 52_002
DATA = Path(os.environ.get("REFLECTUNE_TEST_DATA", "../shared/data")) / "instruct" / "alpaca_random_first3000.json"
KNOWN = {
    "instruction_words": (13.8, 0.1),
    "response_words": (43.8, 0.1),
    "instruction_tokens": (17.0, 2.0),
    "response_tokens": (56.0, 2.0),
    "coherence": (0.53, 0.02),
}
BOUNDS = {"seconds_without_embeddings": 60.0, "peak_rss_mb": 700.0}


def of_the_command_line() -> tuple[dict[str, Any], float]:
    """What `reflectune stats --json` says, and how many seconds it takes."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "reflectune", "stats", str(DATA), "--json", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found, time.perf_counter() - began


def before_and_after(count: int) -> Callable[[], dict[str, Any]]:
    """Prepare many rows and the same with longer responses; the work looks at both and compares them."""
    import scipy.stats  # noqa: F401 - its import is not part of the work

    from reflectune.evaluate import compare, stats
    from reflectune.formats import open_source

    real = [row.example for row in open_source(DATA).rows() if row.example]
    rows = []
    for number in range(count):
        example, turn = real[number % len(real)], number // len(real)
        asked = " ".join(
            f"{word}{turn}" if place % 2 else word for place, word in enumerate(example.instruction.split())
        )
        rows.append(dataclasses.replace(example, id=str(number), instruction=asked))
    longer = [dataclasses.replace(row, response=f"{row.response} {row.instruction}") for row in rows]

    def work() -> dict[str, Any]:
        compared = compare(stats(rows), stats(longer))
        return {"pairs": compared.pairs, "change": dataclasses.asdict(compared.differences["response_words"])}

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("stats"):
        return
    if not DATA.is_file():
        raise SystemExit(f"stats: no real data: {DATA} is not there (REFLECTUNE_TEST_DATA names the folder)")
    found, seconds = of_the_command_line()
    means = {name: found["metrics"][name]["mean"] for name in KNOWN}
    print(f"{found['rows']:,} rows in {seconds:.0f} s, embeddings included")
    for name, (known, off) in KNOWN.items():
        print(f"{name:20} {means[name]:8.3f}   known {known} +- {off}")
    large = in_child(before_and_after, ROWS)
    figures = {"seconds_without_embeddings": large.wall_s, "peak_rss_mb": large.peak_rss_mb}
    for name, figure in figures.items():
        print(f"{name:26} {figure:8.1f}   bound {BOUNDS[name]}")
    met = all(abs(means[name] - known) <= off for name, (known, off) in KNOWN.items())
    met = met and large.value["pairs"] == ROWS and all(figures[name] <= BOUNDS[name] for name in BOUNDS)
    save(
        "stats",
        met=met,
        rows=found["rows"],
        seconds=round(seconds, 1),
        means=means,
        known={name: list(pair) for name, pair in KNOWN.items()},
        statistics=found,
        rows_before_and_after=ROWS,
        before_and_after=large,
        bounds=BOUNDS,
    )


if __name__ == "__main__":
    main()
