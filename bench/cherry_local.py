"""Thirty real rows through the embedded model, in dialogue: each ends as a rewrite or with a reason.

python bench/cherry_local.py
"""

from __future__ import annotations

import argparse
import json

from measure import finished, save
from on_real_rows import PROOF, recycle, replies

ROWS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("cherry_local"):
        return
    summary = recycle("cherry_local", "--limit", str(ROWS), "--oracle", "local")
    print(f"{summary['rewritten']} of {summary['rows']} rows are rewritten; failed: {summary['failures']}")
    for line in (PROOF / "cherry_local" / "recycled.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        print(f"\n{row['instruction']}\n    {row['output']}")
    save("cherry_local", met=summary["pending"] == 0, summary=summary, replies=replies("cherry_local"))


if __name__ == "__main__":
    main()
