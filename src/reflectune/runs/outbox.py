"""What a run has given a provider's batches to answer, and what came back: kept in its database until it is read.

A request is first noted down for a batch. It counts only when the batch is about to be made: what was noted down for
one that never got so far is noted down again by the next process. An outcome stays until its reply is among the run's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["OpenBatch", "Outbox", "Posted"]

_SMALLER = "most requests in a batch"


@dataclass(frozen=True, slots=True)
class Posted:
    """A request that was given to a batch.

    Attributes:
        tries: How many batches have come back without an answer to it.
        held: The most US dollars that it may cost.
        outcome: The line that came back for it; `None` while there is none.
    """

    tries: int
    held: float
    outcome: bytes | None


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose outcomes are not here yet.

    Attributes:
        mark: Our own name for it, which it carries in its metadata.
        id: The provider's name for it; `None` where we were about to make it and do not know whether we did.
        requests: How many requests it holds.
    """

    mark: str
    id: str | None
    requests: int


class Outbox:
    """The requests and batches of a run.

    Args:
        database: A connection made by `connect`.
        oracle: Whose batches they are.
    """

    def __init__(self, database: sqlite3.Connection, oracle: str) -> None:
        self._database = database
        self._oracle = oracle

    def tidy(self) -> None:
        """Forget what was never sent, and the outcomes whose replies the run has."""
        with self._database:
            self._database.execute("DELETE FROM posted WHERE batch NOT IN (SELECT mark FROM batches)")
            self._database.execute("DELETE FROM posted WHERE outcome IS NOT NULL AND key IN (SELECT key FROM replies)")

    def get(self, key: str) -> Posted | None:
        """What is known of a request; `None` where it was given to no batch."""
        found = self._database.execute("SELECT tries, held, outcome FROM posted WHERE key = ?", (key,)).fetchone()
        return Posted(*found) if found else None

    def note(self, key: str, mark: str, *, tries: int, held: float) -> None:
        """Note a request down for a batch that is to be made. It is durable once `about_to_send` returns."""
        self._database.execute("INSERT OR REPLACE INTO posted VALUES (?, ?, ?, ?, NULL)", (key, mark, tries, held))

    def unhold(self, key: str) -> None:
        """Note that a request costs nothing: what came back is no answer."""
        with self._database:
            self._database.execute("UPDATE posted SET held = 0 WHERE key = ?", (key,))

    def forget(self, key: str) -> None:
        """Forget a request: it may be given to a batch anew."""
        with self._database:
            self._database.execute("DELETE FROM posted WHERE key = ?", (key,))

    def about_to_send(self, mark: str) -> None:
        """Note that a batch is about to be made of what was noted down for it."""
        with self._database:
            self._database.execute("INSERT INTO batches VALUES (?, ?, NULL, 0)", (mark, self._oracle))

    def sent(self, mark: str, name: str) -> None:
        """Note that a batch was made, and its name at the provider."""
        with self._database:
            self._database.execute("UPDATE batches SET id = ? WHERE mark = ?", (name, mark))

    def open(self) -> list[OpenBatch]:
        """The batches whose outcomes are not here yet, oldest first."""
        found = self._database.execute(
            "SELECT mark, id, (SELECT count(*) FROM posted WHERE batch = mark) FROM batches"
            " WHERE ended = 0 AND oracle = ? ORDER BY batches.rowid",
            (self._oracle,),
        )
        return [OpenBatch(*row) for row in found]

    def land(self, outcomes: Iterable[tuple[str, bytes]], mark: str) -> int:
        """Keep some outcomes of a batch; what is not of this batch is passed over.

        Args:
            outcomes: Keys of requests with the lines that came back for them.
            mark: The batch.

        Returns:
            How many were kept.
        """
        with self._database:
            return self._database.executemany(
                "UPDATE posted SET outcome = ? WHERE key = ? AND batch = ? AND outcome IS NULL",
                ((line, key, mark) for key, line in outcomes),
            ).rowcount

    def end(self, mark: str, missing: bytes) -> int:
        """Note that everything of a batch is here.

        Args:
            mark: The batch.
            missing: The outcome of requests for which nothing came back.

        Returns:
            How many these are.
        """
        with self._database:
            self._database.execute("UPDATE batches SET ended = 1 WHERE mark = ?", (mark,))
            return self._database.execute(
                "UPDATE posted SET outcome = ? WHERE batch = ? AND outcome IS NULL", (missing, mark)
            ).rowcount

    def withdraw(self, mark: str) -> float:
        """Forget a batch that was not taken, and the requests in it.

        Returns:
            US dollars that were held for them.
        """
        with self._database:
            held: float = self._database.execute(
                "SELECT coalesce(sum(held), 0) FROM posted WHERE batch = ?", (mark,)
            ).fetchone()[0]
            self._database.execute("DELETE FROM posted WHERE batch = ?", (mark,))
            self._database.execute("DELETE FROM batches WHERE mark = ?", (mark,))
        return held

    @property
    def held(self) -> float:
        """US dollars that may have to be paid for what was sent and is not among the run's replies."""
        total: float = self._database.execute("SELECT coalesce(sum(held), 0) FROM posted").fetchone()[0]
        return total

    @property
    def most_requests(self) -> int | None:
        """The most requests that the provider was found to take in a batch; `None` while it took all."""
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (_SMALLER,)).fetchone()
        return int(found[0]) if found else None

    @most_requests.setter
    def most_requests(self, count: int) -> None:
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SMALLER, str(count)))
