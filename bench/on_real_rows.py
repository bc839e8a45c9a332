"""Recycle real rows by the command line, and say what came of them. What the proofs on real data share."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROOF = ROOT / ".proof"
"""Where proofs keep their run folders, so that one that was broken off is taken up again."""


def cherry() -> Path:
    """3,111 real Alpaca rows that a model selected."""
    return real_data("instruct/cherry_alpaca_5_percent.json")


def real_data(name: str) -> Path:
    """A file of real data; REFLECTUNE_TEST_DATA names the folder that holds it."""
    folder = Path(os.environ.get("REFLECTUNE_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = folder / name
    if not path.is_file():
        raise SystemExit(f"There is no {path}: name the folder of real data with REFLECTUNE_TEST_DATA.")
    return path


def recycle(name: str, *flags: str) -> dict[str, Any]:
    """Recycle cherry rows into a run of this name; returns the summary of the run's folder, not of this process."""
    run = PROOF / name
    command = [sys.executable, "-m", "reflectune", "recycle", str(cherry()), "--run", str(run), "--max-failed", "1"]
    done = subprocess.run([*command, "--json", *flags], stdout=subprocess.PIPE, text=True, check=True)
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if summary["rows"] != summary["rewritten"] + summary["failed"]:
        raise SystemExit(f"{name}: {summary['pending']} rows ended as neither a rewrite nor a failure")
    return summary | {"run": name}


def replies(name: str) -> Counter[str]:
    """How many replies of a run were accepted, or rejected for which reason."""
    with sqlite3.connect(f"file:{PROOF / name / 'state.sqlite'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT coalesce(rejected, 'accepted'), count(*) FROM replies GROUP BY 1").fetchall()
    return Counter(dict(rows))
