"""What an oracle said and what a stage made of it, kept in SQLite.

The database is in WAL mode with `synchronous=NORMAL`: what was committed survives the death of the process at any
moment. After a power cut the last few commits may be missing, and the database is whole. Commits are grouped:
everything that lands within two milliseconds goes to the disk together.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import RunError
from reflectune.records import Message, Reply, Request, digest

_GROUP_SECONDS = 0.002

_KEEP_REPLY = (
    "INSERT INTO replies (key, oracle, messages, text, reasoning, finish_reason, prompt_tokens, completion_tokens,"
    " cached_tokens, rejected, batch, top_logprobs, maker) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_LAYOUT = 6
"""The layout of the tables, as SQLite's `user_version`; to be raised when they change."""
_READABLE = (5, 6)
"""Layouts that can be read. 5 has no table of decisions, which is added when somebody works on the run."""
_PATIENCE = 10.0
"""Seconds to wait for another process that is writing: a decision may be made while a run is worked on."""
_MOST_NAMES = 1000
_DISK = "Free some disk space, then start the same command again: what was committed is kept."

_SCHEMA = f"""
BEGIN;
PRAGMA user_version = {_LAYOUT};
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    content TEXT NOT NULL,
    failure BLOB,
    example BLOB,
    raw BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS results (
    stage TEXT NOT NULL,
    id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    failed TEXT,
    body BLOB NOT NULL,
    PRIMARY KEY (stage, id)
);
CREATE TABLE IF NOT EXISTS again (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS makers (
    stage TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    oracle TEXT NOT NULL,
    prompts TEXT NOT NULL,
    PRIMARY KEY (stage, fingerprint)
);
CREATE TABLE IF NOT EXISTS marks (
    id TEXT NOT NULL,
    gate TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (id, gate)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS decisions (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
DROP TRIGGER IF EXISTS made_anew;
CREATE TRIGGER made_anew AFTER INSERT ON results WHEN NEW.stage = 'recycle' BEGIN
    DELETE FROM again WHERE id = NEW.id;
    DELETE FROM marks WHERE id = NEW.id;
    DELETE FROM results WHERE id = NEW.id AND stage IN ('score', 'select');
END;
CREATE TABLE IF NOT EXISTS texts (hash TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    oracle TEXT NOT NULL,
    messages BLOB NOT NULL,
    text TEXT NOT NULL,
    reasoning TEXT,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    rejected TEXT,
    batch INTEGER NOT NULL,
    top_logprobs BLOB,
    maker TEXT NOT NULL,
    retired INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS live_replies ON replies (key) WHERE retired = 0;
CREATE TABLE IF NOT EXISTS batches (
    mark TEXT PRIMARY KEY,
    oracle TEXT NOT NULL,
    id TEXT,
    ended INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS posted (
    key TEXT PRIMARY KEY,
    batch TEXT NOT NULL,
    tries INTEGER NOT NULL,
    held REAL NOT NULL,
    outcome BLOB
);
CREATE INDEX IF NOT EXISTS posted_in ON posted (batch);
COMMIT;
"""  # noqa: S608 - nothing but our own number is put into it


def connect(path: Path, *, look: bool = False) -> sqlite3.Connection:
    """Open a run's database: to look at it, or to work on it, and then with its tables made where they are missing.

    Raises:
        RunError: The file cannot be read or written, or is not a database of ours.
    """
    try:
        if look:
            address = f"{path.absolute().as_uri()}?mode=ro"  # a page reads on in whichever thread is free
            database = sqlite3.connect(address, uri=True, timeout=_PATIENCE, check_same_thread=False)
            _check_layout(database, path)
            return database
        database = sqlite3.connect(path, timeout=_PATIENCE)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        made = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not made or _check_layout(database, path) < _LAYOUT:
            database.executescript(_SCHEMA)
    except sqlite3.DatabaseError as error:
        raise RunError(
            f"Cannot open {path}: {error}.",
            mend="Name the folder of another run: what is in this file is not a run's, or is damaged."
            if look
            else "Check that the folder can be written, or name another one with --run.",
        ) from error
    return database


def _check_layout(database: sqlite3.Connection, path: Path) -> int:
    layout: int = database.execute("PRAGMA user_version").fetchone()[0]
    if layout not in _READABLE:
        raise RunError(
            f"{path} was made by another version of reflectune: its tables have layout {layout}, ours {_LAYOUT}.",
            mend="Finish the run with the version that its run.json names, or begin a new one in another folder.",
        )
    return layout


class SqliteStore:
    """The `Store` that a run keeps its replies and results in.

    Args:
        database: A connection made by `connect`.

    Attributes:
        maker: The fingerprint of what asks for replies now; it is kept with each.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self.maker = ""
        self._database = database
        self._queue: list[tuple[str, tuple[Any, ...]]] = []
        self._committed: asyncio.Future[None] | None = None
        self._names: dict[str, str] = {}

    def reply(self, key: str) -> Reply | None:
        """The reply kept under this key, a rejected one included; `None` where there is none."""
        row = self._database.execute(
            "SELECT text, reasoning, finish_reason, prompt_tokens, completion_tokens, cached_tokens, rejected, batch,"
            " top_logprobs FROM replies WHERE key = ? AND retired = 0",
            (key,),
        ).fetchone()
        if row is None:
            return None
        *values, likely = row
        return Reply(**dict(zip(Reply.model_fields, (*values, likely and orjson.loads(likely)), strict=True)))

    async def keep_reply(self, key: str, request: Request, oracle: str, reply: Reply) -> None:
        """Keep a reply; returns once it is committed."""
        messages = [[message.role, self._text(message)] for message in request.messages]
        likely = None if reply.top_logprobs is None else orjson.dumps(reply.top_logprobs)
        values = (*(getattr(reply, name) for name in Reply.model_fields if name != "top_logprobs"), likely)
        self._queue.append((_KEEP_REPLY, (key, oracle, orjson.dumps(messages), *values, self.maker)))
        await asyncio.shield(self._commit())

    def result(self, stage: str, row: str, fingerprint: str) -> bytes | None:
        """The JSON of a row's result, if it was made under the same fingerprint and is not to be made again."""
        found = self._database.execute(
            "SELECT body FROM results WHERE stage = ? AND id = ? AND fingerprint = ?"
            " AND (stage <> 'recycle' OR NOT EXISTS (SELECT 1 FROM again WHERE again.id = results.id))",
            (stage, row, fingerprint),
        ).fetchone()
        return found[0] if found else None

    async def keep_result(self, stage: str, row: str, fingerprint: str, body: bytes, failed: str | None) -> None:
        """Keep a row's result; returns once it is committed."""
        self._queue.append(
            ("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)", (stage, row, fingerprint, failed, body))
        )
        await asyncio.shield(self._commit())

    def keep_results(self, stage: str, fingerprint: str, results: Iterable[tuple[str, bytes, str | None]]) -> None:
        """Keep several rows' results at once, for a stage that does not wait for anybody.

        Args:
            stage: The stage.
            fingerprint: What made them.
            results: The row, the result as JSON, and the reason where it failed.

        Raises:
            RunError: They could not be written.
        """
        try:
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO results SELECT ?, id, ? || content, ?, ? FROM rows WHERE id = ?",
                    ((stage, fingerprint, failed, body, row) for row, body, failed in results),
                )
        except sqlite3.Error as problem:
            raise RunError(f"The run's database could not be written: {problem}.", mend=_DISK) from problem

    def _text(self, message: Message) -> str | dict[str, str]:
        """A message's text, or the name under which a rubric, which many requests share, is kept once."""
        if message.role != "system":
            return message.content
        name = self._names.get(message.content)
        if name is None:
            if len(self._names) >= _MOST_NAMES:  # rubrics are few; the system prompts of rows need not be
                self._names.clear()
            name = self._names[message.content] = digest(message.content)
            self._queue.append(("INSERT OR IGNORE INTO texts VALUES (?, ?)", (name, message.content)))
        return {"text": name}

    def _commit(self) -> asyncio.Future[None]:
        if self._committed is None:
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_later(_GROUP_SECONDS, self.flush)
        return self._committed

    def flush(self) -> None:
        """Commit what is queued, now."""
        queue, waiting = self._queue, self._committed
        self._queue, self._committed = [], None
        if waiting is None:
            return
        error: Exception | None = None
        try:
            with self._database:
                for statement, values in queue:
                    self._database.execute(statement, values)
        except Exception as problem:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._names.clear()
            error = RunError(
                f"The run's database could not be written: {problem}.",
                mend=_DISK,
            )
        if waiting.done():
            return
        if error:
            waiting.set_exception(error)
        else:
            waiting.set_result(None)
