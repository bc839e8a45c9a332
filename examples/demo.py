"""The main job on our own pairs with the embedded model; fails unless at least five English rows are rewritten.

    make demo

The two Chinese rows are there to show what a failure looks like: the embedded model speaks English.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from reflectune.language import prompt_language

PAIRS = Path(__file__).with_name("pairs.jsonl")
RUN = Path("runs/demo")
FEWEST = 5


def main() -> int:
    """Recycle the pairs, show what failed, and judge the outcome."""
    command = [sys.executable, "-m", "reflectune", "recycle", str(PAIRS), "--run", str(RUN), "--max-failed", "1"]
    subprocess.run(command, check=True)
    for line in (RUN / "failures.jsonl").read_text(encoding="utf-8").splitlines():
        failure = json.loads(line)
        sys.stdout.write(
            f"failed: row {failure['id']} at {failure['stage']}, {failure['reason']}: {failure['detail']}\n"
        )
    rewritten = [json.loads(line) for line in (RUN / "recycled.jsonl").read_text(encoding="utf-8").splitlines()]
    english = sum(prompt_language(row["instruction"]) == "en" for row in rewritten)
    sys.stdout.write(f"{english} English rows are rewritten; at least {FEWEST} must be.\n")
    return 0 if english >= FEWEST else 1


if __name__ == "__main__":
    sys.exit(main())
