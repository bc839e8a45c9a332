"""How a model answers prompts."""

from __future__ import annotations

from pydantic import Field

from reflectune.recipe.base import Settings
from reflectune.records import Sampling


class GenerateSettings(Settings):
    """How a model answers prompts.

    Attributes:
        system: A system prompt that goes before every prompt that has none of its own.
        reflect: Whether to tell the model to reason in tags: the system prompt of traces goes first.
        temperature: Sampling temperature; by default the model's own.
        top_p: Nucleus sampling; by default the model's own.
        max_tokens: The most tokens of a reply; by default the model's own.
        seed: Seed of what is drawn.
    """

    system: str = ""
    reflect: bool = False
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**31)

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the model's default where they are silent."""
        return Sampling(
            temperature=default.temperature if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed if self.seed is None else self.seed,
        )
