"""The quality gates over 52,002 rows, and their near duplicates against a comparison of every pair.

    python bench/gates.py

Time and memory: the 3,111 real rows over and over until there are 52,002, twice. Once `distinct`: every other word ends
in the number of the round, so that no two rows are alike and all must be remembered. Once `numbered`: only the
instruction begins with a number, so that nearly all are duplicates. Both against evaluation files of every kind, with
20 of their questions planted, each of which must be found.

Near duplicates: the 3,111 real rows of which 600 are replaced by others with some words changed; marks against those
of an exact comparison of every pair of texts that share a shingle.
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import Measured, finished, in_child, save

ROWS = 52_002
PLANTED_EVERY, PLANTED_FROM = 2_500, "gsm8k/test.jsonl"
REWORDED = 600
DATA = Path(os.environ.get("REFLECTUNE_TEST_DATA", "../shared/data"))
AGAINST = (
    "mmlu/test",
    "mmlu/dev",
    "arc/ARC-Challenge-Test.jsonl",
    "hellaswag/hellaswag_val_first1000.txt",
    "truthfulqa/TruthfulQA_first500.csv",
    "humaneval/HumanEval.jsonl.gz",
    "mt_bench/question.jsonl",
    "gsm8k/test.jsonl",
    "gsm8k/train_first2000.jsonl",
    "math/math500_test.jsonl",
    "ifeval/input_data.jsonl",
    "alpaca_eval/text_davinci_003/model_outputs.json",
)
NEAR = (0.5, 0.6, 0.7, 0.8, 0.9)
BOUNDS = {"seconds": 120.0, "peak_rss_mb": 350.0, "least_recall": 0.98, "least_precision": 1.0}


def real_rows() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((DATA / "instruct" / "cherry_alpaca_5_percent.json").read_text())
    return rows


def questions() -> list[str]:
    """Planted ones: the first long questions of an evaluation file."""
    lines = (DATA / PLANTED_FROM).read_text().splitlines()
    texts = [json.loads(line)["question"] for line in lines]
    return [text for text in texts if len(text.split()) > 25][: ROWS // PLANTED_EVERY]


def numbered(text: str, number: int) -> str:
    """Every other word ends in the number."""
    words = text.split(" ")
    words[::2] = [f"{word}{number}" if word else word for word in words[::2]]
    return " ".join(words)


def candidates(shape: str, count: int) -> Iterator[Any]:
    """The rows of one of the two shapes, one at a time."""
    from reflectune.gates import Candidate
    from reflectune.records import Version

    rows, planted = real_rows(), questions()
    for number in range(count):
        row, turn = rows[number % len(rows)], number // len(rows)
        instruction, response = f"{row['instruction']} {row.get('input', '')}".strip(), row["output"]
        if shape == "distinct":
            instruction, response = numbered(instruction, turn), numbered(response, turn)
        else:
            instruction = f"Number {number}: {instruction}"
        if number % PLANTED_EVERY == PLANTED_EVERY - 1:
            instruction = planted[number // PLANTED_EVERY]
        old = Version(instruction=row["instruction"], input=row.get("input", ""), response=row["output"])
        yield Candidate(str(number), old, Version(instruction=instruction, response=response))


def all_gates(shape: str, count: int) -> Callable[[], Any]:
    """Prepare nothing; the work reads the evaluation files and looks at every row."""
    from reflectune.gates import find_marks
    from reflectune.language import detect

    detect("Der Hund schläft heute den ganzen Tag im Garten hinter dem Haus.")
    start = resident_mb()

    def work() -> dict[str, Any]:
        seen: dict[str, set[str]] = defaultdict(set)
        resident: dict[str, float] = {"before": start}

        def watched() -> Iterator[Any]:
            for number, candidate in enumerate(candidates(shape, count)):
                if number in {1, 5_000}:
                    resident[f"row {number}"] = resident_mb()
                yield candidate
            resident["last row"] = resident_mb()

        for mark in find_marks(watched(), against=[DATA / name for name in AGAINST]):
            seen[mark.gate].add(mark.id)
        planted = {str(number) for number in range(count) if number % PLANTED_EVERY == PLANTED_EVERY - 1}
        marked = {gate: len(ids) for gate, ids in sorted(seen.items())}
        return {"marked": marked, "planted_missed": len(planted - seen["contamination"]), "resident_mb": resident}

    return work


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmRSS:"))


def reworded(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """The rows as pairs; some are others with a share of their words changed, from none to a third."""
    chance = random.Random(17)
    pairs = [(f"{row['instruction']} {row.get('input', '')}".strip(), row["output"]) for row in rows]
    vocabulary = sorted({word for _, output in pairs[:200] for word in output.split()})
    for place in chance.sample(range(len(pairs)), REWORDED):
        share = chance.uniform(0, 0.33)
        texts = [text.split() for text in pairs[chance.randrange(len(pairs))]]
        changed = [[chance.choice(vocabulary) if chance.random() < share else word for word in text] for text in texts]
        pairs[place] = (" ".join(changed[0]), " ".join(changed[1]))
    return pairs


def compared(pairs: list[tuple[str, str]]) -> dict[tuple[int, int], float]:
    """The true similarity of every two rows (the higher of their halves'), where they share a shingle at all."""
    from reflectune.gates import GateSettings
    from reflectune.gates.duplicate import shingles
    from reflectune.language import length

    settings = GateSettings()
    found: dict[tuple[int, int], float] = {}
    for half in (0, 1):
        holders: dict[str, list[int]] = defaultdict(list)
        sizes: list[int] = []
        for later, pair in enumerate(pairs):
            text = pair[half]
            known = shingles(text, settings) if half == 0 or length(text) >= settings.shared_response else set()
            sizes.append(len(known))
            shared = Counter(earlier for shingle in known for earlier in holders[shingle])
            for earlier, both in shared.items():
                alike = both / (sizes[later] + sizes[earlier] - both)
                if alike >= min(NEAR):
                    found[earlier, later] = max(alike, found.get((earlier, later), 0.0))
            for shingle in known:
                holders[shingle].append(later)
    return found


def marked_exactly(similarities: dict[tuple[int, int], float], near: float) -> set[str]:
    """The rows that are like an earlier one which is not marked itself."""
    earlier: dict[int, list[int]] = defaultdict(list)
    for (first, second), alike in similarities.items():
        if alike >= near:
            earlier[second].append(first)
    gone: set[int] = set()
    for row in sorted(earlier):
        if any(other not in gone for other in earlier[row]):
            gone.add(row)
    return {str(row) for row in gone}


def near_duplicates() -> dict[str, dict[str, float]]:
    """Precision and recall of the marks at several thresholds; a mark counts as true where its pair is."""
    from reflectune.gates import Candidate, GateSettings, find_marks
    from reflectune.records import Version

    pairs = reworded(real_rows())
    similarities = compared(pairs)
    old = Version(instruction="", response="")
    rows = [Candidate(str(n), old, Version(instruction=i, response=r)) for n, (i, r) in enumerate(pairs)]
    results = {}
    for near in NEAR:
        marks = list(find_marks(rows, GateSettings(near=near), gates=["duplicate"]))
        true = [similarities.get((int(mark.other), int(mark.id)), 0.0) >= near for mark in marks]
        expected = marked_exactly(similarities, near)
        found = {mark.id for mark in marks}
        recall = len(found & expected) / len(expected)
        results[f"{near}"] = {"expected": len(expected), "recall": recall, "precision": sum(true) / len(true)}
    return results


def show(shape: str, measured: Measured) -> None:
    value = measured.value
    resident = ", ".join(f"{name} {mb:.0f}" for name, mb in value["resident_mb"].items())
    print(f"{shape:9} {measured.wall_s:6.1f} s, {1000 * measured.per(ROWS):.0f} us CPU a row, resident MB: {resident}")
    print(f"          marked {value['marked']}, planted and missed: {value['planted_missed']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    if parser.parse_args().resume and finished("gates"):
        return
    if not DATA.is_dir():
        raise SystemExit(f"gates: no real data: {DATA} is not there (REFLECTUNE_TEST_DATA names the folder)")
    shapes = {shape: in_child(all_gates, shape, ROWS) for shape in ("distinct", "numbered")}
    for shape, measured in shapes.items():
        show(shape, measured)
    near = near_duplicates()
    for threshold, result in near.items():
        told = f"{result['expected']} rows, recall {result['recall']:.4f}, precision {result['precision']:.4f}"
        print(f"near duplicates from {threshold}: {told}")
    figures = {
        "seconds": max(measured.wall_s for measured in shapes.values()),
        "peak_rss_mb": max(measured.peak_rss_mb for measured in shapes.values()),
        "least_recall": min(result["recall"] for result in near.values()),
        "least_precision": min(result["precision"] for result in near.values()),
    }
    for name, figure in figures.items():
        print(f"{name:16} {figure:8.3f}   bound {BOUNDS[name]}")
    met = all(
        figure >= BOUNDS[name] if name.startswith("least") else figure <= BOUNDS[name]
        for name, figure in figures.items()
    )
    met = met and not any(measured.value["planted_missed"] for measured in shapes.values())
    save("gates", met=met, rows=ROWS, **shapes, near_duplicates=near, figures=figures, bounds=BOUNDS)


if __name__ == "__main__":
    main()
