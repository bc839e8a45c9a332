"""Score our own pairs with a student, and keep the half that it has most to learn from.

python examples/score.py                      # with the embedded student
python examples/score.py ORG/NAME             # or with any other
"""

from __future__ import annotations

import sys
from pathlib import Path

from reflectune import SelectSettings, open_source, score, select

PAIRS = Path(__file__).with_name("pairs.jsonl")


def main(student: str) -> None:
    """Print IFD and r-IFD of each pair, then what is kept and what is not."""
    examples = {row.example.id: row.example for row in open_source(PAIRS).rows() if row.example}
    scores = score(examples.values(), student)
    for scored in scores.scored:
        if made := scored.versions.get("original"):
            figures = ", ".join(
                f"{name} {value:.3f}" for name, value in (("IFD", made.ifd_ppl), ("r-IFD", made.rifd_ppl)) if value
            )
            print(f"{figures}: {examples[scored.id].instruction}")
    for failure in scores.failures:
        print(f"{failure.id}: {failure.reason}, {failure.detail}")
    print(scores.warning)
    selection = select(scores.scored, SelectSettings(rule="top-ifd", take="50%"))
    for kept in selection.kept:
        print(f"kept: {examples[kept.id].instruction} ({kept.detail})")
    for dropped in selection.dropped:
        print(f"dropped: {examples[dropped.id].instruction} ({dropped.reason})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "local")
