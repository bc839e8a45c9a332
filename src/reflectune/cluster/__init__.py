"""The stages on many machines: rows flow through a Ray Data pipeline, and one actor remembers what became of them.

session.py    a cluster to work on: joined, or started on this machine
pupil.py      a student, to be opened elsewhere
places.py     names of files as other processes find them
work.py       what a worker does with rows: recycle, generate, judge
worker.py     a worker: an ordinary engine with an ordinary oracle
student.py    another kind of worker: a student that scores
distant.py    the store and the pace that a worker sees, which are the keeper's
line.py       calls to the keeper, put together
told.py       what is told between processes
keeper.py     the one process that writes the run's database, sets the pace and counts the money
turns.py      who may ask now: every request of every worker
flow.py       the driver: from the rows that are pending to what became of them
parts.py      a data file as sharded Parquet
kinds.py      the types of its columns
llm.py        a model served by vLLM within the pipeline

Nothing is decided twice: the stages, the engine, the pace and the budget are those of one machine. So the same rows
come to the same result.
"""

from __future__ import annotations

from reflectune.cluster.session import Cluster

__all__ = ["Cluster"]
