"""How rows are recycled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from reflectune.recipe.base import Settings
from reflectune.records import Reflection, Sampling


class RecycleSettings(Settings):
    """How rows are recycled.

    Attributes:
        reflect: Which reflections to make.
        versions: Which versions of a row to make: `reflected` betters the response of the new instruction (Q, QA),
            `all` that of the old one too (Q, A, QA), and `chosen` that of the instruction which the student learns more
            from (Q, and A or QA). The last two take both reflections.
        ask: How to ask: one JSON value, or one field per turn; by default what suits the oracle.
        candidates: How many rewrites to ask for at each reflection; the oracle chooses the best of more than one.
        lang: The language of the prompts; by default each row's own.
        score_after: Whether to ask for a critique of the last version too, to compare its scores with the first.
        retries: How often an oracle is asked again, with the reason, after a reply that is not accepted.
        prompts: A folder of prompt files that replace the shipped ones.
        temperature: Sampling temperature; by default the oracle's, or 0.8 where there are several candidates.
        top_p: Nucleus sampling; by default the oracle's.
        max_tokens: The most tokens of a reply; by default the oracle's.
        seed: Seed of the sampling, where the oracle takes one.
    """

    reflect: Literal["instruction", "response", "both"] = "both"
    versions: Literal["reflected", "all", "chosen"] = "reflected"
    ask: Literal["structured", "dialogue"] | None = None
    candidates: int = Field(default=1, ge=1, le=16)
    lang: Literal["en", "zh"] | None = None
    score_after: bool = False
    retries: int = Field(default=2, ge=0, le=2)
    prompts: Path | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=16)
    seed: int | None = Field(default=None, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.versions != "reflected" and self.reflect != "both":
            raise ValueError(f"versions {self.versions} takes both reflections, and reflect is {self.reflect}")
        return self

    @property
    def reflections(self) -> tuple[Reflection, ...]:
        """The reflections to make one after the other, in order."""
        return ("instruction", "response") if self.reflect == "both" else (self.reflect,)

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the oracle's default where they are silent."""
        several = 0.8 if self.candidates > 1 and not default.temperature else default.temperature
        return Sampling(
            temperature=several if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed if self.seed is None else self.seed,
        )
