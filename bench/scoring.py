"""What scoring 40 real rows in four versions costs, against a plain reference in the same run.

The reference reads one text at a time and computes the logits of every place, with threads as torch comes with them.
The versions are those that `make proof-selection` made of real rows.

    make proof-scoring
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from measure import TESTS, finished, in_child, save
from on_real_rows import PROOF
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.scoring import Versions

NAME = "scoring"
ROWS = 40
THREADS = 2
LESS_CPU = 2.5
LESS_WALL = 2.0
MOST_MB = 3000.0


def rows() -> list[Versions]:
    """The recycled rows, each in every version that there is of it."""
    with RunDir(PROOF / "selection", look=True) as run:
        found = [Versions.of(row.example, row.result) for row in run.rows(STAGE) if row.example]
    if len(found) < ROWS:
        raise SystemExit("Make the rows first: make proof-selection")
    return found[:ROWS]


def plainly() -> Callable[[], int]:
    """The reference, one version after the other."""
    sys.path.insert(0, str(TESTS))
    import torch

    from plain_scores import PlainScorer
    from reflectune.prompts import Prompts
    from reflectune.student.weights import find_student

    torch.set_num_threads(THREADS)
    every = rows()
    scorer = PlainScorer(find_student("local").folder, "exact", Prompts().text("en", "rifd_request.txt"))
    scorer.score("Warm up.", "", "It is warm.")

    def work() -> int:
        versions = [version for row in every for version in row.versions.values()]
        return len([scorer.score(one.instruction, one.input, one.response) for one in versions])

    return work


def quickly() -> Callable[[], int]:
    """Ours."""
    os.environ["GOMP_SPINCOUNT"] = "10000"
    import torch

    from reflectune.scoring import score
    from reflectune.student import open_student

    torch.set_num_threads(THREADS)
    every = rows()
    student = open_student("local")
    score(every[:1], student)
    return lambda: sum(len(scored.versions) for scored in score(every, student).scored)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    ours, plain = in_child(quickly), in_child(plainly)
    less_cpu, less_wall = plain.cpu_s / ours.cpu_s, plain.wall_s / ours.wall_s
    print(f"CPU a row: ours {ours.cpu_s / ROWS:.2f} s, plain {plain.cpu_s / ROWS:.2f} s: {less_cpu:.2f} times less")
    print(f"wall time: ours {ours.wall_s:.1f} s, plain {plain.wall_s:.1f} s: {less_wall:.2f} times less")
    print(f"memory: ours {ours.peak_rss_mb:,.0f} MB, plain {plain.peak_rss_mb:,.0f} MB")
    met = less_cpu >= LESS_CPU and less_wall >= LESS_WALL and ours.peak_rss_mb < MOST_MB and ours.value == plain.value
    save(NAME, met=met, ours=ours, plain=plain, less_cpu=round(less_cpu, 3), less_wall=round(less_wall, 3))


if __name__ == "__main__":
    main()
