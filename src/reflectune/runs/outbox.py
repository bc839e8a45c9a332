"""What a run has given a provider's batches to answer, and what came back: kept in its database until it is read.

A batch and its requests are written down when it is about to be made. An outcome stays until its reply is among the
run's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["OpenBatch", "Outbox", "Posted"]

_SMALLER = "most requests in a batch for "

_READ = "SELECT key FROM replies WHERE retired = 0 AND batch = 1"
READ = f"DELETE FROM posted WHERE outcome IS NOT NULL AND key IN ({_READ})"  # noqa: S608
"""Forgets the outcomes that are among the run's replies. One that was asked for directly as well was paid for twice."""
UNREAD = f"""
SELECT oracle, 1 AS batch, count(*) AS requests,
    sum(coalesce(json_extract(usage, '$.prompt_tokens'), 0)) AS prompt_tokens,
    sum(coalesce(json_extract(usage, '$.prompt_tokens_details.cached_tokens'),
        json_extract(usage, '$.prompt_cache_hit_tokens'), 0)) AS cached_tokens,
    sum(coalesce(json_extract(usage, '$.completion_tokens'), 0)) AS completion_tokens
FROM (SELECT oracle, json_extract(CAST(outcome AS TEXT), '$.response.body.usage') AS usage
    FROM posted JOIN batches ON batch = mark
    WHERE outcome IS NOT NULL AND json_type(CAST(outcome AS TEXT), '$.response.body.usage') = 'object'
        AND key NOT IN ({_READ}))
GROUP BY oracle
"""  # noqa: S608
"""What the outcomes took that are not among the run's replies: they were paid for all the same."""
FORGET = (
    "UPDATE batches SET ended = 1",
    "UPDATE posted SET key = 'forgotten ' || batch || ' ' || key WHERE key NOT LIKE 'forgotten %'",
)
"""Leaves of what is with a provider, or has come back, only what it costs."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A request that was given to a batch.

    Attributes:
        tries: How many batches have come back without an answer to it.
        held: The most US dollars that it may cost; below zero where it was counted as spent when the run was opened.
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
        """Forget the outcomes whose replies the run has."""
        with self._database:
            self._database.execute(READ)

    def get(self, key: str) -> Posted | None:
        """What is known of a request; `None` where it was given to no batch."""
        found = self._database.execute("SELECT tries, held, outcome FROM posted WHERE key = ?", (key,)).fetchone()
        return Posted(*found) if found else None

    def unhold(self, key: str) -> None:
        """Note that a request costs nothing: what came back is no answer."""
        with self._database:
            self._database.execute("UPDATE posted SET held = 0 WHERE key = ?", (key,))

    def forget(self, key: str) -> None:
        """Forget a request: it may be given to a batch anew."""
        with self._database:
            self._database.execute("DELETE FROM posted WHERE key = ?", (key,))

    def about_to_send(self, mark: str, notes: Mapping[str, tuple[int, float]]) -> None:
        """Note that a batch is about to be made.

        Args:
            mark: Our own name for it.
            notes: Its requests by their keys: `tries` and `held` of `Posted`.
        """
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO posted VALUES (?, ?, ?, ?, NULL)",
                ((key, mark, tries, held) for key, (tries, held) in notes.items()),
            )
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

    def land(self, outcomes: Iterable[tuple[str, bytes]], mark: str) -> None:
        """Keep some outcomes of a batch; what is not of this batch is passed over.

        Args:
            outcomes: Keys of requests with the lines that came back for them.
            mark: The batch.
        """
        with self._database:
            self._database.executemany(
                "UPDATE posted SET outcome = ? WHERE key = ? AND batch = ? AND outcome IS NULL",
                ((line, key, mark) for key, line in outcomes),
            )

    def end(self, mark: str, missing: bytes) -> None:
        """Note that everything of a batch is here.

        Args:
            mark: The batch.
            missing: The outcome of requests for which nothing came back.
        """
        with self._database:
            self._database.execute("UPDATE batches SET ended = 1 WHERE mark = ?", (mark,))
            self._database.execute("UPDATE posted SET outcome = ? WHERE batch = ? AND outcome IS NULL", (missing, mark))

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

    def hold_nothing_for_outcomes(self) -> None:
        """Hold no money for what has come back, and note so: `RunDir.spent` counts it."""
        with self._database:
            self._database.execute("UPDATE posted SET held = -1 WHERE outcome IS NOT NULL")

    @property
    def unread(self) -> int:
        """How many outcomes of this oracle are not among the run's replies yet."""
        count: int = self._database.execute(
            "SELECT count(*) FROM posted JOIN batches ON batch = mark WHERE oracle = ? AND outcome IS NOT NULL",
            (self._oracle,),
        ).fetchone()[0]
        return count

    @property
    def held(self) -> float:
        """US dollars that may have to be paid for what is with the provider."""
        total: float = self._database.execute("SELECT coalesce(sum(max(held, 0)), 0) FROM posted").fetchone()[0]
        return total

    @property
    def most_requests(self) -> int | None:
        """The most requests that the provider was found to take in a batch; `None` while it took all."""
        found = self._database.execute("SELECT value FROM meta WHERE name = ?", (_SMALLER + self._oracle,)).fetchone()
        return int(found[0]) if found else None

    @most_requests.setter
    def most_requests(self, count: int) -> None:
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SMALLER + self._oracle, str(count)))
