"""Teach the embedded model to reflect: traces with planted mistakes from GSM8K's train rows, then 50 test questions.

Asked with the system prompt of the traces, the student is to open and close its tags properly in at least 90% of 50
questions that it has not seen; the model that it was made of is asked the same. How many answers are right is printed,
whatever it is.

make proof-reflection
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections import Counter
from typing import Any

from measure import finished, save
from on_real_rows import PROOF, real_data

NAME = "reflection"
TRACES, QUESTIONS, LEAST = 800, 50, 0.9
FLAGS = ("--reflection", "--epochs", "2", "--batch", "8", "--learning-rate", "2e-4", "--max-length", "512")
MORE = (
    "--batch-tokens",
    "4096",
    "--held-out",
    "40",
    "--gguf",
    "q8_0",
    "--set",
    "checkpoints=1",
    "--set",
    "evaluations=5",
)


def reflectune(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "reflectune", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=True
    )
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


async def replies(model: str, system: str, questions: list[str]) -> list[tuple[str, str]]:
    """What a model in the embedded runtime says to each question, and why it stopped."""
    from reflectune.oracles.naming import open_oracle
    from reflectune.records import Message, Request, Sampling

    oracle = open_oracle(model)
    sampling = Sampling(temperature=0.7, top_p=0.95, max_tokens=512, seed=0)  # as Reflection 70B is sampled
    asked = [Request((Message("system", system), Message("user", text)), sampling) for text in questions]
    try:
        said = await asyncio.gather(*(oracle.complete(request) for request in asked))
    finally:
        await oracle.aclose()
    return [(reply.text, reply.finish_reason) for reply in said]


def judged(said: list[tuple[str, str]], golds: list[str]) -> dict[str, Any]:
    """How many replies are well formed, reflect, and are right."""
    from reflectune.answers.rules import is_right
    from reflectune.tags import parse

    parsed = [parse(text) for text, _ in said]
    outputs = [one.output for one in parsed]
    right = sum(
        output is not None and is_right("gsm8k", gold, output) for output, gold in zip(outputs, golds, strict=True)
    )
    return {
        "well_formed": sum(one.well_formed for one in parsed),
        "without_output": sum(output is None for output in outputs),
        "with_reflection": sum(bool(one.reflections) for one in parsed),
        "right": right,
        "cut_off": sum(reason == "length" for _, reason in said),
        "faults": dict(Counter(fault for one in parsed for fault in one.faults)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true")
    if parser.parse_args().resume and finished(NAME):
        return
    folder = PROOF / NAME
    folder.mkdir(parents=True, exist_ok=True)
    traces = folder / "traces.jsonl"
    test = real_data("gsm8k/test.jsonl")
    made = reflectune(
        *("traces", str(real_data("gsm8k/train_first2000.jsonl")), "--limit", str(TRACES), "--output", str(traces)),
        *("--against", str(test), "--run", str(folder / "traces")),
    )
    student = folder / "student"
    summary = student / "summary.json"
    if not summary.is_file():
        trained = reflectune("train", str(traces), *FLAGS, *MORE, "--output", str(student))
        summary.write_text(json.dumps(trained), encoding="utf-8")
    trained = json.loads(summary.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in test.read_text(encoding="utf-8").splitlines()[:QUESTIONS]]
    questions = [row["question"] for row in rows]
    golds = [row["answer"].rpartition("####")[2].strip().replace(",", "") for row in rows]
    system = json.loads(traces.read_text(encoding="utf-8").partition("\n")[0])["messages"][0]["content"]
    results = {}
    for name, model in (("before", "local"), ("after", f"local:{student / 'student.gguf'}")):
        said = asyncio.run(replies(model, system, questions))
        (folder / f"{name}.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
        results[name] = judged(said, golds)
        found = results[name]
        print(
            f"{name:7} {found['well_formed']} of {QUESTIONS} well formed, {found['with_reflection']} reflect,"
            f" {found['right']} right"
        )
    met = results["after"]["well_formed"] >= LEAST * QUESTIONS
    save(NAME, met=met, traces=made, training=trained, questions=QUESTIONS, results=results)


if __name__ == "__main__":
    main()
