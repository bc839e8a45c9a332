"""One run of several: the shards of a data set, each recycled in a folder of its own."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from reflectune.errors import RunError
from reflectune.runs.folder import RunDir
from reflectune.runs.store import connect

_ACCEPTED = "fingerprints of "
_SAME_ROWS = "SELECT part.rows.position FROM part.rows JOIN main.rows ON {same} ORDER BY 1 LIMIT 1"
_COPY = """
BEGIN;
INSERT INTO main.rows SELECT * FROM part.rows;
INSERT INTO main.results SELECT * FROM part.results WHERE stage <> 'select' AND id IN (SELECT id FROM part.rows);
INSERT INTO main.decisions SELECT * FROM part.decisions WHERE id IN (SELECT id FROM part.rows);
INSERT OR IGNORE INTO main.marks SELECT * FROM part.marks;
INSERT OR IGNORE INTO main.again SELECT * FROM part.again;
INSERT OR IGNORE INTO main.makers SELECT * FROM part.makers;
INSERT OR IGNORE INTO main.batches SELECT * FROM part.batches;
INSERT OR IGNORE INTO main.posted SELECT * FROM part.posted WHERE outcome IS NULL
    OR key NOT IN (SELECT key FROM part.replies WHERE retired = 0 AND batch = 1);
INSERT OR IGNORE INTO main.texts SELECT * FROM part.texts;
INSERT OR IGNORE INTO main.meta SELECT * FROM part.meta
    WHERE name NOT IN ('input', 'exported', 'dropped', 'generation') AND name NOT LIKE 'decisions in %'
        AND name NOT LIKE 'fingerprints of %';
INSERT INTO main.replies (key, oracle, messages, text, reasoning, finish_reason, prompt_tokens, completion_tokens,
        cached_tokens, rejected, batch, top_logprobs, maker, retired)
    SELECT key, oracle, messages, text, reasoning, finish_reason, prompt_tokens, completion_tokens, cached_tokens,
        rejected, batch, top_logprobs, maker, retired OR key IN (SELECT key FROM main.replies WHERE retired = 0)
    FROM part.replies ORDER BY number;
COMMIT;
"""


def merge(parts: Sequence[Path], whole: Path) -> None:
    """Make a run folder that holds the rows, results and replies of several others, which stay as they are.

    Rows keep their places in the data. The new folder appears when it is complete.

    Args:
        parts: The folders of the runs, each with other rows of the same data.
        whole: The new folder.

    Raises:
        RunError: The new folder is there already, a part is missing or in use, two of them hold the same row, or read
            their columns in different ways.
    """
    if len({part.resolve() for part in parts}) < len(parts):
        raise RunError("A run is named twice.", mend="Name each shard's run once.")
    if whole.exists():
        raise RunError(f"There is something at {whole} already.", mend="Name a new folder with --run.")
    building = whole.with_name(f".{whole.name}.part")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        with ExitStack() as stack:
            for part in parts:
                stack.enter_context(RunDir(part, create=False))
            database = stack.enter_context(closing(connect(building / "state.sqlite")))
            for part in parts:
                _absorb(database, part)
            _join_marks(parts, building)
        building.replace(whole)
    except OSError as error:
        raise RunError(
            f"Cannot write {building}: {error}.", mend="Free some disk space, or name another --run."
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _absorb(database: sqlite3.Connection, part: Path) -> None:
    """Copy everything that a run holds."""
    database.execute("ATTACH ? AS part", (str(part / "state.sqlite"),))
    _refuse_other_data(database, part)
    database.executescript(_COPY)
    lists = (
        "SELECT name, value FROM part.meta WHERE (name LIKE ? AND name <> 'fingerprints of select') OR name = 'dropped'"
    )
    accepted = database.execute(lists, (f"{_ACCEPTED}%",)).fetchall()
    for name, value in accepted:
        known = database.execute("SELECT value FROM main.meta WHERE name = ?", (name,)).fetchone()
        both = dict.fromkeys([*json.loads(known[0] if known else "[]"), *json.loads(value)])
        with database:
            database.execute("INSERT OR REPLACE INTO main.meta VALUES (?, ?)", (name, json.dumps(list(both))))
    database.execute("DETACH part")


def _join_marks(parts: Sequence[Path], building: Path) -> None:
    """What the quality gates said of each part."""
    files = [part / "gates.jsonl" for part in parts if (part / "gates.jsonl").is_file()]
    if files:
        with (building / "gates.jsonl").open("wb") as joined:
            for file in files:
                with file.open("rb") as marks:
                    shutil.copyfileobj(marks, joined)


def _refuse_other_data(database: sqlite3.Connection, part: Path) -> None:
    """Refuse a part that shares a row with an earlier one, or was read in another way."""
    for same in ("part.rows.position = main.rows.position", "part.rows.id = main.rows.id"):
        shared = database.execute(_SAME_ROWS.format(same=same)).fetchone()
        if shared:
            raise RunError(
                f"Row {shared[0]} of {part} is in another of these runs too.",
                mend="Merge runs of different shards of the same data, each made with its own --shard i/n.",
            )
    mappings = database.execute(
        "SELECT count(DISTINCT value) FROM (SELECT value FROM main.meta WHERE name = 'mapping'"
        " UNION ALL SELECT value FROM part.meta WHERE name = 'mapping')"
    ).fetchone()
    if mappings[0] > 1:
        raise RunError(
            f"{part} reads the columns in another way.", mend="Merge runs that were made with the same --map."
        )
