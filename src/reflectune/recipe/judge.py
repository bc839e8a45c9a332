"""How a judge compares answers."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings
from reflectune.records import Sampling


class JudgeSettings(Settings):
    """How a judge compares the answers of two models.

    Attributes:
        ask: How to ask: one JSON value, or one field per turn; by default what suits the judge.
        lang: The language of the prompts; by default each question's own.
        retries: How often a judge is asked again, with the reason, after a reply that is not accepted.
        prompts: A folder of prompt files that replace the shipped ones.
        temperature: Sampling temperature; by default the judge's.
        top_p: Nucleus sampling; by default the judge's.
        max_tokens: The most tokens of a reply; by default the judge's.
        seed: Seed of the sampling, where the judge takes one.
        name_a: What the first model is called; by default as its rows or its file say.
        name_b: What the second model is called.
    """

    ask: Literal["structured", "dialogue"] | None = None
    lang: Literal["en", "zh"] | None = None
    retries: int = Field(default=2, ge=0, le=2)
    prompts: Path | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=16)
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    name_a: str | None = Field(default=None, min_length=1, max_length=200)
    name_b: str | None = Field(default=None, min_length=1, max_length=200)

    def is_dialogue(self, *, default: bool) -> bool:
        """Whether to ask one field per turn; `default` is what suits the judge."""
        return default if self.ask is None else self.ask == "dialogue"

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the judge's default where they are silent."""
        return Sampling(
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed if self.seed is None else self.seed,
        )
