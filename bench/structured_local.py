"""Thirty real rows through the embedded model with one JSON value per reply: how many replies are values of the schema.

python bench/structured_local.py
"""

from __future__ import annotations

import argparse

from measure import finished, save
from on_real_rows import recycle, replies

ROWS = 30
BOUND = 0.95
NO_VALUE = ("invalid", "truncated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("structured_local"):
        return
    summary = recycle(
        "structured_local",
        "--limit",
        str(ROWS),
        "--oracle",
        "local",
        "--ask",
        "structured",
        "--set",
        "recycle.retries=0",
    )
    said = replies("structured_local")
    valid = 1 - sum(said[reason] for reason in NO_VALUE) / said.total()
    print(f"{valid:.1%} of {said.total()} replies are values of the schema (bound {BOUND:.0%}); {dict(said)}")
    print(f"{summary['rewritten']} of {summary['rows']} rows are rewritten; failed: {summary['failures']}")
    save("structured_local", met=valid >= BOUND, summary=summary, replies=said, valid=valid, bound=BOUND)


if __name__ == "__main__":
    main()
