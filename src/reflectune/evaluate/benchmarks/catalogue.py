"""The benchmarks: where each comes from, how it is asked, and what is measured.

Shots and metrics of the form `logprob` are those of the Open LLM Leaderboard of 2023: ARC-Challenge 25, HellaSwag 10,
MMLU 5, TruthfulQA 0. In the form `generative` the model writes its answer, with no worked examples before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reflectune.recipe.benchmark import BenchmarkForm, BenchmarkName

__all__ = ["GENERATIVE", "LOGPROB", "Benchmark", "Hub", "Kind", "benchmark_of"]

Kind = Literal["gsm8k", "math", "choice", "ifeval", "code"]
"""How a reply is scored: a number, a formula, a letter, instructions that are followed, code that passes its tests."""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a data set lies on the hub.

    Attributes:
        path: Its name.
        name: Which of its configurations.
        split: What is asked.
    """

    path: str
    name: str | None
    split: str


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark in one form.

    Attributes:
        name: What it is called.
        form: How its figure comes about.
        size: How many questions it has as published.
        hub: Where it lies on the hub.
        metrics: What is measured.
        kind: How a reply is scored.
        shots: How many worked examples each prompt holds.
        examples: The split of the hub that they come from.
        task: lm-eval's name, for the form `logprob`.
    """

    name: BenchmarkName
    form: BenchmarkForm
    size: int
    hub: Hub
    metrics: tuple[str, ...] = ("accuracy",)
    kind: Kind = "choice"
    shots: int = 0
    examples: str | None = None
    task: str = ""


IFEVAL_METRICS = ("prompt-strict", "instruction-strict", "prompt-loose", "instruction-loose")
_ARC = Hub("allenai/ai2_arc", "ARC-Challenge", "test")
_MMLU = Hub("cais/mmlu", "all", "test")

GENERATIVE = (
    Benchmark("gsm8k", "generative", 1319, Hub("openai/gsm8k", "main", "test"), kind="gsm8k", examples="train"),
    Benchmark("math", "generative", 500, Hub("HuggingFaceH4/MATH-500", "default", "test"), kind="math"),
    Benchmark("ifeval", "generative", 541, Hub("google/IFEval", None, "train"), IFEVAL_METRICS, "ifeval"),
    Benchmark("humaneval", "generative", 164, Hub("openai/openai_humaneval", None, "test"), ("pass@1",), "code"),
    Benchmark("mmlu", "generative", 14042, _MMLU),
    Benchmark("gpqa", "generative", 198, Hub("Idavidrein/gpqa", "gpqa_diamond", "train")),
    Benchmark("arc_challenge", "generative", 1172, _ARC, examples="train"),
)
LOGPROB = (
    Benchmark("arc_challenge", "logprob", 1172, _ARC, ("acc_norm",), shots=25, task="arc_challenge"),
    Benchmark(
        *("hellaswag", "logprob", 10042, Hub("Rowan/hellaswag", None, "validation"), ("acc_norm",)),
        shots=10,
        task="hellaswag",
    ),
    Benchmark("mmlu", "logprob", 14042, _MMLU, ("acc",), shots=5, task="mmlu"),
    Benchmark(
        *("truthfulqa", "logprob", 817, Hub("truthfulqa/truthful_qa", "multiple_choice", "validation"), ("acc",)),
        task="truthfulqa_mc2",
    ),
)


def benchmark_of(name: BenchmarkName, form: BenchmarkForm) -> Benchmark:
    """The benchmark of this name in this form."""
    return next(one for one in (GENERATIVE if form == "generative" else LOGPROB) if one.name == name)
