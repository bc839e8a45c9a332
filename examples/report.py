"""Write the page of a run: figures before and after, critiques, failures, rows.

python examples/report.py                     # of runs/demo, which `make demo` makes
python examples/report.py runs/data
"""

from __future__ import annotations

import sys
from pathlib import Path

from reflectune import write_report


def main(run: Path) -> None:
    """Write it, and say where it is and which rows it calls the best."""
    report = write_report(run)
    print(report.page)
    for row in report.choice.rows["best"]:
        print(f"one of the best: {row.id} ({row.why})")
    for mend in report.missing:
        print(f"something is left out: {mend}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
