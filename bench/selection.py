"""Recycle 40 real rows in all four versions by the embedded model, score them by it as the student, and select.

make proof-selection
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import finished, save
from on_real_rows import PROOF, recycle

ROWS = 40
NAME = "selection"


def reflectune(*arguments: str) -> dict[str, Any]:
    """Run a command that ends by printing one JSON object; its table is shown."""
    done = subprocess.run(
        [sys.executable, "-m", "reflectune", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    run = PROOF / NAME
    recycled = recycle(NAME, "--limit", str(ROWS), "--versions", "all")
    scored = reflectune("score", str(run), "--student", "local", "--max-failed", "1")
    chosen = {rule: reflectune("select", str(run), *rule.split()) for rule in ("--rule selective", "--keep-original")}
    chosen |= {
        rule: reflectune("select", str(run), "--rule", rule, "--take", "25%", "--dry-run")
        for rule in ("top-ifd", "random", "longest", "perplexity", "ifd", "rifd", "coherence", "diverse")
    }
    selective = reflectune("select", str(run), "--show", "2")
    kept, dropped = lines(run / "selected.jsonl"), lines(run / "dropped.jsonl")
    ids = [row["reflectune"]["id"] for row in kept] + [row["id"] for row in dropped]
    met = (
        recycled["rows"] == scored["rows"] == ROWS
        and scored["pending"] == 0
        and len(ids) == len(set(ids)) == ROWS
        and all(summary["rows"] == ROWS for summary in chosen.values())
    )
    save(
        NAME,
        met=met,
        recycled={name: recycled[name] for name in ("rows", "rewritten", "failed", "failures")},
        scored={
            name: scored[name] for name in ("scored", "failed", "versions", "unscored", "ifd_above_one", "seconds")
        },
        selective={name: selective[name] for name in ("kept", "kept_by_reason", "dropped", "dropped_by_reason")},
        others={rule: {name: s[name] for name in ("kept", "dropped_by_reason")} for rule, s in chosen.items()},
    )


if __name__ == "__main__":
    main()
