"""What a recycled row takes: requests, tokens, and room on the disk in the database, as JSON lines and as Parquet.

    python bench/row_size.py --resume

3,111 real rows are recycled against a loopback server, whose replies are of about the length that the schema invites
but repeat themselves: so real text takes as much room in the first two, and more in Parquet, which compresses it.
"""

from __future__ import annotations

import argparse
import shutil
import sys

from measure import TESTS, finished, save
from on_real_rows import PROOF, recycle
from reflectune.cluster.parts import parts_of, write_parts
from reflectune.cluster.session import Cluster, on

NAME = "row_size"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished(NAME):
        return
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    shutil.rmtree(PROOF / NAME, ignore_errors=True)
    with Loopback() as server:
        made = recycle(NAME, "--oracle", "loopback", "--base-url", server.base_url, "--quiet")
    rows, run = made["rows"], PROOF / NAME
    data = run / "recycled.jsonl"
    with on(Cluster()) as ray:
        write_parts(ray, data)
    sizes = {
        "state.sqlite": (run / "state.sqlite").stat().st_size,
        "recycled.jsonl": data.stat().st_size,
        "parquet": sum(part.stat().st_size for part in parts_of(data).iterdir()),
    }
    tokens = {"sent": made["prompt_tokens"], "received": made["completion_tokens"]}
    of_a_row = {
        "requests": round(made["requests"] / rows, 2),
        **{f"tokens_{name}": round(count / rows, 1) for name, count in tokens.items()},
        **{f"{name}_kb": round(size / rows / 1000, 3) for name, size in sizes.items()},
    }
    for name, figure in of_a_row.items():
        print(f"{name}: {figure}")
    met = made["pending"] == 0
    save(NAME, met=met, rows=rows, requests=made["requests"], tokens=tokens, bytes=sizes, of_a_row=of_a_row)


if __name__ == "__main__":
    main()
