"""A Ray cluster to work on: one that is joined, or one that is started on this machine and ends with the command."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from reflectune.errors import SettingsError
from reflectune.optional import load_optional

__all__ = ["Cluster", "gpus_of", "on", "size_of"]

_PATIENCE = 10.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the work is done.

    Attributes:
        address: The cluster's head, as `auto` or `10.0.0.1:6379`; `None` starts one on this machine.
        workers: How many workers there are; by default one for each node, or for each GPU where they take one.
        cpus: Processors that each of them takes; by default one for a model in the worker, and hardly any for an
            endpoint, so that there is always room for a worker that takes a lost one's place.
        gpus: GPUs that each of them takes; by default one for a transformers model in the worker, where there are any.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@contextmanager
def on(cluster: Cluster) -> Iterator[Any]:
    """Work on a cluster; gives the module `ray`. A cluster that was started here ends with it.

    Within it, it may be called again, and gives the same.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingsError: There is no cluster at the address.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray = load_optional("ray", "--engine ray", "ray")
    load_optional("ray.data", "--engine ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    flags: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "reflectune"}
    if cluster.address is None:
        flags |= {
            "address": "local",
            "include_dashboard": False,
            "num_cpus": max(os.cpu_count() or 1, cluster.workers or 1),
        }
    else:
        flags["address"] = cluster.address
    try:
        _knock(cluster.address)
        with _silence():
            ray.init(**flags)
    except (OSError, ValueError, RuntimeError) as fault:
        first = str(fault).strip().partition("\n")[0]
        raise SettingsError(
            f"There is no Ray cluster at {cluster.address or 'this machine'}: {first}",
            mend="Start its head with `ray start --head`, or leave --address out to start one on this machine.",
        ) from fault
    try:
        _hush(ray)
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """See whether anybody is there: Ray itself would try for minutes.

    Raises:
        OSError: Nobody is.
    """
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Ray's own libraries say while they start from standard error; an error is raised all the same."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def size_of(ray: Any, cluster: Cluster, *, wants_gpu: bool = False) -> int:
    """How many workers there are to be.

    Args:
        ray: The module, connected.
        cluster: How many were asked for.
        wants_gpu: Whether what they do takes a GPU where there is one.

    Raises:
        SettingsError: There are too few GPUs for so many.
    """
    share = gpus_of(ray, cluster, wants_gpu=wants_gpu)
    if not share:
        return cluster.workers or max(1, sum(node["Alive"] for node in ray.nodes()))
    gpus = _gpus_in(ray)
    workers = cluster.workers or max(1, int(gpus / share))
    if workers * share > gpus:
        raise SettingsError(
            f"The workers take {workers * share:g} GPUs ({workers} of them, {share:g} each), and the cluster has"
            f" {gpus:g}.",
            mend="Lower --workers, or leave it out: then there is one for each GPU.",
        )
    return workers


def gpus_of(ray: Any, cluster: Cluster, *, wants_gpu: bool) -> float:
    """How many GPUs a worker takes: none where the cluster has none."""
    if cluster.gpus is not None:
        return cluster.gpus
    return 1.0 if wants_gpu and _gpus_in(ray) else 0.0


def _gpus_in(ray: Any) -> float:
    return float(ray.cluster_resources().get("GPU", 0.0))


def _hush(ray: Any) -> None:
    """Leave standard error to our own progress: Ray Data logs every execution to its files in any case."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
