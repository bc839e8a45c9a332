"""What scoring 40 rows in four versions costs, against a plain reference in the same run.

The reference reads one text at a time and computes the logits of every place, with threads as torch comes with them.
How much there is to save depends on the rows: the less of a row is response, the more its versions have in common. So
there are two sets of real texts:

alpaca     Alpaca rows of their published lengths; their other versions are put together of further rows
rewritten  the rows that `make proof-selection` made: the longest of Alpaca's, rewritten by the embedded model

    make proof-scoring
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from measure import TESTS, finished, in_child, save
from on_real_rows import PROOF, real_data
from reflectune.records import Example, Version
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.scoring import Versions

NAME = "scoring"
ROWS = 40
THREADS = 2
SETS = ("alpaca", "rewritten")
LESS_CPU = 2.5
LESS_WALL = 2.0
MOST_MB = 3000.0


def rows(which: str) -> list[Versions]:
    """Rows in four versions each."""
    return _alpaca() if which == "alpaca" else _rewritten()


def _alpaca() -> list[Versions]:
    read = json.loads(real_data("instruct/alpaca_random_first3000.json").read_text(encoding="utf-8"))
    texts = iter([row for row in read if row["output"].strip()])
    found = []
    for number in range(ROWS):
        row, new, better, best = (next(texts) for _ in range(4))
        example = Example(str(number), row["instruction"], row["output"], row["input"])
        found.append(
            Versions(
                example,
                {
                    "original": example.version,
                    "Q": Version(instruction=new["instruction"], response=new["output"]),
                    "A": Version(instruction=row["instruction"], input=row["input"], response=better["output"]),
                    "QA": Version(instruction=new["instruction"], response=best["output"]),
                },
            )
        )
    return found


def _rewritten() -> list[Versions]:
    with RunDir(PROOF / "selection", look=True) as run:
        found = [Versions.of(row.example, row.result) for row in run.rows(STAGE) if row.example]
    if len(found) < ROWS:
        raise SystemExit("Make the rows first: make proof-selection")
    return found[:ROWS]


def plainly(which: str) -> Callable[[], int]:
    """The reference, one version after the other."""
    sys.path.insert(0, str(TESTS))
    import torch

    from plain_scores import PlainScorer
    from reflectune.prompts import Prompts
    from reflectune.student.weights import find_student

    torch.set_num_threads(THREADS)
    every = rows(which)
    scorer = PlainScorer(find_student("local").folder, "exact", Prompts().text("en", "rifd_request.txt"))
    scorer.score("Warm up.", "", "It is warm.")

    def work() -> int:
        versions = [version for row in every for version in row.versions.values()]
        return len([scorer.score(one.instruction, one.input, one.response) for one in versions])

    return work


def quickly(which: str) -> Callable[[], int]:
    """Ours."""
    os.environ["GOMP_SPINCOUNT"] = "10000"
    import torch

    from reflectune.scoring import score
    from reflectune.student import open_student

    torch.set_num_threads(THREADS)
    every = rows(which)
    student = open_student("local")
    score(every[:1], student)
    return lambda: sum(len(scored.versions) for scored in score(every, student).scored)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    met = True
    figures: dict[str, Any] = {}
    for which in SETS:
        ours, plain = in_child(quickly, which), in_child(plainly, which)
        cpu, wall = plain.cpu_s / ours.cpu_s, plain.wall_s / ours.wall_s
        print(f"{which}: CPU a row {ours.cpu_s / ROWS:.2f} s, plain {plain.cpu_s / ROWS:.2f} s: {cpu:.2f} times less")
        print(f"{which}: wall time {ours.wall_s:.1f} s, plain {plain.wall_s:.1f} s: {wall:.2f} times less")
        print(f"{which}: memory {ours.peak_rss_mb:,.0f} MB, plain {plain.peak_rss_mb:,.0f} MB")
        met &= cpu >= LESS_CPU and wall >= LESS_WALL and ours.peak_rss_mb < MOST_MB and ours.value == plain.value
        figures |= {f"{which}_ours": ours, f"{which}_plain": plain}
        figures |= {f"{which}_less_cpu": round(cpu, 3), f"{which}_less_wall": round(wall, 3)}
    save(NAME, met=met, **figures)


if __name__ == "__main__":
    main()
