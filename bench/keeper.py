"""How many requests a second the keeper of a cluster carries: turns given out, replies committed.

    python bench/keeper.py --resume

Two actors take turns and hand over replies as fast as the keeper lets them, with nothing in between: no endpoint, no
prompts, no reading. It is the limit of one run folder on Ray, whatever the number of nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any

from measure import finished, save
from on_real_rows import PROOF
from reflectune.cluster.keeper import Charge, Keeper
from reflectune.cluster.line import Line
from reflectune.cluster.session import Cluster, on
from reflectune.records import Message, Reply, Request

WORKERS = 2
EACH = 128
"""Requests in flight of each actor."""
REQUESTS = 4000
CHARACTERS = 4500
"""Of a prompt: 1,125 tokens of four characters."""


class Asker:
    """Does what a worker does with the keeper, and nothing else."""

    def __init__(self, name: str, keeper: Any) -> None:
        self._name = name
        self._keeper = keeper

    async def ask(self, count: int) -> None:
        """Take so many turns, and give each back with a reply."""

        async def carry(calls: Any) -> Any:
            return await self._keeper.carry.remote(self._name, calls)

        line, numbers = Line(carry), iter(range(count))

        async def one_after_the_other() -> None:
            for number in numbers:
                request = Request((Message("user", f"{self._name} {number} ".ljust(CHARACTERS, "x")),))
                await self._keeper.take.remote(self._name, number, request.key("oracle"), request)
                await line.call("keep", number, Reply(text="y" * 1300, prompt_tokens=1125, completion_tokens=327), None)

        await asyncio.gather(*(one_after_the_other() for _ in range(EACH)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("keeper"):
        return
    run = PROOF / "keeper"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    with on(Cluster(workers=WORKERS)) as ray:
        charge = Charge(Path(run).resolve(), os.getpid(), ceiling=WORKERS * EACH, oracle="oracle")
        keeper = ray.remote(Keeper).options(num_cpus=0, max_concurrency=10_000).remote(charge)
        assert ray.get(keeper.begin.remote()) is None
        askers = [ray.remote(Asker).options(num_cpus=0).remote(name, keeper) for name in "ab"]
        ray.get([asker.ask.remote(10) for asker in askers])  # so that all are there
        started = time.monotonic()
        ray.get([asker.ask.remote(REQUESTS // WORKERS) for asker in askers])
        seconds = time.monotonic() - started
        kept = ray.get(keeper.end.remote()).usage.requests
    rate = REQUESTS / seconds
    print(f"{kept} replies kept, {rate:.0f} requests a second over two cores that the askers share")
    save("keeper", met=kept == REQUESTS, requests_per_s=round(rate, 1), requests=REQUESTS, askers=WORKERS, each=EACH)


if __name__ == "__main__":
    main()
