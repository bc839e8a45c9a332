"""Train the embedded model on 256 real rows: adapters with three seeds, all weights with one; then have it answer.

The loss on 64 held-out rows is to fall, row by row, by more than chance explains: the 95% interval of the mean fall of
a row's loss lies above 0 for every seed. The tuned student, merged and written as GGUF, is to answer in the embedded
runtime.

make proof-training
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from measure import finished, save
from on_real_rows import PROOF, cherry

NAME = "training"
ROWS, HELD_OUT, LENGTH = 256, 64, 512
COMMON = (
    "--epochs",
    "1",
    "--batch",
    "16",
    "--max-length",
    str(LENGTH),
    "--set",
    "checkpoints=1",
    "--set",
    "evaluations=2",
)
LORA = ("--method", "lora", "--learning-rate", "5e-4", "--merge", "--gguf", "q8_0")
FULL = ("--method", "full", "--learning-rate", "2e-5", "--gguf", "q8_0")
RUNS = {**{f"lora-{seed}": (*LORA, "--seed", str(seed)) for seed in range(3)}, "full-0": FULL}
QUESTIONS = ("What is the capital of France?", "Name three healthy foods.")


def data() -> tuple[Path, Path]:
    """The rows to learn from, and those that the loss is measured on."""
    rows = json.loads(cherry().read_text(encoding="utf-8"))
    folder = PROOF / NAME
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "rows.json", folder / "held-out.json"
    paths[0].write_text(json.dumps(rows[:ROWS]), encoding="utf-8")
    paths[1].write_text(json.dumps(rows[ROWS : ROWS + HELD_OUT]), encoding="utf-8")
    return paths


def train(name: str, flags: tuple[str, ...], rows: Path, held_out: Path) -> dict[str, Any]:
    """One run; a run that is there is not made again."""
    folder = PROOF / NAME / name
    summary = folder / "summary.json"
    if not summary.is_file():
        command = (sys.executable, "-m", "reflectune", "train", str(rows), "--held-out-data", str(held_out))
        done = subprocess.run(
            [*command, *COMMON, *flags, "--output", str(folder), "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        summary.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    found: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    return found


def row_losses(folder: str, held_out: Path) -> list[float]:
    """The mean loss of each held-out row's answer, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from reflectune.formats import open_source
    from reflectune.recipe import TrainSettings
    from reflectune.training.dataset import read_data
    from reflectune.training.masks import Masker
    from reflectune.training.student import find_pupil

    pupil = find_pupil(TrainSettings(max_length=LENGTH))
    rows = read_data(open_source(held_out).rows(), Masker(pupil.tokenizer, pupil.template, LENGTH)).rows
    model = AutoModelForCausalLM.from_pretrained(folder or pupil.found.folder, dtype=torch.float32).eval()
    losses = []
    with torch.no_grad():
        for row in rows:
            labels = torch.tensor([row.labels])
            losses.append(float(model(torch.tensor([list(row.tokens)]), labels=labels).loss))
    return losses


def interval(falls: list[float]) -> tuple[float, float, float]:
    """The mean, and its 95% interval by Student's t."""
    import numpy as np
    from scipy import stats

    mean, error = float(np.mean(falls)), float(stats.sem(falls))
    half = error * float(stats.t.ppf(0.975, len(falls) - 1))
    return mean, mean - half, mean + half


async def answers(gguf: Path) -> list[str]:
    """What the exported student says in the embedded runtime."""
    from reflectune.oracles.naming import open_oracle
    from reflectune.records import Message, Request, Sampling

    oracle = open_oracle(f"local:{gguf}")
    try:
        how = Sampling(temperature=0, max_tokens=80)
        return [(await oracle.complete(Request((Message("user", text),), how))).text for text in QUESTIONS]
    finally:
        await oracle.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    rows, held_out = data()
    before = row_losses("", held_out)
    results: dict[str, Any] = {}
    for name, flags in RUNS.items():
        summary = train(name, flags, rows, held_out)
        folder = PROOF / NAME / name
        merged = folder / "merged"
        after = row_losses(str(merged if merged.is_dir() else folder), held_out)
        mean, low, high = interval([a - b for a, b in zip(before, after, strict=True)])
        said = asyncio.run(answers(folder / "student.gguf"))
        results[name] = {
            "held_out_before": summary["held_out_before"],
            "held_out_after": summary["held_out_after"],
            "fall_per_row": mean,
            "fall_per_row_95": [low, high],
            "rows_that_fell": sum(a > b for a, b in zip(before, after, strict=True)),
            "tokens_per_second": summary["tokens_per_second"],
            "seconds": summary["seconds"],
            "answers": said,
        }
        print(
            f"{name:8} held-out loss {summary['held_out_before']:.4f} -> {summary['held_out_after']:.4f};"
            f" a row's falls by {mean:.4f} [{low:.4f}, {high:.4f}]; {said[0]!r}"
        )
    met = all(one["fall_per_row_95"][0] > 0 and all(one["answers"]) for one in results.values())
    save(NAME, met=met, rows=ROWS, held_out=HELD_OUT, max_length=LENGTH, runs=results)


if __name__ == "__main__":
    main()
