"""Keep the index of a run up to date in the background, and answer meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread

from reflectune.errors import ReflectuneError
from reflectune.runs import RunDir
from reflectune.web.index.asking import Answer, Question, ask, facets
from reflectune.web.index.making import bring_up_to_date, overgrown, take_in
from reflectune.web.index.tables import open_tables, place_of, remove

__all__ = ["Keeper", "Keepers", "State"]

_REST = 3.0
"""Between two times of looking for changes pass so many times the seconds that the last one took, and at least 1."""


@dataclass(frozen=True, slots=True)
class State:
    """How far an index is.

    Attributes:
        working: Whether it is being brought up to date.
        done: How many changed rows are in.
        changed: How many rows had changed.
        revision: Is another number once rows have changed in the index.
        error: Why it could not be brought up to date; empty where it could.
    """

    working: bool = False
    done: int = 0
    changed: int = 0
    revision: int = 0
    error: str = ""


class Keeper:
    """The index of one run.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._place = place_of(run)
        self._lock = Lock()
        self._free: list[sqlite3.Connection] = []
        self._file = 0
        self._seen: object = None
        self._next = 0.0
        self._facets: tuple[int, dict[str, dict[str, int]]] | None = None
        self._thread: Thread | None = None
        self._closed = False
        self.state = State()

    def ask(self, question: Question) -> Answer:
        """Find rows in what is in the index by now, and see to it that it gets up to date."""
        self.refresh()
        with self._connection() as database:
            return ask(database, question)

    def facets(self) -> dict[str, dict[str, int]]:
        """How many rows have which value, for everything that rows can be filtered by."""
        revision = self.state.revision
        if self._facets is None or self._facets[0] != revision:
            with self._connection() as database:
                self._facets = revision, facets(database)
        return self._facets[1]

    def refresh(self) -> None:
        """Bring the index up to date in the background, where the run has changed since."""
        with self._lock:
            if self._closed or (self._thread and self._thread.is_alive()) or time.monotonic() < self._next:
                return
            if self._seen == self._now():
                return
            self.state = replace(self.state, working=True, done=0, changed=0)
            self._thread = Thread(target=self._bring_up_to_date, name=f"index of {self._run.name}", daemon=True)
            self._thread.start()

    def wait(self, seconds: float = 600.0) -> None:
        """Wait until the index is up to date."""
        end = time.monotonic() + seconds
        while self._seen != self._now() and time.monotonic() < end and not self.state.error:
            self.refresh()
            if self._thread:
                self._thread.join(0.05)
            time.sleep(0.01)

    def take_in(self, row: str) -> None:
        """Read one row anew, at once."""
        with self._connection() as database, RunDir(self._run, look=True) as run:
            take_in(database, run, row)
        self.state = replace(self.state, revision=self.state.revision + 1)

    def close(self) -> None:
        """Stop, and close everything."""
        self._closed = True
        if self._thread:
            self._thread.join(30)
        with self._lock:
            while self._free:
                self._free.pop().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; a new one where the file was deleted."""
        database, file = self._taken()
        try:
            yield database
        finally:
            with self._lock:
                keep = file == self._file and not self._closed
                if keep:
                    self._free.append(database)
            if not keep:
                database.close()

    def _taken(self) -> tuple[sqlite3.Connection, int]:
        with self._lock:
            if not self._file or self._number() != self._file:
                while self._free:
                    self._free.pop().close()
                open_tables(self._place).close()
                self._file, self._seen, self._next = self._number(), None, 0.0
            if self._free:
                return self._free.pop(), self._file
            return open_tables(self._place), self._file

    def _number(self) -> int:
        try:
            return self._place.stat().st_ino
        except FileNotFoundError:
            return 0

    def _now(self) -> object:
        """What tells that the run's database, or the index, is another one."""
        seen: list[object] = [self._number()]
        for end in ("", "-wal"):
            with suppress(OSError):
                status = (self._run / f"state.sqlite{end}").stat()
                if status.st_size:  # an empty log comes and goes with whoever looks
                    seen.append((end, status.st_ino, status.st_size, status.st_mtime_ns))
        return seen

    def _bring_up_to_date(self) -> None:
        began, error = time.monotonic(), ""
        try:
            with self._connection() as database:
                seen = self._now()
                with RunDir(self._run, look=True) as run:
                    bring_up_to_date(database, run, self._progress)
                if not self._closed:
                    self._seen = seen
                crowded = overgrown(database)
            if crowded:
                remove(self._place)
        except (ReflectuneError, sqlite3.Error, OSError, ValueError) as problem:
            error = str(problem).partition("\n")[0]
            if isinstance(problem, sqlite3.DatabaseError) and not isinstance(problem, sqlite3.OperationalError):
                remove(self._place)  # it is damaged
        took = time.monotonic() - began
        self._next = time.monotonic() + min(max(1.0, _REST * took), 30.0)
        self.state = replace(self.state, working=False, error=error)

    def _progress(self, done: int, changed: int) -> bool:
        revision = self.state.revision + (done > 0)
        self.state = replace(self.state, done=done, changed=changed, revision=revision)
        return not self._closed


class Keepers:
    """The indexes of runs, each made when it is first asked for."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._keepers: dict[Path, Keeper] = {}

    def of(self, run: Path) -> Keeper:
        """The index of a run."""
        with self._lock:
            if run not in self._keepers:
                self._keepers[run] = Keeper(run)
            return self._keepers[run]

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            keepers, self._keepers = list(self._keepers.values()), {}
        for keeper in keepers:
            keeper.close()
