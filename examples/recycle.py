"""Recycle a few pairs from Python, without a run folder.

python examples/recycle.py                    # with the embedded model
python examples/recycle.py gpt-4o-mini        # or with any other oracle
"""

from __future__ import annotations

import asyncio
import sys

from reflectune import Engine, Example, MemoryStore, RecycleSettings, open_oracle, recycle

PAIRS = [
    Example("rainbow", "Why do rainbows appear?", "Because of rain and sun."),
    Example("desk", "Give one tip for a tidy desk.", "Throw things away."),
]


async def main(name: str) -> None:
    """Recycle the pairs and print what became of each."""
    engine = Engine(open_oracle(name), MemoryStore())
    async for row in recycle(PAIRS, engine, RecycleSettings(reflect="both")):
        if row.failure:
            print(f"{row.id}: failed at {row.failure.stage}, {row.failure.reason}")
        else:
            print(f"{row.id}: {row.best.instruction}\n    {row.best.response}\n")
    await engine.oracle.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
