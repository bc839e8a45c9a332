"""Recycle on a cluster of three nodes of which one is killed in the middle, in a process of its own.

    python tests/cluster_of_three.py BASE_URL DATA RUN

prints, as one JSON object, the command's exit code, the last line that it printed and what it complained about.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from loopback import stats_of


def main(base_url: str, data: str, run: str) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    # That a node is dead is seen within two seconds, not twenty.
    hurry = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": hurry}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        # Addresses of their own, so that the command joins the head and not a node that is killed.
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.2")
        doomed = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3")
        command = [sys.executable, "-m", "reflectune", "recycle", data, "--oracle", "loopback", "--run", run]
        command += ["--base-url", base_url, "--max-concurrency", "6", "--quiet", "--json"]
        command += ["--engine", "ray", "--address", cluster.address, "--workers", "3"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while stats_of(base_url)["distinct"] < 20 and process.poll() is None:
            time.sleep(0.05)
        cluster.remove_node(doomed, allow_graceful=False)
        out, err = process.communicate()
        told = {"code": process.returncode, "out": out.splitlines()[-1:], "err": err}
        sys.stdout.write(json.dumps(told) + "\n")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
