"""Benchmark files of our own making, in the layouts that `--data` reads."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

SUMS = [(f"Ann has {n} pears and gets {n + 2} more. How many has she?", 2 * n + 2) for n in range(3, 9)]
CODE = {
    "task_id": "Own/0",
    "prompt": 'def twice(n):\n    """Twice a number."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(3) == 6\n",
}


def lines(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def table(path: Path, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def arc(number: int, key: str = "B", labels: str = "ABC") -> dict[str, Any]:
    choices = [{"text": f"thing {label}{number}", "label": label} for label in labels]
    return {"id": f"own-{number}", "question": {"stem": f"What is {number}?", "choices": choices}, "answerKey": key}


def make(folder: Path) -> Path:
    """Write all of them."""
    lines(folder / "gsm8k/test.jsonl", [{"question": q, "answer": f"Add them.\n#### {a}"} for q, a in SUMS])
    lines(folder / "gsm8k/train.jsonl", [{"question": "1 and 1?", "answer": "1+1 = <<1+1=2>>2\n#### 2"}] * 3)
    lines(
        folder / "math/test.jsonl",
        [
            {"problem": "Half of one?", "answer": "\\frac{1}{2}", "unique_id": "own/1"},
            {"problem": "One and two?", "solution": "It is $\\boxed{3}$."},
        ],
    )
    lines(
        folder / "ifeval/input_data.jsonl",
        [
            {
                "key": 7,
                "prompt": "Describe rain without commas in at least 5 words.",
                "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
                "kwargs": [{}, {"relation": "at least", "num_words": 5}],
            }
        ],
    )
    (folder / "humaneval").mkdir(parents=True, exist_ok=True)
    (folder / "humaneval/HumanEval.jsonl.gz").write_bytes(gzip.compress(json.dumps(CODE).encode()))
    for subject in ("botany", "tides"):
        rows = [
            [f"What of {subject} is {n}, if any?", "this", "that", "these", "those", "ABCD"[n % 4]] for n in range(6)
        ]
        table(folder / f"mmlu/test/{subject}_test.csv", rows)
        table(folder / f"mmlu/dev/{subject}_dev.csv", [[f"{subject} {n}?", "a", "b", "c", "d", "D"] for n in range(5)])
    lines(folder / "arc/ARC-Challenge-Test.jsonl", [arc(n) for n in range(5)] + [arc(5, "2", "123"), arc(6)])
    endings = ["flies.", "walks home.", "eats the roof.", "sings a stone."]
    texts = ["\n".join([f"Walking: A man walks {n} miles. he", "1", *endings]) for n in range(12)]
    (folder / "hellaswag").mkdir(parents=True, exist_ok=True)
    (folder / "hellaswag/hellaswag_val_own.txt").write_text("\n".join(texts) + "\n")
    table(
        folder / "truthfulqa/TruthfulQA_own.csv",
        [
            ["Type", "Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers", "Source"],
            ["x", "x", "Is the sea dry?", "No", "No; It is wet", "Yes; It is dust; It is dust", "own"],
        ],
    )
    table(
        folder / "gpqa/gpqa_diamond.csv",
        [
            [
                "Record ID",
                "Question",
                "Correct Answer",
                "Incorrect Answer 1",
                "Incorrect Answer 2",
                "Incorrect Answer 3",
            ],
            ["r1", "Which?", "right one", "wrong 1", "wrong 2", "wrong 3"],
        ],
    )
    return folder
