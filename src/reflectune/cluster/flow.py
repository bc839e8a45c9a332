"""The driver: rows that are pending flow through a Ray Data pipeline, and what became of them comes out.

    pages of pending rows (keeper) -> Worker x N (actors on any node) -> what became of each row (driver)

Ray starts a lost worker again, on another node where its own is gone, and does its blocks once more; rows and replies
that the keeper has are found there and not asked for again.
"""

from __future__ import annotations

import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reflectune.cluster.keeper import Charge, Keeper
from reflectune.cluster.llm import Writing, written
from reflectune.cluster.session import Cluster, gpus_of, size_of
from reflectune.cluster.student import Made, ScoreWorker, Scoring, made_of
from reflectune.cluster.told import Page, Progress, Trouble
from reflectune.cluster.work import Work, ends_as
from reflectune.cluster.worker import Worker
from reflectune.errors import RunError
from reflectune.exports.kit import counted
from reflectune.records import Record
from reflectune.runs.lock import holder

__all__ = ["Flow", "Watch", "await_lock", "check_end", "first_of"]

_TICK = 0.5
_BLOCKS_PER_WORKER = 32
_ROWS_OF_A_BLOCK = (4, 256)
_BLOCKS_AT_ONCE = 3
"""For each worker, so that one which is nearly done leaves no slot empty."""
_CPUS_IN_THE_WORKER, _CPUS_FOR_AN_ENDPOINT = 1.0, 0.01
_LOCK_SECONDS = 15.0
_KEEPER_CALLS = 100_000


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on.

    Attributes:
        show: Is told how far the work has come, about twice a second.
        stopping: Says whether somebody wants it to stop: what is in flight is finished then.
        take: Is given every record that comes out, where the driver wants them.
    """

    show: Callable[[Progress], None]
    stopping: Callable[[], bool] = lambda: False
    take: Callable[[Record], None] | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """What is done, and where.

    Attributes:
        ray: The module, connected.
        cluster: How many workers there are, and what each takes.
        charge: What the keeper is charged with; the run must be given back before.
        work: What is done with each row.
        watch: Who looks on.
    """

    ray: Any
    cluster: Cluster
    charge: Charge
    work: Work | Scoring | Writing
    watch: Watch

    def run(self, rows: Sequence[Any] | None = None) -> Progress:
        """Let rows flow through the cluster until none is left, the money is spent or somebody stops it.

        Args:
            rows: The rows; by default those of the run that are pending.

        Raises:
            OracleError: The oracle cannot be used at all; what was done before is kept.
            RunError: The run cannot be used, the pipeline broke, or rows went through it without an outcome.
        """
        workers = size_of(self.ray, self.cluster, wants_gpu=self.work.wants_gpu)
        came: set[str] = set()
        watch = self.watch if rows is None else replace(self.watch, take=partial(_noted, came, self.watch.take))
        with _keeper(self.ray, self.charge) as keeper:
            source = _pending(self.ray, keeper, workers) if rows is None else _given(self.ray, rows, workers)
            if source is not None:
                _watched(self.ray, keeper, self._worked(source, keeper, workers), watch)
            left = self.ray.get(keeper.pending.remote()) if rows is None else len({row.id for row in rows} - came)
            progress: Progress = self.ray.get(keeper.end.remote())
        self.watch.show(progress)
        check_end(progress, left)
        return progress

    def _worked(self, source: Any, keeper: Any, workers: int) -> Any:
        """The dataset of what becomes of the rows."""
        if isinstance(self.work, Writing):
            return written(self.ray, source, keeper, self.work, workers)
        kind: type = Worker
        given: dict[str, Any] = {"keeper": keeper, "work": self.work}
        at_once = _BLOCKS_AT_ONCE
        if isinstance(self.work, Scoring):
            kind, at_once = ScoreWorker, 1
        else:
            given["share"] = math.ceil(self.charge.ceiling / workers)
        return source.map_batches(
            kind,
            batch_size=None,
            batch_format="pyarrow",
            compute=self.ray.data.ActorPoolStrategy(
                size=workers, max_concurrent_calls_per_actor=at_once, max_tasks_in_flight_per_actor=at_once + 1
            ),
            fn_constructor_kwargs=given,
            **_takes(self.ray, self.cluster, self.work),
        )


def check_end(progress: Progress, left: int) -> None:
    """Refuse an end that is none.

    Args:
        progress: How far the work came.
        left: How many rows have no outcome.

    Raises:
        ReflectuneError: What ended the work.
        RunError: Rows are left, and nobody stopped it.
    """
    if progress.trouble is not None:
        raise progress.trouble.error()
    if left and not progress.stopping:
        raise RunError(
            f"{counted(left, 'row')} went through the cluster without an outcome.",
            mend="What was done is kept: the same command goes on.",
        )


def first_of(ray: Any, cluster: Cluster, scoring: Scoring, secrets: dict[str, str]) -> Made:
    """What makes scores on this cluster: the student is loaded once where a worker may be.

    Args:
        ray: The module, connected.
        cluster: What a worker takes.
        scoring: How rows are scored.
        secrets: Variables that the student needs.

    Raises:
        ReflectuneError: The student cannot be loaded or used.
    """
    size_of(ray, cluster, wants_gpu=scoring.wants_gpu)  # too few GPUs are told before a student is loaded
    task = ray.remote(made_of).options(**_takes(ray, cluster, scoring))
    made: Made | Trouble = ray.get(task.remote(scoring, secrets))
    if isinstance(made, Trouble):
        raise made.error()
    return made


def await_lock(run: Path) -> None:
    """Wait a little for a keeper whose driver has just been killed: it ends within a second, and its lock with it."""
    until = time.monotonic() + _LOCK_SECONDS
    while holder(run) is not None and time.monotonic() < until:
        time.sleep(0.1)


def _takes(ray: Any, cluster: Cluster, work: Work | Scoring) -> dict[str, float]:
    """What a worker takes of its node."""
    cpus = cluster.cpus
    if cpus is None:
        cpus = _CPUS_IN_THE_WORKER if work.inside else _CPUS_FOR_AN_ENDPOINT
    return {"num_cpus": cpus, "num_gpus": gpus_of(ray, cluster, wants_gpu=work.wants_gpu)}


@contextmanager
def _keeper(ray: Any, charge: Charge) -> Iterator[Any]:
    """The keeper, on this node. It ends with the pipeline, or with the driver."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    flags = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": _KEEPER_CALLS, "scheduling_strategy": here}
    keeper = ray.remote(Keeper).options(**flags).remote(charge)
    try:
        trouble = ray.get(keeper.begin.remote())
        if trouble is not None:
            raise trouble.error()
        yield keeper
    except ray.exceptions.RayActorError as fault:
        raise RunError(
            f"The process that keeps the run ended: {str(fault).strip().partition(chr(10))[0]}",
            mend="Nothing that was kept is lost: the same command goes on.",
        ) from fault
    finally:
        with suppress(Exception):
            ray.kill(keeper)
        await_lock(charge.run)


def _noted(came: set[str], take: Callable[[Record], None] | None, record: Record) -> None:
    """Take note that a row has an outcome, and hand it on."""
    came.add(ends_as(record)[0])
    if take is not None:
        take(record)


def _pending(ray: Any, keeper: Any, workers: int) -> Any:
    """The pending rows of the run as a dataset of pages; `None` where there are none.

    A worker fetches the rows of a page from the keeper. So a page that is done once more, since its worker was lost,
    holds what is still pending of it, and the cluster's memory does not hold the data.
    """
    count: int = ray.get(keeper.pending.remote())
    if not count:
        return None
    pages: list[Page] = ray.get(keeper.pages.remote(_rows_of_a_block(count, workers)))
    places = [{"first": page.first, "last": page.last} for page in pages]
    return ray.data.from_items(places, override_num_blocks=len(places))


def _given(ray: Any, rows: Sequence[Any], workers: int) -> Any:
    """Rows that the driver has, as a dataset; `None` where there are none."""
    if not rows:
        return None
    blocks = math.ceil(len(rows) / _rows_of_a_block(len(rows), workers))
    return ray.data.from_items([{"row": pickle.dumps(row)} for row in rows], override_num_blocks=blocks)


def _rows_of_a_block(rows: int, workers: int) -> int:
    least, most = _ROWS_OF_A_BLOCK
    return min(most, max(least, rows // (workers * _BLOCKS_PER_WORKER)))


def _watched(ray: Any, keeper: Any, pipeline: Any, watch: Watch) -> None:
    """Draw everything through the pipeline, and show how it goes. Being told to stop twice, leave it at once."""
    out: queue.Queue[Any] = queue.Queue()
    threading.Thread(target=_draw, args=(pipeline, out), daemon=True).start()
    told = False
    shown = 0.0
    try:
        while True:
            with suppress(queue.Empty):
                block = out.get(timeout=_TICK)
                if block is None:
                    return
                if isinstance(block, Exception):
                    raise _broken(block)
                if watch.take is not None:
                    for record in block["record"].to_pylist():
                        watch.take(pickle.loads(record))  # noqa: S301 - packed by our own worker
            if not told and watch.stopping():
                told = True
                ray.get(keeper.stop.remote())
            if time.monotonic() - shown >= _TICK:
                shown = time.monotonic()
                watch.show(ray.get(keeper.progress.remote()))
    except KeyboardInterrupt:  # the second Ctrl-C: what is in flight is lost, and what is kept is kept
        ray.get(keeper.stop.remote())


def _draw(pipeline: Any, out: queue.Queue[Any]) -> None:
    try:
        for block in pipeline.iter_batches(batch_size=None, batch_format="pyarrow"):
            out.put(block)
        out.put(None)
    except Exception as error:  # noqa: BLE001 - raised by the driver's main thread
        out.put(error)


def _broken(error: Exception) -> Exception:
    """What broke the pipeline, in one sentence."""
    last = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunError(
        f"The pipeline broke: {type(error).__name__}: {last[-1].strip()}",
        mend="Nothing that was kept is lost: the same command goes on.",
    )
