"""A run's folder: its rows, what is left to do, and what it has come to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from reflectune.errors import InputError, RunError
from reflectune.formats import to_json
from reflectune.records import Example, Failure, Message, Recycled
from reflectune.runs.store import SqliteStore, connect

_PAGE = 500


class IncomingRow(Protocol):
    """A row as `formats` reads it."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def raw(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def example(self) -> Example | None: ...  # noqa: D102
    @property
    def failure(self) -> Failure | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the input with what became of it.

    Attributes:
        id: The row's id.
        raw: The row as it was read.
        example: The pair in it; `None` where it could not be read as one.
        result: What a stage made of it; `None` while that is pending.
        failure: Why there is nothing to export; `None` where there is, or while the row is pending.
    """

    id: str
    raw: dict[str, Any]
    example: Example | None
    result: Recycled | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a stage has come. `rows == done + failed + pending`, always."""

    rows: int
    done: int
    failed: int
    pending: int
    reasons: dict[str, int] = field(default_factory=dict)


class RunDir:
    """A run folder that this process has to itself, or only looks at.

    Args:
        path: The folder; made where it is missing.
        create: Whether it may be made.
        look: Whether to look at it only, also while another process works on it.

    Raises:
        RunError: It is missing, cannot be read or written, or another process works on it.
    """

    def __init__(self, path: Path, *, create: bool = True, look: bool = False) -> None:
        self.path = path
        self._lock: int | None = None
        if (look or not create) and not (path / "state.sqlite").is_file():
            raise RunError(f"There is no run in {path}.", mend="List the runs with `reflectune runs list`.")
        if not look:
            self._lock = _taken(path)
        self._database = connect(path / "state.sqlite", look=look)
        self.store = SqliteStore(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the folder back."""
        self.store.flush()
        self._database.close()
        if self._lock is not None:
            os.close(self._lock)

    def ingest(self, rows: Iterable[IncomingRow]) -> int:
        """Take in the rows of the input, in place of those of an earlier time. All of them or, on an error, none.

        Returns:
            How many rows there are.

        Raises:
            InputError: The input cannot be read, or holds no row.
        """
        with self._database:
            self._database.execute("DELETE FROM rows")
            self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)", map(_columns, rows))
            count: int = self._database.execute("SELECT count(*) FROM rows").fetchone()[0]
            if not count:
                raise InputError("The input holds no row.", mend="Check the file, and --limit.")
        return count

    def pending(self, stage: str, fingerprint: str) -> Iterator[Example]:
        """The examples that a stage has not done under this fingerprint, in input order, a page at a time."""
        position = -1
        while True:
            page = self._database.execute(
                "SELECT position, id, example FROM rows WHERE position > ? AND example IS NOT NULL AND NOT EXISTS"
                " (SELECT 1 FROM results WHERE stage = ? AND results.id = rows.id AND fingerprint = ? || content)"
                " ORDER BY position LIMIT ?",
                (position, stage, fingerprint, _PAGE),
            ).fetchall()
            if not page:
                return
            for position, name, example in page:  # noqa: B007 - the last one is where the next page starts
                yield _example(name, example)

    def rows(self, stage: str, fingerprint: str) -> Iterator[StoredRow]:
        """Every row with what a stage made of it under this fingerprint, in input order."""
        cursor = self._database.execute(
            "SELECT rows.id, raw, example, failure, body FROM rows LEFT JOIN results ON stage = ? AND"
            " results.id = rows.id AND fingerprint = ? || content ORDER BY position",
            (stage, fingerprint),
        )
        for name, raw, example, failure, body in cursor:
            result = Recycled.model_validate_json(body) if body else None
            unread = Failure.model_validate_json(failure) if failure else None
            yield StoredRow(
                id=name,
                raw=json.loads(raw),
                example=_example(name, example) if example else None,
                result=result,
                failure=unread or (result.failure if result else None),
            )

    def failures(self, stage: str, fingerprint: str) -> Iterator[Failure]:
        """Every row that did not come through under this fingerprint, in input order."""
        cursor = self._database.execute(
            "SELECT failure, body FROM rows LEFT JOIN results ON stage = ? AND results.id = rows.id AND"
            " fingerprint = ? || content WHERE failure IS NOT NULL OR failed IS NOT NULL ORDER BY position",
            (stage, fingerprint),
        )
        for unread, body in cursor:
            failure = Failure.model_validate_json(unread) if unread else Recycled.model_validate_json(body).failure
            if failure is not None:
                yield failure

    def counts(self, stage: str, fingerprint: str) -> Counts:
        """How far a stage has come under this fingerprint."""
        groups = self._database.execute(
            "SELECT CASE WHEN failure IS NULL THEN failed ELSE json_extract(CAST(failure AS TEXT), '$.reason') END,"
            " body IS NOT NULL OR failure IS NOT NULL, count(*) FROM rows LEFT JOIN results ON stage = ? AND"
            " results.id = rows.id AND fingerprint = ? || content GROUP BY 1, 2",
            (stage, fingerprint),
        ).fetchall()
        reasons = {reason: count for reason, _, count in groups if reason is not None}
        failed = sum(reasons.values())
        rows = sum(count for *_, count in groups)
        pending = sum(count for reason, finished, count in groups if not finished)
        return Counts(rows, rows - failed - pending, failed, pending, dict(sorted(reasons.items())))

    def forget(self, stage: str, *, failures_only: bool) -> int:
        """Let a stage do rows again: those that failed, or all of them.

        Replies are kept for the record. The rejected ones are no longer used, nor, where all rows are forgotten, the
        others.

        Returns:
            How many rows will be done again.
        """
        with self._database:
            which = " AND failed IS NOT NULL" if failures_only else ""
            done = f"DELETE FROM results WHERE stage = ? AND id IN (SELECT id FROM rows){which}"  # noqa: S608
            count = self._database.execute(done, (stage,)).rowcount
            retired = " AND rejected IS NOT NULL" if failures_only else ""
            self._database.execute(f"UPDATE replies SET retired = 1 WHERE retired = 0{retired}")  # noqa: S608
        return count

    def spent(self) -> dict[str, int]:
        """What all the replies of this run took: requests, prompt_tokens, completion_tokens."""
        requests, prompt, completion = self._database.execute(
            "SELECT count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM replies"
        ).fetchone()
        return {"requests": requests, "prompt_tokens": prompt, "completion_tokens": completion}

    def remembered(self, name: str) -> str | None:
        """A note that an earlier process left, such as what an endpoint can do."""
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return found[0] if found else None

    def remember(self, name: str, value: str) -> None:
        """Leave a note for the next process."""
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _taken(path: Path) -> int:
    """Make the folder where it is missing, and take its lock."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        return _lock(path / "run.lock")
    except OSError as error:
        raise RunError(
            f"Cannot write to the run folder {path}: {error.strerror or error}.",
            mend="Make it writable, or name another one with --run.",
        ) from error


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise RunError(
            f"The run {path.parent} is in use by process {holder or 'unknown'}.",
            mend="Wait for it, or stop it with Ctrl-C: it can be resumed.",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _columns(row: IncomingRow) -> tuple[int, str, str, bytes | None, bytes, bytes | None]:
    if row.example is not None:
        example = row.example
        return row.number, example.id, example.content_hash(), orjson.dumps(example), _packed(row), None
    failure = row.failure
    if failure is None:
        raise ValueError(f"Row {row.number} has neither an example nor a failure.")
    return row.number, failure.id, "", None, _packed(row), failure.model_dump_json().encode()


def _packed(row: IncomingRow) -> bytes:
    """The row as JSON. Not by orjson, which turns NaN into null and knows no large integers nor half characters."""
    try:
        return to_json(row.raw)
    except TypeError as error:
        raise InputError(f"Row {row.number}: {error}.", mend="Leave that column out.") from error


def _example(name: str, packed: bytes) -> Example:
    fields = orjson.loads(packed)
    history = tuple(Message(**turn) for turn in fields.pop("history"))
    return Example(**(fields | {"id": name, "history": history}))
