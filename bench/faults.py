"""3,111 real rows against a server that misbehaves in every way in 30% of first tries: every row ends right.

    python bench/faults.py

What the run comes to is compared byte by byte with what it comes to against a server that behaves. The server counts:
no request that got a complete, valid reply is asked again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from typing import Any

from measure import TESTS, finished, save
from on_real_rows import PROOF, recycle, replies

SHARE = 0.3
HANG_S = 30
TIMEOUT_S = 10
CONCURRENCY = 64


def run(name: str, rows: int | None, *server_flags: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recycle rows anew against a server of its own; returns the summary and what the server counted."""
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    shutil.rmtree(PROOF / name, ignore_errors=True)
    flags = ["--timeout", str(TIMEOUT_S), "--max-concurrency", str(CONCURRENCY), "--no-provenance", "--quiet"]
    if rows:
        flags += ["--limit", str(rows)]
    with Loopback("--latency-ms", "20", *server_flags) as server:
        return recycle(name, "--oracle", "loopback", "--base-url", server.base_url, *flags), server.stats()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, help="fewer rows than all; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("faults"):
        return
    well, _ = run("faults_none", arguments.rows)
    badly, stats = run("faults", arguments.rows, "--faults", str(SHARE), "--hang-s", str(HANG_S))
    exports = [(PROOF / name / "recycled.jsonl").read_bytes() for name in ("faults_none", "faults")]
    asked = 2 * badly["rows"]
    faults = dict(sorted(stats["faults"].items(), key=lambda item: -item[1]))
    checks = {
        "every row is rewritten": badly["rewritten"] == badly["rows"],
        "the data is byte by byte that of a run without faults": exports[0] == exports[1],
        "nothing that was answered well is asked again": stats["answered_twice"] == 0,
        "each request is answered well once": stats["distinct_valid"] == asked,
    }
    print(f"{sum(faults.values())} of {asked} first tries went wrong ({100 * sum(faults.values()) / asked:.1f}%):")
    for kind, count in faults.items():
        print(f"  {count:5} {kind}")
    print(f"{stats['requests']} requests; {badly['seconds']:.0f} s, {well['seconds']:.0f} s without faults")
    for check, holds in checks.items():
        print(f"{'yes' if holds else 'NO '}  {check}")
    if arguments.rows:
        return
    save(
        "faults",
        met=all(checks.values()),
        summary=badly,
        without_faults=well,
        replies=replies("faults"),
        faults=faults,
        server={name: stats[name] for name in ("requests", "distinct", "distinct_valid", "answered_twice")},
        checks=checks,
    )


if __name__ == "__main__":
    main()
