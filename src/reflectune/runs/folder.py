"""A run's folder: its rows, what is left to do, and what it has come to."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from reflectune.errors import InputError, RunError
from reflectune.records import Example, Failure, Recycled, Scored
from reflectune.runs.decisions import Decided, Decisions, hash_of
from reflectune.runs.entries import Counts, IncomingRow, Maker, Selected, Spent, StoredRow, Taken
from reflectune.runs.lock import take
from reflectune.runs.marks import Marks
from reflectune.runs.outbox import FORGET, READ, UNREAD, Outbox
from reflectune.runs.packing import columns_of, example_of, only
from reflectune.runs.queue import Queue, Which
from reflectune.runs.store import SqliteStore, connect
from reflectune.runs.tracks import ANEW, SELECTED, Tracks


class RunDir:
    """A run folder that this process has to itself, or only looks at.

    Args:
        path: The folder; made where it is missing.
        create: Whether it may be made.
        look: Whether to look at it only, also while another process works on it.
        beside: Whether to make decisions in it only, also while another process works on it.

    Attributes:
        store: What remembers replies and results.
        marks: What quality gates say of its rows.
        decisions: What people decided about its rows.
        tracks: What tells that a row has changed.
        queue: What a stage has to do.

    Raises:
        RunError: It is missing, cannot be read or written, or another process works on it.
    """

    def __init__(self, path: Path, *, create: bool = True, look: bool = False, beside: bool = False) -> None:
        self.path = path
        self._made_here = not path.exists()
        if (look or beside or not create) and not (path / "state.sqlite").is_file():
            raise RunError(f"There is no run in {path}.", mend="List the runs with `reflectune runs list`.")
        self._accepted: dict[str, tuple[str, ...]] = {}
        self._makers: dict[str, Maker] = {}
        self._lock = None if look or beside else take(path)
        self._open(look=look)

    def _open(self, *, look: bool = False) -> None:
        self._database = connect(self.path / "state.sqlite", look=look)
        self.store = SqliteStore(self._database)
        self.marks = Marks(self._database)
        self.decisions = Decisions(self._database)
        self.tracks = Tracks(self._database, self._made)
        self.queue = Queue(self._database, self._made)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back; one that was made for nothing, without a row in it, is removed."""
        self.store.flush()
        for_nothing = self._made_here and not self.size
        self._database.close()
        if for_nothing:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give the folder to another process, which works on it, and take it back at the end.

        Raises:
            RunError: The other process, or a third one, has it still.
        """
        maker = self.store.maker
        self.store.flush()
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        try:
            yield
        finally:
            self._lock = take(self.path)
            self._open()
            self.store.maker = maker

    def ingest(self, rows: Iterable[IncomingRow], signature: str | None = None, mapping: str = "") -> int:
        """Take in the rows of the input, in place of those of an earlier time. All of them or, on an error, none.

        Args:
            rows: The rows.
            signature: What tells this input from another, so that a later process need not read it again.
            mapping: How they were read, which is remembered with them.

        Returns:
            How many rows there are.

        Raises:
            InputError: The input cannot be read, or holds no row.
        """
        self.changing()
        with self._database:
            self._database.execute(ANEW)
            self._database.execute("DELETE FROM rows")
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", map(columns_of, rows))
            if not self.size:
                raise InputError("The input holds no row.", mend="Check the file, --limit and --shard.")
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('input', ?)", (signature or "",))
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('mapping', ?)", (mapping,))
        return self.size

    @property
    def size(self) -> int:
        """How many rows there are."""
        count: int = self._database.execute("SELECT count(*) FROM rows").fetchone()[0]
        return count

    def made_by(self, stage: str, maker: Maker, *, beside: bool = False) -> None:
        """Say what makes a stage's results from now on: rows that something else made are pending again.

        Args:
            stage: The stage.
            maker: What makes them.
            beside: Whether results that were good until now stay so, whoever made them.
        """
        known = self._fingerprints(stage)
        if maker.fingerprint not in known:
            self._accepted[stage] = (*known, maker.fingerprint) if beside else (maker.fingerprint,)
        self._makers[maker.fingerprint] = maker
        self.store.maker = maker.fingerprint

    def confirm(self, stage: str) -> None:
        """Note what `made_by` said for later processes."""
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO makers VALUES (?, ?, ?, ?)",
                [(stage, maker.fingerprint, maker.oracle, maker.prompts) for maker in self._makers.values()],
            )
        self.remember(f"fingerprints of {stage}", json.dumps(self._fingerprints(stage)))

    def pending(self, stage: str, *, sample: int | None = None, which: Which = "new") -> Iterator[Example]:
        """The examples that a stage has to do, in input order; see `Queue.examples`."""
        return self.queue.examples(stage, sample=sample, which=which)

    def rows(self, stage: str, *, row: str | Sequence[str] | None = None) -> Iterator[StoredRow]:
        """Every row with what a stage made of it, in input order; or only the one with this id, or those with these."""
        made, marks = self._made(stage)
        among, wanted = only(row)
        cursor = self._database.execute(
            "SELECT rows.id, raw, example, failure, body, fingerprint,"  # noqa: S608
            " (SELECT group_concat(gate) FROM marks WHERE marks.id = rows.id)"
            f" FROM rows LEFT JOIN results ON stage = ? AND results.id = rows.id AND {made}{among} ORDER BY position",
            (stage, *marks, *wanted),
        )
        makers = self._known_makers(stage)
        decisions = self.decisions.all(None if row is None else wanted)
        for name, raw, example, failure, body, fingerprint, gates in cursor:
            result = Recycled.model_validate_json(body) if body else None
            unread = Failure.model_validate_json(failure) if failure else None
            decision = decisions.get(name)
            made = hash_of(body) if body and (decision or isinstance(row, str)) else ""
            holds = decision is not None and decision.made_for == made
            yield StoredRow(
                id=name,
                raw=json.loads(raw),
                example=example_of(name, example) if example else None,
                result=result,
                failure=unread or (result.failure if result else None),
                maker=makers.get(f"{fingerprint.partition(':')[0]}:") if fingerprint else None,
                gates=tuple(sorted(gates.split(","))) if gates else (),
                decision=decision if holds else None,
                stale=None if holds else decision,
                hash=made,
            )

    def scores(self, *, row: str | Sequence[str] | None = None) -> Iterator[Scored]:
        """The scores of every row that has some, in input order; or only of those that `rows` would give."""
        made, marks = self._made("score")
        among, wanted = only(row)
        cursor = self._database.execute(
            "SELECT body FROM rows JOIN results ON stage = ? AND results.id = rows.id"  # noqa: S608
            f" AND {made}{among} ORDER BY position",
            ("score", *marks, *wanted),
        )
        for (body,) in cursor:
            yield Scored.model_validate_json(body)

    def failures(self, stage: str) -> Iterator[Failure]:
        """Every row that did not come through, in input order."""
        made, marks = self._made(stage)
        cursor = self._database.execute(
            "SELECT failure, body FROM rows LEFT JOIN results ON stage = ? AND results.id = rows.id AND"  # noqa: S608
            f" {made} WHERE failure IS NOT NULL OR failed IS NOT NULL ORDER BY position",
            (stage, *marks),
        )
        for unread, body in cursor:
            failure = Failure.model_validate_json(unread) if unread else Recycled.model_validate_json(body).failure
            if failure is not None:
                yield failure

    def counts(self, stage: str) -> Counts:
        """How far a stage has come."""
        made, marks = self._made(stage)
        groups = self._database.execute(
            "SELECT CASE WHEN failure IS NULL THEN failed ELSE json_extract(CAST(failure AS TEXT), '$.reason') END,"  # noqa: S608
            " results.id IS NOT NULL OR failure IS NOT NULL, count(*) FROM rows LEFT JOIN results ON stage = ? AND"
            f" results.id = rows.id AND {made} GROUP BY 1, 2",
            (stage, *marks),
        ).fetchall()
        reasons = {reason: count for reason, _, count in groups if reason is not None}
        failed = sum(reasons.values())
        rows = sum(count for *_, count in groups)
        pending = sum(count for reason, finished, count in groups if not finished)
        return Counts(rows, rows - failed - pending, failed, pending, dict(sorted(reasons.items())))

    def decided(self, stage: str) -> Decided:
        """How many rows were decided about, and how."""
        return self.decisions.count(*self._made(stage))

    def makers(self, stage: str) -> list[Maker]:
        """What has made the results that are good."""
        known = self._known_makers(stage)
        return [known[fingerprint] for fingerprint in self._fingerprints(stage) if fingerprint in known]

    def made(self, stage: str, maker: Maker) -> int:
        """How many rows are as a maker made them, well or not."""
        count: int = self._database.execute(
            "SELECT count(*) FROM rows JOIN results ON stage = ? AND results.id = rows.id"
            " AND fingerprint = ? || content",
            (stage, maker.fingerprint),
        ).fetchone()[0]
        return count

    def written_by(self, stage: str) -> dict[str, dict[str, int]]:
        """How many rows each oracle has rewritten, and how many failed with it."""
        made, marks = self._made(stage)
        groups = self._database.execute(
            "SELECT substr(fingerprint, 1, instr(fingerprint, ':')), failed IS NOT NULL, count(*) FROM rows JOIN"  # noqa: S608
            f" results ON stage = ? AND results.id = rows.id AND {made} GROUP BY 1, 2",
            (stage, *marks),
        ).fetchall()
        makers = self._known_makers(stage)
        found: dict[str, dict[str, int]] = {}
        for fingerprint, failed, count in groups:
            oracle = found.setdefault(makers[fingerprint].oracle, {"rewritten": 0, "failed": 0})
            oracle["failed" if failed else "rewritten"] += count
        return found

    def do_again(self, stage: str, reasons: Collection[str] = ()) -> int:
        """Name the rows that failed as those to be done again; their failures stay until something new is there.

        The replies that were rejected are kept for the record, and no longer used. Where that was said before, and some
        of these rows are not done yet, it is gone on with.

        Args:
            stage: The stage.
            reasons: Only those that failed for one of these reasons; by default for any.

        Returns:
            How many rows these are.
        """
        only = f" AND failed IN ({', '.join('?' * len(reasons))})" if reasons else ""
        asked = json.dumps(sorted(reasons))
        left: int = self._database.execute("SELECT count(*) FROM again").fetchone()[0]
        if left and self.remembered("again for") == asked:
            return left
        self.remember("again for", asked)
        with self._database:
            self._database.execute(READ)
            self._database.execute("DELETE FROM again")
            count = self._database.execute(
                "INSERT INTO again SELECT id FROM results WHERE stage = ? AND failed IS NOT NULL"  # noqa: S608
                f" AND id IN (SELECT id FROM rows){only}",
                (stage, *reasons),
            ).rowcount
            if count:
                self._database.execute("UPDATE replies SET retired = 1 WHERE retired = 0 AND rejected IS NOT NULL")
        return count

    def forget(self, stage: str) -> int:
        """Let a stage do all rows again.

        Replies are kept for the record, and no longer used; of what is with a provider only the cost is remembered.

        Args:
            stage: The stage.

        Returns:
            How many rows will be done again.
        """
        self.changing()
        with self._database:
            count = self._database.execute(
                "DELETE FROM results WHERE stage = ? AND id IN (SELECT id FROM rows)", (stage,)
            ).rowcount
            for statement in (READ, *FORGET, ANEW, "DELETE FROM again", "DELETE FROM marks"):
                self._database.execute(statement)
            self._database.execute("UPDATE replies SET retired = 1 WHERE retired = 0")
        return count

    def forget_scores(self) -> None:
        """Let every row be scored again."""
        with self._database:
            self._database.execute(ANEW)
            self._database.execute("DELETE FROM results WHERE stage = 'score'")

    def keep_selection(self, outcomes: Iterable[tuple[str, Selected]]) -> None:
        """Keep what `select` said of the rows, by their ids, in place of what it said before."""
        with self._database:
            self._database.execute(ANEW)
            self._database.execute("DELETE FROM results WHERE stage = 'select'")
        entries = ((row, said.model_dump_json().encode(), None if said.kept else said.reason) for row, said in outcomes)
        self.store.keep_results("select", SELECTED, entries)

    def selected(self, example: Example) -> Selected | None:
        """What `select` said of a row when it was last run; `None` where it was made anew since, or never looked at."""
        body = self.store.result("select", example.id, SELECTED + example.content_hash())
        return Selected.model_validate_json(body) if body else None

    def changing(self) -> None:
        """Note that the exported files no longer follow from the results."""
        with self._database:
            self._database.execute("DELETE FROM meta WHERE name = 'exported'")

    def spent(self) -> list[Spent]:
        """What all the replies of this run took, by oracle, those of batches that nobody read among them."""
        groups = self._database.execute(
            "SELECT oracle, batch, sum(requests), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens) FROM"  # noqa: S608
            " (SELECT oracle, batch, 1 AS requests, prompt_tokens, cached_tokens, completion_tokens FROM replies"
            f" UNION ALL {UNREAD}) GROUP BY oracle, batch ORDER BY oracle, batch"
        )
        return [Spent(oracle, bool(batch), *counts) for oracle, batch, *counts in groups]

    def taken(self, maker: Maker, weights: tuple[float, float, float]) -> Taken:
        """What each reply took that is in use and was asked for by a maker, its tokens weighed and added up.

        Args:
            maker: Which: what the same oracle was asked for under other settings does not count.
            weights: Of a token that was sent, of one that was sent and found in the prefix cache, of one received.
        """
        count, total, squares = self._database.execute(
            "SELECT count(*), coalesce(sum(x), 0), coalesce(sum(x * x), 0) FROM (SELECT ? * (prompt_tokens -"
            " cached_tokens) + ? * cached_tokens + ? * completion_tokens AS x FROM replies WHERE maker = ?"
            " AND retired = 0)",
            (*weights, maker.fingerprint),
        ).fetchone()
        return Taken(count, total, squares)

    def outbox(self, oracle: str) -> Outbox:
        """What was given to an oracle's batches to answer."""
        return Outbox(self._database, oracle)

    def remembered(self, name: str) -> str | None:
        """A note that an earlier process left, such as what an endpoint can do."""
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def remember(self, name: str, value: str) -> None:
        """Leave a note for the next process."""
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _fingerprints(self, stage: str) -> tuple[str, ...]:
        """The fingerprints whose results are good."""
        if stage not in self._accepted:
            self._accepted[stage] = tuple(json.loads(self.remembered(f"fingerprints of {stage}") or "[]"))
        return self._accepted[stage]

    def _made(self, stage: str) -> tuple[str, tuple[str, ...]]:
        """The SQL condition that a result is good, and its parameters."""
        marks = self._fingerprints(stage)
        return f"fingerprint IN ({', '.join(['? || content'] * len(marks))})", marks

    def _known_makers(self, stage: str) -> dict[str, Maker]:
        known = self._database.execute("SELECT fingerprint, oracle, prompts FROM makers WHERE stage = ?", (stage,))
        return {fingerprint: Maker(fingerprint, *rest) for fingerprint, *rest in known} | self._makers
