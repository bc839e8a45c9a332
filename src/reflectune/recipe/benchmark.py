"""How a model is put to benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from reflectune.recipe.base import Settings
from reflectune.records import Sampling

BenchmarkForm = Literal["generative", "logprob"]
BenchmarkName = Literal[
    "gsm8k", "math", "ifeval", "humaneval", "mmlu", "gpqa", "arc_challenge", "hellaswag", "truthfulqa"
]
BenchmarkArm = Literal["plain", "prompt-only", "reflective"]
_ONLY: dict[BenchmarkForm, tuple[BenchmarkName, ...]] = {
    "generative": ("gsm8k", "math", "ifeval", "humaneval", "mmlu", "gpqa", "arc_challenge"),
    "logprob": ("arc_challenge", "hellaswag", "mmlu", "truthfulqa"),
}


class BenchmarkSettings(Settings):
    """How a model is put to benchmarks.

    Attributes:
        tasks: Which benchmarks.
        form: Whether the model writes its answers, or only says how likely the given ones are.
        arms: How the model is asked: as it comes, told to reflect, or, where it was taught to, both.
        tuned: A second model, which was taught to reflect: it adds the arm `reflective`.
        data: A folder with the benchmarks' files; by default they come from the hub.
        limit: How many questions of each task are asked: the first ones; of mmlu the first of each subject before the
            second of any, and in the form `logprob` as many of each subject, as lm-eval counts them.
        shots: Worked examples before each question; by default as the benchmark is published.
        without_output: What is scored of a reply that was to have an `<output>` and has none.
        run_code: Whether code that the model wrote may be run, in a sandbox.
        temperature: Sampling temperature; greedy by default.
        top_p: Nucleus sampling.
        max_tokens: The most tokens of a reply; by default the model's own.
        seed: Seed of what is drawn.
        lang: The language of the instructions around the questions, which themselves are in English.
        prompts: A folder of prompt files that replace the shipped ones.
        tokenizer: The tokenizer of a served model, for the form `logprob`: a folder, a GGUF file or a hub id.
    """

    tasks: tuple[BenchmarkName, ...] = Field(min_length=1)
    form: BenchmarkForm = "generative"
    arms: tuple[BenchmarkArm, ...] = Field(default=("plain",), min_length=1)
    tuned: str | None = None
    data: Path | None = None
    limit: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=0, le=64)
    without_output: Literal["empty", "whole"] = "empty"
    run_code: bool = False
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    lang: Literal["en", "zh"] = "en"
    prompts: Path | None = None
    tokenizer: str | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        known = _ONLY[self.form]
        if wrong := next((name for name in self.tasks if name not in known), None):
            raise ValueError(f"{wrong} has no {self.form} form; those that have one are {', '.join(known)}")
        for kind, names in {"task": self.tasks, "arm": self.arms}.items():
            if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
                raise ValueError(f"the {kind} {twice} is named twice")
        if self.form == "logprob" and (self.arms != ("plain",) or self.tuned is not None):
            raise ValueError("the form logprob has no arms: nothing is written, so nothing can be reflected on")
        if self.tuned is not None and "reflective" in self.arms:
            raise ValueError("the arm reflective is that of the tuned model: leave it out of the arms")
        if "humaneval" in self.tasks and not self.run_code:
            raise ValueError(
                "humaneval runs code that the model wrote, in a sandbox, and only where --run-code says so"
            )
        return self

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: greedily unless these settings say otherwise; lengths are the model's own."""
        return Sampling(
            temperature=self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=self.seed if self.temperature else default.seed,
        )
