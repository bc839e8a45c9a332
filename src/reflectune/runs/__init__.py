"""Runs: one folder each, which remembers what was asked, what was done and what came of it."""

from reflectune.runs.folder import Counts, RunDir, StoredRow
from reflectune.runs.store import SqliteStore

__all__ = ["Counts", "RunDir", "SqliteStore", "StoredRow"]
