"""A whole journey of the embedded model on 60 real rows, and the same broken off in every stage.

    python bench/journey.py

Two journeys by examples/laptop.yaml, with oracle, student and judge embedded, four students and 20 prompts:

whole    from start to the verdict in one go: its stages together have to take less than 45 minutes.
broken   over the replies that oracle and judge gave in `whole`, and over nothing else of it; killed by SIGKILL once in
         every stage while it works, each time gone on with. A small model at a temperature does not say the same twice,
         so what it said is held fixed. Everything else is done again: what is asked for, chosen, trained, answered and
         concluded must be the same, so that neither is asked for more and the page is equal but for its times.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import finished, save
from on_real_rows import PROOF, real_data

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "examples" / "laptop.yaml"
ROWS = "instruct/alpaca_random_first3000.json"
KINDS = ("recycle", "gates", "score", "select", "stats", "report", "arms", "train", "generate", "judge", "verdict")
WAIT = {"score": 12.0, "train": 15.0, "generate": 8.0, "judge": 8.0}
"""Seconds that a stage works before it is killed; recycling as soon as it has read the rows and makes them."""
BOUND = 45 * 60
TIMES = re.compile(r"<time[^>]*>.*?</time>", re.DOTALL)
_KEPT = {"replies", "texts", "sqlite_sequence"}


def command(folder: Path) -> list[str]:
    sets = [f"data={real_data(ROWS)}", "limit=60", f"prompts=[{ROOT / 'examples' / 'prompts.jsonl'}]"]
    return [
        *(sys.executable, "-m", "reflectune", "run", str(RECIPE), "--run", str(folder)),
        *(word for one in sets for word in ("--set", one)),
    ]


def stages(folder: Path) -> dict[str, Any]:
    path = folder / "pipeline.json"
    return json.loads(path.read_text(encoding="utf-8"))["stages"] if path.is_file() else {}


def go(folder: Path) -> None:
    subprocess.run(command(folder), check=True, stdout=subprocess.DEVNULL)


def break_off(folder: Path, kind: str) -> None:
    """Kill the journey and its stage, once, while a stage of this kind works."""
    if any(one["kind"] == kind and one["attempts"] > 1 for one in stages(folder).values()):
        return
    if any(one["kind"] == kind and one["state"] == "running" for one in stages(folder).values()):
        return  # killed before
    process = subprocess.Popen(command(folder), start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not any(one["kind"] == kind and one["state"] == "running" for one in stages(folder).values()):
            if process.poll() is not None:
                raise SystemExit(f"it ended with {process.returncode} before it came to {kind}")
            time.sleep(0.05)
        if kind == "recycle":
            while not rows_read(folder):
                time.sleep(0.005)
        else:
            time.sleep(WAIT.get(kind, 0.5))
        print(f"killed in {kind}", flush=True)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rows_read(folder: Path) -> int:
    """How many rows recycling has read: the replies to them are there, so that they are made in a moment."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'data' / 'state.sqlite'}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM rows").fetchone()[0])
    except sqlite3.Error:
        return 0


def with_replies_only(source: Path, target: Path) -> None:
    """A folder in which oracle and judge have said what they said in another, and nothing has been done with it."""
    shutil.rmtree(target, ignore_errors=True)
    for database in [source / "data" / "state.sqlite", *source.glob("verdicts/*/*/state.sqlite")]:
        copy = target / database.relative_to(source)
        copy.parent.mkdir(parents=True)
        with sqlite3.connect(database) as old, sqlite3.connect(copy) as new:
            old.backup(new)
            tables = [name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in set(tables) - _KEPT:
                new.execute(f"DELETE FROM {table}")
        if (note := database.with_name("judge.yaml")).is_file():
            shutil.copy(note, copy.parent)


def page(folder: Path) -> str:
    return TIMES.sub("<time>", (folder / "verdict.html").read_text(encoding="utf-8"))


def seconds(folder: Path) -> dict[str, float]:
    by_kind: dict[str, float] = {}
    for stage in stages(folder).values():
        by_kind[stage["kind"]] = round(by_kind.get(stage["kind"], 0.0) + stage["seconds"], 1)
    return by_kind


def requests(folder: Path) -> int:
    return sum((one["spent"] or {}).get("requests", 0) for one in stages(folder).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--only", choices=["whole", "broken"], help="one of the two journeys")
    asked = parser.parse_args()
    if asked.resume and finished("journey"):
        return
    whole, broken = (PROOF / "journey" / name / "laptop" for name in ("whole", "broken"))
    if asked.only != "broken":
        go(whole)
    if asked.only != "whole":
        if not (broken / "pipeline.json").is_file():
            with_replies_only(whole, broken)
        for kind in KINDS:
            break_off(broken, kind)
        go(broken)
    if asked.only is None:
        conclude(whole, broken)


def conclude(whole: Path, broken: Path) -> None:
    took = seconds(whole)
    total = sum(took.values())
    more = requests(broken) - requests(whole)
    attempts = {kind: max(one["attempts"] for one in stages(broken).values() if one["kind"] == kind) for kind in KINDS}
    same = page(broken) == page(whole)
    print(f"from start to verdict: {total / 60:.1f} minutes, {total / BOUND:.2f} of the bound; by stage {took}")
    print(f"killed once in each of {sum(count > 1 for count in attempts.values())} of {len(KINDS)} kinds of stages")
    print(f"the same page as in one go: {same}; replies asked for beyond those: {more}")
    told = {
        folder.parent.name: json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["text"]["en"]
        for folder in (whole, broken)
    }
    print(told["whole"])
    save(
        "journey",
        met=total < BOUND and same and not more and all(count > 1 for count in attempts.values()),
        seconds=took,
        total_seconds=round(total, 1),
        bound_seconds=BOUND,
        attempts=attempts,
        same_page=same,
        asked_again=more,
        paragraphs=told,
    )


if __name__ == "__main__":
    main()
