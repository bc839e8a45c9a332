"""Runs: one folder each, which remembers what was asked, what was done and what came of it."""

from reflectune.runs.entries import Counts, Maker, Spent, StoredRow
from reflectune.runs.folder import RunDir
from reflectune.runs.outbox import Outbox
from reflectune.runs.store import SqliteStore

__all__ = ["Counts", "Maker", "Outbox", "RunDir", "Spent", "SqliteStore", "StoredRow"]
