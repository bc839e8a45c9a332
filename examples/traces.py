"""Make traces of worked sums: a mistake is planted, a reflection finds it. No model is asked.

python examples/traces.py                     # our own sums
python examples/traces.py gsm8k.jsonl         # or any file of the same form
"""

from __future__ import annotations

import sys
from pathlib import Path

from reflectune import Failure, Questions, TraceSettings, parse, plant_traces

SUMS = Path(__file__).with_name("sums.jsonl")


def main(source: str) -> None:
    """Print each trace, and what of it is thought, reflected and answered."""
    for trace in plant_traces(Questions(source).rows(), TraceSettings(clean=0)):
        if isinstance(trace, Failure):
            print(f"{trace.id}: {trace.reason}, {trace.detail}")
            continue
        answer = trace.messages[-1].content
        print(f"── {trace.trace.mistake}: {parse(answer).output}\n{answer}\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(SUMS))
