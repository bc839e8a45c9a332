"""Judging 805 pairs of answers in both orders against its floor: 1,610 requests, 256 in flight, 200 ms latency.

    python bench/judging.py

The pairs are two models' answers to the instructions of AlpacaEval. Ours asks through the engine, which reads each
reply as a typed value and has it in the run's database before it asks for more. The floor is a bare aiohttp loop that
sends the same bodies and reads the text and the token count of each reply. Both are measured in turn, each time in a
fresh process against a fresh server, and compared by their medians; start-up is not counted. alpaca-eval's annotator
runs beside them (`peer_alpaca_eval.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bare_http import keep_busy
from measure import TESTS, Measured, finished, in_child, save
from on_real_rows import real_data

CONCURRENCY = 256
LATENCY_MS = 200
REPEATS = 3
PAIRS = 805
REQUESTS = 2 * PAIRS
BOUND = 1.2
MODELS = ("wizardlm-13b", "alpaca-7b")


def pairs() -> Any:
    """The answers of two models to the instructions of AlpacaEval, as our own command matches them.

    Where both say the same, the second ends in a space: equal looks would be asked for once.
    """
    from reflectune.evaluate.judge import matched, read_answers

    found = matched(*(read_answers(real_data(f"alpaca_eval/{name}/model_outputs.json")) for name in MODELS)).pairs
    return [replace(pair, b=f"{pair.b} ") if pair.a == pair.b else pair for pair in found]


def judging(base_url: str, folder: str) -> Callable[[], Any]:
    """Prepare a run; the work judges all pairs."""
    from pipeline import found_out
    from reflectune import Engine, RunDir, open_oracle
    from reflectune.cli.asking import calm_collector
    from reflectune.evaluate.judge import Verdict, judge
    from reflectune.oracles.naming import Address
    from reflectune.oracles.pacing import Pace

    found = pairs()
    run = RunDir(Path(folder) / "run")
    name, address = f"loopback@{base_url}", Address(connections=CONCURRENCY)
    oracle = open_oracle(name, address, recall=lambda _: asyncio.run(found_out(open_oracle(name, address))))
    calm_collector()

    async def work() -> dict[str, int]:
        engine = Engine(oracle, run.store, Pace(CONCURRENCY))
        verdicts = [said async for said in judge(found, engine) if isinstance(said, Verdict)]
        await oracle.aclose()
        run.store.flush()
        wins = sum(said.value > 0 for said in verdicts)
        return {"verdicts": len(verdicts), "requests": engine.usage.requests, "wins": wins}

    return work


def bare(base_url: str) -> Callable[[], Any]:
    """Prepare the bodies of the same requests; the work sends them."""
    import aiohttp
    import orjson

    from reflectune.criteria import schema_of
    from reflectune.evaluate.judge import ORDERS
    from reflectune.evaluate.judge.asking import Judgement, shown
    from reflectune.prompts import Prompts

    rubric = Prompts().text("en", "judge_structured.txt")
    form = {"name": "Judgement", "strict": True, "schema": schema_of(Judgement).body}
    cases = [orjson.dumps(shown(pair, order)).decode() for pair in pairs() for order in ORDERS]

    def payload(case: str) -> dict[str, Any]:
        return {
            "model": "loopback",
            "messages": [{"role": "system", "content": rubric}, {"role": "user", "content": case}],
            "max_tokens": 2048,
            "temperature": 0.0,
            "top_p": 1.0,
            "response_format": {"type": "json_schema", "json_schema": form},
        }

    async def run() -> int:
        headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

            async def ask(number: int) -> int:
                body = orjson.dumps(payload(cases[number]))
                async with session.post(f"{base_url}/chat/completions", data=body) as response:
                    reply = orjson.loads(await response.read())
                text = reply["choices"][0]["message"]["content"]
                return int(reply["usage"]["completion_tokens"]) if text else 0

            return await keep_busy(ask, len(cases), CONCURRENCY)

    return run


def measured(prepare: Callable[..., Any], *, with_folder: bool = False) -> Measured:
    """Measure a piece of work against a fresh server of its own."""
    from loopback import Loopback

    with Loopback("--latency-ms", str(LATENCY_MS)) as server, tempfile.TemporaryDirectory() as folder:
        return in_child(prepare, server.base_url, *([folder] if with_folder else []))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("judging"):
        return
    sys.path.insert(0, str(TESTS))
    ours, floor = [], []
    for _ in range(REPEATS):
        ours.append(measured(judging, with_folder=True))
        floor.append(measured(bare))
        for who, run in (("reflectune", ours[-1]), ("bare aiohttp", floor[-1])):
            print(f"{who:13} {run.wall_s:6.2f} s, {run.per(REQUESTS):5.2f} ms CPU a request, {run.peak_rss_mb:.0f} MB")
    whole = all(run.value["verdicts"] == PAIRS and run.value["requests"] == REQUESTS for run in ours)
    ratio = statistics.median(run.wall_s for run in ours) / statistics.median(run.wall_s for run in floor)
    print(f"{ratio:.3f} times as long as the bare loop, bound {BOUND}; at best {REQUESTS / CONCURRENCY * 0.2:.2f} s")
    save(
        "judging",
        met=whole and ratio <= BOUND,
        reflectune=[asdict(run) for run in ours],
        bare_aiohttp=[asdict(run) for run in floor],
        times_bare=ratio,
        bound=BOUND,
        requests=REQUESTS,
        in_flight=CONCURRENCY,
        latency_ms=LATENCY_MS,
        peer_alpaca_eval=peer(),
    )


def peer() -> dict[str, Any]:
    """The annotator of alpaca-eval on the same pairs, where it can be made to run."""
    from peer_alpaca_eval import beside

    return beside(CONCURRENCY, LATENCY_MS)


if __name__ == "__main__":
    main()
