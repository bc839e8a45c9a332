"""What our own pairs are like, and what would change if each response began by saying the question again.

python examples/stats.py                      # needs the extra stats
"""

from __future__ import annotations

from pathlib import Path

from reflectune import compare, open_source, stats

PAIRS = Path(__file__).with_name("pairs.jsonl")


def main() -> None:
    """Print every figure before and after, with the 95% interval of the change."""
    examples = [row.example for row in open_source(PAIRS).rows() if row.example]
    longer = [
        (row.id, row.version.model_copy(update={"response": f"{row.question} {row.response}"})) for row in examples
    ]
    compared = compare(stats(examples), stats(longer))
    print(f"{compared.pairs} rows; languages of the responses: {compared.before.languages['response']}")
    for metric, change in compared.differences.items():
        before, after = compared.before.metrics[metric], compared.after.metrics[metric]
        sure = f"{change.interval.low:+.2f} to {change.interval.high:+.2f}" if change.interval else "all alike"
        print(f"{metric}: {before.mean:.2f}, then {after.mean:.2f}: {change.mean:+.2f} ({sure})")


if __name__ == "__main__":
    main()
