"""3,111 real rows against a server on the loopback interface: each ends as a rewrite or with a reason.

python bench/cherry_server.py
"""

from __future__ import annotations

import argparse
import sys

from measure import TESTS, finished, save
from on_real_rows import recycle, replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("cherry_server"):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    with Loopback("--latency-ms", "50") as server:
        summary = recycle("cherry_server", "--oracle", "loopback", "--base-url", server.base_url, "--fresh", "--quiet")
        stats = server.stats()
    print(f"{summary['rewritten']} of {summary['rows']} rows are rewritten; failed: {summary['failures']}")
    print(f"{stats['requests']} requests, {stats['distinct']} of them different, in {summary['seconds']} s")
    save(
        "cherry_server",
        met=summary["pending"] == 0,
        summary=summary,
        replies=replies("cherry_server"),
        requests=stats["requests"],
    )


if __name__ == "__main__":
    main()
