"""Have a model answer the questions of our own pairs.

python examples/generate.py                   # the embedded model
python examples/generate.py runs/x/student    # a student that was trained, or any other model
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from reflectune import Engine, Failure, MemoryStore, Message, Prompt, Sampling, generate, open_model, open_source

PAIRS = Path(__file__).with_name("pairs.jsonl")


async def main(name: str) -> None:
    """Print each answer as it lands."""
    questions = {row.example.id: row.example.question for row in open_source(PAIRS).rows() if row.example}
    prompts = [Prompt(key, (Message("user", question),)) for key, question in questions.items()]
    engine = Engine(open_model(name), MemoryStore())
    async for answer in generate(prompts, engine, Sampling(temperature=0, max_tokens=24)):
        said = f"{answer.reason}: {answer.detail}" if isinstance(answer, Failure) else answer.text
        print(f"> {questions[answer.id]}\n{said}\n")
    await engine.oracle.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "local"))
