"""Have a judge compare two answers, in both orders.

python examples/judge.py                      # the embedded model, which cannot judge: it shows how it works
python examples/judge.py gpt-4o-mini          # or any other model
"""

from __future__ import annotations

import asyncio
import sys

from reflectune import Engine, Example, Failure, MemoryStore, Pair, judge, open_oracle

QUESTION = Example("sleep", "How can I sleep better?", "")
PAIR = Pair("sleep", QUESTION, a="Go to bed at the same time each day, in a dark, cool room.", b="Sleep more.")


async def main(name: str) -> None:
    """Print the verdict, and what the judge said in each order."""
    engine = Engine(open_oracle(name), MemoryStore())
    async for verdict in judge([PAIR], engine):
        if isinstance(verdict, Failure):
            print(f"no verdict at {verdict.stage}: {verdict.reason}, {verdict.detail}")
            continue
        print(f"A against B: {verdict.outcome}")
        for look in verdict.looks:
            print(f"  {look.order}: A {look.a.overall}, B {look.b.overall}")
    await engine.oracle.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
