"""Score what models wrote long ago, and compare with the figures that were published of it.

GSM8K, MATH and IFEval from the text of the stored replies, read and checked as `reflectune benchmark` does; HumanEval
by running every stored program, and every canonical solution, in the sandbox.

make proof-published_outputs
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from measure import finished, save
from on_real_rows import real_data
from reflectune.answers.reading import answer_in
from reflectune.answers.rules import is_right
from reflectune.evaluate.benchmarks.code.sandbox import run_all
from reflectune.evaluate.benchmarks.ifeval import verdicts
from reflectune.evaluate.benchmarks.programs import program_of

NAME = "published_outputs"
GSM8K = {"abel_7b_gsm8k": 59.74, "abel_70b_gsm8k": 83.62, "tora-70b-v1.0_gsm8k": 84.3}
EXAMPLES = {"6b_finetuning": 129, "6b_verification": 239, "175b_finetuning": 205, "175b_verification": 333}
MATH = {"mean": 91.0, "first": 90.0, "majority": 93.0, "pass@8": 96.0}
IFEVAL = {
    "gpt4_20231107": (77.22, 83.77, 79.63, 85.58),
    "claude-3-5-sonnet-20240620": (82.26, 88.13, 89.28, 93.05),
    "mistralai__Mistral-7B-Instruct-v0.3": (47.13, 58.99, 51.39, 63.43),
    "hugging-quants__Meta-Llama-3.1-8B-Instruct-AWQ-INT4": (72.09, 80.10, 75.79, 82.97),
    "Qwen__Qwen2.5-1.5B-Instruct-GPTQ-Int4": (37.15, 49.52, 42.14, 53.84),
}
WHICH = ("prompt-strict", "instruction-strict", "prompt-loose", "instruction-loose")
HUMANEVAL = 98

Figures = dict[str, dict[str, float]]


def rows(path: Path) -> list[dict[str, Any]]:
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def share(marks: list[bool]) -> float:
    return 100 * sum(marks) / len(marks)


def right(form: Any, answer: str, text: str) -> bool:
    return is_right(form, answer, answer_in(form, text) or "")


def gsm8k() -> Figures:
    found: Figures = {}
    for name, published in GSM8K.items():
        told = rows(real_data(f"outputs/{name}.jsonl"))
        marks = [right("gsm8k", str(r.get("gold", r.get("gt"))), r.get("response") or r["code"][0]) for r in told]
        found[name] = {"published": published, "ours": share(marks)}
    told = rows(real_data("gsm8k/example_model_solutions_first600.jsonl"))
    for name, count in EXAMPLES.items():
        marks = [right("gsm8k", answer_in("gsm8k", r["ground_truth"]) or "", r[name]["solution"]) for r in told]
        found[name] = {"published": 100 * count / 600, "ours": share(marks)}
    return found


def math() -> Figures:
    told = rows(real_data("math/math_cot_100_candidates.jsonl"))
    marks = [[right("math", row["gt"], said) for said in row["response"]] for row in told]
    voted = [Counter(row["pred"]).most_common(1)[0][0] for row in told]
    ours = {
        "mean": share([mark for several in marks for mark in several]),
        "first": share([several[0] for several in marks]),
        "majority": share([is_right("math", row["gt"], vote) for row, vote in zip(told, voted, strict=True)]),
        "pass@8": share([any(several) for several in marks]),
    }
    return {name: {"published": MATH[name], "ours": ours[name]} for name in MATH}


def ifeval() -> Figures:
    found: Figures = {}
    for model, published in IFEVAL.items():
        source = "input_data" if model.startswith("gpt4") else "mifeval_en_input_data"
        replies = {r["prompt"]: r["response"] for r in rows(real_data(f"ifeval/{model}_responses.jsonl"))}
        asked = [r for r in rows(real_data(f"ifeval/{source}.jsonl")) if r["prompt"] in replies]
        strict, loose = [], []
        for row in asked:
            names = [name.removeprefix("en:") for name in row["instruction_id_list"]]
            verdict = verdicts(row["prompt"], names, row["kwargs"], replies[row["prompt"]])
            strict.append(verdict.strict)
            loose.append(verdict.loose)
        ours = [
            figure
            for marks in (strict, loose)
            for figure in (share([all(m) for m in marks]), share([one for m in marks for one in m]))
        ]
        for name, theirs, figure in zip(WHICH, published, ours, strict=True):
            found[f"{model} {name}"] = {"published": theirs, "ours": figure}
    return found


def humaneval() -> tuple[Figures, list[str]]:
    asked = {r["task_id"]: r | {"question": r["prompt"]} for r in rows(real_data("humaneval/HumanEval.jsonl.gz"))}
    with zipfile.ZipFile(real_data("humaneval/wizardcoder_humaneval.59.8.gen.zip")) as packed:
        told = [json.loads(line) for line in packed.read(packed.namelist()[0]).decode().split("\n") if line]
    stored = [program_of(asked[row["task_id"]], row["completion"]) for row in told]
    canonical = [program_of(row, row["canonical_solution"]) for row in asked.values()]
    outcomes = run_all([*stored, *canonical])
    ours = [outcome.passed for outcome in outcomes[: len(stored)]]
    apart = [
        f"{row['task_id']}: stored {row['passed']} ({row['result']}), ours {outcome.passed} ({outcome.detail})"
        for row, outcome in zip(told, outcomes, strict=False)
        if row["passed"] is not outcome.passed
    ]
    return {
        "wizardcoder pass@1": {"published": 100 * HUMANEVAL / 164, "ours": share(ours)},
        "canonical solutions": {"published": 100.0, "ours": share([o.passed for o in outcomes[len(stored) :]])},
    }, apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    found: dict[str, Figures] = {}
    seconds: dict[str, float] = {}
    apart: list[str] = []
    for name, bound in {"gsm8k": 0.5, "math": 1.0, "ifeval": 1.0, "humaneval": 0.0}.items():
        began = time.perf_counter()
        if name == "humaneval":
            found[name], apart = humaneval()
        else:
            found[name] = {"gsm8k": gsm8k, "math": math, "ifeval": ifeval}[name]()
        seconds[name] = round(time.perf_counter() - began, 1)
        for what, figures in found[name].items():
            figures["gap"] = round(figures["ours"] - figures["published"], 3)
            figures["bound"] = bound
            told = f"{figures['published']:6.2f} published  {figures['ours']:6.2f} ours  {figures['gap']:+.2f}"
            print(f"{name:10} {what:75} {told}", flush=True)
    for line in apart:
        print(line)
    every = [figures for several in found.values() for figures in several.values()]
    met = all(abs(figures["gap"]) <= figures["bound"] + 0.01 for figures in every)
    save(NAME, met=met, figures=found, apart=apart, seconds=seconds)


if __name__ == "__main__":
    main()
