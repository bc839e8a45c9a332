"""Tokens a second of the embedded model: through the engine and its store, and in a bare loop of the same library.

    python bench/embedded.py

Both write the same number of tokens for the same prompts with as many requests in flight; each in its own process, in
turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import finished, in_child, save

PROMPTS = [
    f"Describe a walk along a river in {place}. Say what you see, hear and smell, and whom you meet on the way."
    for place in ("spring", "summer", "autumn", "winter", "a town", "a forest", "the mountains", "a desert", "the rain",
                  "the fog", "the morning", "the evening", "the far north", "the south", "a dream", "a film")
]  # fmt: skip
TOKENS = 128
SLOTS = 8
ROUNDS = 3
BOUND = 0.9


def bare() -> Callable[[], int]:
    """The library alone, with as many threads as slots."""
    from reflectune.oracles.local import LocalOracle

    server = LocalOracle.open("local")._server  # noqa: SLF001 - the same model, without us

    def one(prompt: str) -> int:
        body = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": TOKENS,
            "temperature": 0.2,
            "top_p": 0.9,
            "repeat_penalty": 1.1,
            "seed": 0,
        }
        return int(server.handle_chat_completions(body)["usage"]["completion_tokens"])

    def work() -> int:
        with ThreadPoolExecutor(SLOTS) as threads:
            return sum(threads.map(one, PROMPTS))

    return work


def ours(folder: str) -> Callable[[], Any]:
    """The oracle under the engine, with a run's store."""
    from reflectune import Engine, Message, Reply, Request, RunDir, open_oracle
    from reflectune.oracles.engine import Answer

    oracle = open_oracle("local")
    run = RunDir(Path(folder) / "run")

    async def work() -> int:
        engine = Engine(oracle, run.store)

        async def one(prompt: str) -> int:
            sampling = oracle.sampling.__class__(0.2, 0.9, TOKENS, 1.1)
            answer = await engine.ask(Request((Message("user", prompt),), sampling), lambda reply: reply)
            if not isinstance(answer, Answer) or not isinstance(answer.value, Reply):
                raise SystemExit(f"the embedded model gave no reply: {answer}")
            return answer.value.completion_tokens

        return sum([tokens async for tokens in engine.work(PROMPTS, one)])

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("embedded"):
        return
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            for name, measured in (("bare", in_child(bare)), ("ours", in_child(ours, folder))):
                rates[name].append(measured.value / measured.wall_s)
                print(f"{name}: {measured.value} tokens in {measured.wall_s:.1f} s, {rates[name][-1]:.1f} a second")
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["bare"])
    print(f"{ratio:.3f} of the bare library's tokens a second (bound {BOUND})")
    save("embedded", met=ratio >= BOUND, rates=rates, ratio=ratio, bound=BOUND)


if __name__ == "__main__":
    main()
