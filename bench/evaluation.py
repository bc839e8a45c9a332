"""A live run of everything that evaluates, with the embedded model: whatever the figures say, they are printed.

The embedded model plainly and told to reflect, on the first 50 questions of GSM8K's test set and of IFEval; then two
students of it, one trained on rows that Cherry LLM selected and one on random rows of Alpaca, judged by the embedded
model on 40 Vicuna questions in both orders, and against each other as AlpacaEval does; then the leaderboard.

make proof-evaluation
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from measure import finished, save
from on_real_rows import PROOF, real_data

NAME = "evaluation"
QUESTIONS, PAIRS, ROWS = 50, 40, 256
TRAINED_ON = {"cherry": "instruct/cherry_alpaca_5_percent.json", "random": "instruct/alpaca_random_first3000.json"}
METHOD = ("--method", "lora", "--epochs", "1", "--batch", "8", "--learning-rate", "2e-4", "--max-length", "512")
MORE = ("--batch-tokens", "4096", "--held-out", "32", "--gguf", "q8_0", "--limit", str(ROWS))


def reflectune(*arguments: str) -> dict[str, Any]:
    """Type a command, whose tables go to the terminal; returns what `--json` prints."""
    print("reflectune", *arguments, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "reflectune", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in {0, 3}:  # 3: more failed than is usual, which a weak judge's verdicts may
        raise SystemExit(f"it ended with {done.returncode}")
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    folder = PROOF / NAME
    folder.mkdir(parents=True, exist_ok=True)
    runs = folder / "runs"
    data = real_data("gsm8k/test.jsonl").parents[1]
    benchmark = reflectune(
        *("benchmark", "local", "--tasks", "gsm8k,ifeval", "--arms", "plain,prompt-only", "--limit", str(QUESTIONS)),
        *("--data", str(data), "--max-tokens", "768", "--run", str(runs / "benchmark")),
    )
    questions = real_data("pairwise/test_data/vicuna_test_set.jsonl")
    answers = {}
    for name, rows in TRAINED_ON.items():
        student = folder / name
        if not (student / "student.gguf").is_file():
            reflectune("train", str(real_data(rows)), *METHOD, *MORE, "--output", str(student))
        answers[name] = str(folder / f"{name}.jsonl")
        reflectune(
            *("generate", f"local:{student / 'student.gguf'}", str(questions), "--limit", str(PAIRS), "--name", name),
            *("--max-tokens", "384", "--output", answers[name], "--run", str(runs / f"answers-{name}")),
        )
    judged = reflectune("judge", *answers.values(), "--judge", "local", "--run", str(runs / "judge"))
    compared = reflectune(
        *("alpaca-eval", answers["cherry"], "--reference", answers["random"], "--judge", "local", "--both-orders"),
        *("--run", str(runs / "alpaca-eval")),
    )
    board = reflectune("leaderboard", str(runs))
    save(NAME, met=True, benchmark=benchmark, judge=judged, alpaca_eval=compared, leaderboard=board)


if __name__ == "__main__":
    main()
