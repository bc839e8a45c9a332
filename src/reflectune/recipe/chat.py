"""How a model is talked to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings
from reflectune.records import Sampling

Reflecting = Literal["prompt", "trained", "off"]


class ChatSettings(Settings):
    """How a model is talked to, and who makes it reflect.

    Attributes:
        reflect: `prompt` tells the model to reason in tags, by our system prompt; `trained` says nothing, for a model
            that learnt to; `off` is the plain model, whose tags are text like any other. By default `prompt`, and `off`
            where we make it reflect.
        rounds: How often we criticise the answer and have it revised, by the criteria that responses are recycled with.
        best_of: How many answers are drawn; of more than one a vote takes the best.
        system: A system prompt of the user's own; it goes after ours.
        lang: The language of our prompts; by default that of the question.
        prompts: A folder of prompt files that replace the shipped ones.
        temperature: Sampling temperature.
        top_p: Nucleus sampling.
        max_tokens: The most tokens of a reply, the reasoning included; by default the model's own.
        seed: Seed of what is drawn.
    """

    reflect: Reflecting | None = None
    rounds: int = Field(default=0, ge=0, le=8)
    best_of: int = Field(default=1, ge=1, le=32)
    system: str = ""
    lang: Literal["en", "zh"] | None = None
    prompts: Path | None = None
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**31)

    @property
    def reflecting(self) -> Reflecting:
        """How the model itself reflects."""
        return self.reflect or ("off" if self.rounds else "prompt")

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the model's default where they are silent."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed if self.seed is None else self.seed,
        )
