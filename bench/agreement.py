"""The student's scores of 200 real rows against those of a plain reference, by both conventions.

Differences of losses are in nats. Those of a ratio are relative where it is above 1: a response of one odd word can
have an IFD of hundreds. What the student gives no score, the reference must have none for either.

make proof-agreement
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from measure import TESTS, finished, save
from on_real_rows import cherry

sys.path.insert(0, str(TESTS))
from plain_scores import PlainScorer
from reflectune.prompts import Prompts
from reflectune.recipe import ScoreSettings
from reflectune.records import Example
from reflectune.scoring import score
from reflectune.student.weights import find_student

NAME = "agreement"
ROWS = 200
MOST = 1e-4


def rows() -> list[Example]:
    """Real rows, half of them with an input, spread over the file."""
    read: list[dict[str, Any]] = json.loads(cherry().read_text(encoding="utf-8"))
    some = [row for row in read if row["input"]][::5][: ROWS // 2] + [row for row in read if not row["input"]]
    return [
        Example(str(number), row["instruction"], row["output"], row["input"]) for number, row in enumerate(some[:ROWS])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    apart: dict[str, dict[str, float]] = {}
    compared = missed = 0
    for convention in ("exact", "published"):
        plain = PlainScorer(find_student("local").folder, convention, Prompts().text("en", "rifd_request.txt"))
        found = score(rows(), "local", ScoreSettings.model_validate({"convention": convention}))
        worst: dict[str, float] = {}
        for example, scored in zip(rows(), found.scored, strict=True):
            expected = plain.score(example.instruction, example.input, example.response)
            for figure, value in expected.items():
                ours = getattr(scored.versions["original"], figure) if scored.versions else None
                if ours is None:
                    missed += figure.endswith("_ppl") and math.isfinite(value)
                    continue
                compared += 1
                apart_by = abs(ours - value) / (max(1.0, value) if figure.endswith("_ppl") else 1.0)
                worst[figure] = max(worst.get(figure, 0.0), apart_by)
        apart[convention] = worst
        print(convention, ", ".join(f"{figure} {value:.1e}" for figure, value in worst.items()))
    met = max(value for worst in apart.values() for value in worst.values()) <= MOST
    met = met and compared >= ROWS * 11 and not missed
    save(NAME, met=met, rows=ROWS, compared=compared, missed=missed, largest_difference=apart, bound=MOST)


if __name__ == "__main__":
    main()
