"""The whole pipeline against its floor and its peers: 2,000 rows, 4,000 requests, 256 in flight.

    python bench/pipeline.py

At 500 ms latency against the floor (requests / concurrency x latency); at 200 ms against a bare aiohttp loop over as
many requests, timed in the same run, with a plain openai SDK loop beside it. Start-up is not counted: before the clock
starts the rows are in the run's folder, the language model of the quality rules is loaded, and it is known what the
endpoint takes. Writing the data files is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bare_http import bare_aiohttp, openai_sdk
from measure import TESTS, Measured, finished, in_child, save

ROWS = 2000
REQUESTS = 2 * ROWS
CONCURRENCY = 256
BOUNDS = {"times_floor_at_500_ms": 1.25, "times_bare_at_200_ms": 1.2, "cpu_ms_per_request": 1.0, "peak_rss_mb": 200}


def pipeline(base_url: str, folder: str) -> Callable[[], Any]:
    """Prepare a run over 2,000 rows; the work recycles them and writes the data files."""
    from reflectune import Engine, Recipe, RunDir, open_oracle, open_source, recycle
    from reflectune.cli.asking import calm_collector
    from reflectune.language import detect
    from reflectune.oracles.naming import Address
    from reflectune.oracles.pacing import Pace
    from reflectune.recycling import STAGE, fingerprint, prompts_hash
    from reflectune.runs import Maker
    from reflectune.runs.export import Export, export

    settings = Recipe(data="rows").recycle
    source = open_source(str(rows_file(Path(folder))))
    run = RunDir(Path(folder) / "run")
    run.ingest(row for number, row in enumerate(source.rows()) if number < ROWS)
    name, address = f"loopback@{base_url}", Address(connections=CONCURRENCY)
    oracle = open_oracle(name, address, recall=lambda _: asyncio.run(found_out(open_oracle(name, address))))
    run.made_by(STAGE, Maker(fingerprint(oracle, settings), oracle.name, prompts_hash(oracle, settings)))
    detect("Der Hund schläft heute den ganzen Tag im Garten hinter dem Haus.")

    calm_collector()

    async def work() -> dict[str, int]:
        engine = Engine(oracle, run.store, Pace(CONCURRENCY))
        async for _ in recycle(run.pending(STAGE), engine, settings):
            pass
        await oracle.aclose()
        export(run, Export(source.mapping))
        counts = run.counts(STAGE)
        return {"rewritten": counts.done, "failed": counts.failed, "requests": engine.usage.requests}

    return work


async def found_out(oracle: Any) -> str | None:
    """What an oracle knows of its endpoint after one request, as a run that is taken up again does."""
    from reflectune import Engine, MemoryStore, Message
    from reflectune.ask import Manner, ask_value
    from reflectune.criteria import ResponseReflection
    from reflectune.oracles.naming import knowledge_of

    manner = Manner(Engine(oracle, MemoryStore()), oracle.sampling, retries=0)
    await ask_value(manner, [Message("user", "Is this one taken?")], ResponseReflection, lambda _: None)
    await oracle.aclose()
    return knowledge_of(oracle)


def rows_file(folder: Path) -> Path:
    """Real rows where they are at hand (REFLECTUNE_TEST_DATA), else as many of our own making."""
    real = Path(os.environ.get("REFLECTUNE_TEST_DATA", "../shared/data")) / "instruct" / "cherry_alpaca_5_percent.json"
    if real.is_file():
        return real
    made = folder / "rows.jsonl"
    lines = (
        f'{{"instruction": "Explain in a few sentences how river number {n} got its name.", "input": "", '
        f'"output": "{"It comes from an old word for running water that people used there. " * 6}"}}'
        for n in range(ROWS)
    )
    made.write_text("\n".join(lines), encoding="utf-8")
    return made


def at(latency_ms: int, *measures: tuple[Callable[..., Any], tuple[Any, ...]]) -> list[Measured]:
    """Measure each piece of work against a fresh server of its own."""
    sys.path.insert(0, str(TESTS))
    from loopback import Loopback

    results = []
    for prepare, arguments in measures:
        with Loopback("--latency-ms", str(latency_ms)) as server, tempfile.TemporaryDirectory() as folder:
            results.append(in_child(prepare, server.base_url, *(arguments or (folder,))))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("pipeline"):
        return
    (slow,) = at(500, (pipeline, ()))
    loop = (REQUESTS, CONCURRENCY)
    ours, bare, sdk = at(200, (pipeline, ()), (bare_aiohttp, loop), (openai_sdk, loop))
    floor = REQUESTS / CONCURRENCY * 0.5
    ratios = {
        "times_floor_at_500_ms": slow.wall_s / floor,
        "times_bare_at_200_ms": ours.wall_s / bare.wall_s,
        "cpu_ms_per_request": slow.per(REQUESTS),
        "peak_rss_mb": slow.peak_rss_mb,
    }
    for name, measured in (("500 ms", slow), ("200 ms", ours), ("bare aiohttp", bare), ("openai SDK", sdk)):
        cpu = measured.per(REQUESTS)
        print(f"{name:13} {measured.wall_s:6.2f} s, {cpu:5.2f} ms CPU a request, {measured.peak_rss_mb:.0f} MB at most")
    for name, ratio in ratios.items():
        print(f"{name:22} {ratio:8.3f}   bound {BOUNDS[name]}")
    met = all(ratio <= BOUNDS[name] for name, ratio in ratios.items())
    save("pipeline", met=met, slow=slow, fast=ours, bare=bare, openai=sdk, floor_s=floor, ratios=ratios, bounds=BOUNDS)


if __name__ == "__main__":
    main()
