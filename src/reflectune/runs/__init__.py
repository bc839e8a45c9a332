"""Runs: one folder each, which remembers what was asked, what was done and what came of it."""

from reflectune.runs.decisions import HUMAN, Decided, Decision
from reflectune.runs.entries import Counts, Maker, Selected, Spent, Standing, StoredRow
from reflectune.runs.folder import RunDir
from reflectune.runs.outbox import Outbox
from reflectune.runs.store import SqliteStore

__all__ = [
    "HUMAN",
    "Counts",
    "Decided",
    "Decision",
    "Maker",
    "Outbox",
    "RunDir",
    "Selected",
    "Spent",
    "SqliteStore",
    "Standing",
    "StoredRow",
]
