"""A Ray cluster of three nodes: a node killed in the middle, the driver killed in the middle, and 1, 2 and 4 workers.

    python bench/cluster.py --resume

3,111 real rows are recycled against a loopback server. One of the three nodes is removed with `kill -9` in the middle;
another run's driver is killed with `kill -9` and the same command goes on. Both times the data is byte by byte that of
the engine of one machine, and the server counts what was asked for twice. Then the server is slow, and the requests a
second of 1, 2 and 4 workers are compared once all of them are at work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from measure import TESTS, finished, save
from on_real_rows import PROOF, cherry

ALL_ROWS = 3111
CONCURRENCY = 48
LATENCY_MS = 250
SLOW_MS = 1000
EACH = 8
"""Requests in flight of each worker where the server is slow."""
WORKERS = (1, 2, 4)
LEAST_SPEEDUP = {2: 1.7, 4: 3.2}
HEAD = {"num_cpus": 2, "include_dashboard": False}
"""The other nodes have addresses of their own, so that the driver joins the head and not one that is killed."""
ENVIRONMENT = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}


def command(run: Path, base_url: str, rows: int, *flags: str, concurrency: int = CONCURRENCY) -> list[str]:
    asked = ["--oracle", "loopback", "--base-url", base_url, "--limit", str(rows), "--run", str(run), "--quiet"]
    asked += ["--max-concurrency", str(concurrency), *flags]
    return [sys.executable, "-m", "reflectune", "recycle", str(cherry()), *asked]


def repeats(stats: dict[str, Any]) -> int:
    return int(stats["requests"]) - int(stats["distinct"])


def wait_until(server: Any, requests: int, process: subprocess.Popen[Any]) -> None:
    """Wait until the server was asked for so many different things."""
    while server.stats()["distinct"] < requests:
        if process.poll() is not None:
            raise SystemExit(f"the command ended early, with code {process.returncode}")
        time.sleep(0.2)


def one_machine(loopback: Any, rows: int) -> tuple[bytes, int]:
    run = PROOF / "cluster_none"
    shutil.rmtree(run, ignore_errors=True)
    with loopback() as server:
        subprocess.run(command(run, server.base_url, rows), check=True)
        port = urlsplit(server.base_url).port
    return (run / "recycled.jsonl").read_bytes(), int(port or 0)


def node_lost(loopback: Any, cluster: Any, rows: int, port: int) -> dict[str, Any]:
    """Remove a node with a worker on it when half of the requests were asked."""
    run = PROOF / "cluster_node"
    shutil.rmtree(run, ignore_errors=True)
    doomed = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3")
    with loopback("--latency-ms", str(LATENCY_MS), "--port", str(port)) as server:
        started = time.monotonic()
        there = command(run, server.base_url, rows, "--engine", "ray", "--address", cluster.address, "--workers", "3")
        there = [*(flag for flag in there if flag != "--quiet"), "--json"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(there, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)
        wait_until(server, rows, process)
        cluster.remove_node(doomed, allow_graceful=False)
        at = server.stats()["distinct"]
        output, told = process.communicate()
        seconds, stats = time.monotonic() - started, server.stats()
    summary = json.loads(output.splitlines()[-1])
    failures = (run / "failures.jsonl").read_bytes().count(b"\n")
    return {
        "data": (run / "recycled.jsonl").read_bytes(),
        "code": process.returncode,
        "rows": summary["rows"],
        "explained": summary["rewritten"] + failures,
        "a_worker_was_lost": "lost and started anew" in told,
        "pending": summary["pending"],
        "killed_at_request": at,
        "requests": stats["requests"],
        "asked_again": repeats(stats),
        "seconds": round(seconds, 1),
    }


def driver_lost(loopback: Any, cluster: Any, rows: int, port: int) -> dict[str, Any]:
    """End the driver with `kill -9` when half of the requests were asked, and start the same command again."""
    run = PROOF / "cluster_driver"
    shutil.rmtree(run, ignore_errors=True)
    with loopback("--latency-ms", str(LATENCY_MS), "--port", str(port)) as server:
        there = command(run, server.base_url, rows, "--engine", "ray", "--address", cluster.address, "--workers", "3")
        process = subprocess.Popen(there, env=ENVIRONMENT)
        wait_until(server, rows, process)
        process.kill()
        process.wait()
        at = server.stats()["distinct"]
        again = subprocess.run(there, env=ENVIRONMENT, check=False)
        stats = server.stats()
    return {
        "data": (run / "recycled.jsonl").read_bytes(),
        "code": again.returncode,
        "killed_at_request": at,
        "requests": stats["requests"],
        "asked_again": repeats(stats),
    }


def rate(loopback: Any, cluster: Any, workers: int, rows: int) -> float:
    """Requests a second, the median over spans of three seconds from when all workers are at work to when rows end."""
    run = PROOF / f"cluster_{workers}"
    shutil.rmtree(run, ignore_errors=True)
    full = EACH * workers
    with loopback("--latency-ms", str(SLOW_MS)) as server:
        flags = ("--engine", "ray", "--address", cluster.address, "--workers", str(workers))
        process = subprocess.Popen(command(run, server.base_url, rows, *flags, concurrency=full), env=ENVIRONMENT)
        seen: list[tuple[float, int]] = []
        while process.poll() is None:
            stats = server.stats()
            # All are at work from when as many are in flight as may be, and until hardly any row is left to begin.
            if stats["in_flight"] >= full - 1 or seen:
                seen.append((time.monotonic(), stats["requests"]))
            time.sleep(0.25)
        if process.returncode:
            raise SystemExit(f"{workers} workers ended with code {process.returncode}")
    busy = [(at, count) for at, count in seen if count <= 0.9 * 2 * rows]
    spans = []
    first = 0
    for last in range(len(busy)):
        if busy[last][0] - busy[first][0] >= 3.0:
            spans.append((busy[last][1] - busy[first][1]) / (busy[last][0] - busy[first][0]))
            first = last
    return statistics.median(spans)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ALL_ROWS, help="fewer of them; then nothing is saved")
    parser.add_argument("--slow-rows", type=int, default=160, help="rows for each worker where the server is slow")
    arguments = parser.parse_args()
    if arguments.resume and finished("cluster"):
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    sys.path.insert(0, str(TESTS))
    from ray.cluster_utils import Cluster

    from loopback import Loopback

    rows = arguments.rows
    data, port = one_machine(Loopback, rows)
    cluster = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        cluster.add_node(num_cpus=2, node_ip_address="127.0.0.2")
        node = node_lost(Loopback, cluster, rows, port)
        print({name: value for name, value in node.items() if name != "data"}, flush=True)
        driver = driver_lost(Loopback, cluster, rows, port)
        print({name: value for name, value in driver.items() if name != "data"}, flush=True)
        rates = {n: rate(Loopback, cluster, n, arguments.slow_rows * n) for n in WORKERS}
    finally:
        cluster.shutdown()
    speedups = {n: rates[n] / rates[1] for n in WORKERS}
    for n in WORKERS:
        print(f"{n} workers: {rates[n]:.1f} requests/s of {1000 * EACH * n / SLOW_MS:.0f}, {speedups[n]:.2f} times one")
    checks = {
        "a node lost: the data is byte by byte that of one machine": node.pop("data") == data,
        "a node lost: one with a worker": node["a_worker_was_lost"],
        "a node lost: every row is answered or explained": node["code"] == 0 and node["explained"] == node["rows"],
        "a node lost: repeats are within what was in flight": node["asked_again"] <= CONCURRENCY,
        "the driver lost: the data is byte by byte that of one machine": driver.pop("data") == data,
        "the driver lost: repeats are within what was in flight": driver["asked_again"] <= CONCURRENCY,
        **{f"{n} workers are {least} times as fast": speedups[n] >= least for n, least in LEAST_SPEEDUP.items()},
    }
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {check}")
    if rows < ALL_ROWS:
        return
    save(
        "cluster",
        met=all(checks.values()),
        node_lost=node,
        driver_lost=driver,
        requests_per_s={str(n): round(one, 2) for n, one in rates.items()},
        speedups={str(n): round(one, 3) for n, one in speedups.items()},
        latency_ms=SLOW_MS,
        in_flight_each=EACH,
        concurrency=CONCURRENCY,
        checks=checks,
    )


if __name__ == "__main__":
    main()
