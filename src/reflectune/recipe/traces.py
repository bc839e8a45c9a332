"""How traces that reflect are made."""

from __future__ import annotations

from pydantic import Field

from reflectune.recipe.base import Settings


class TraceSettings(Settings):
    """How traces that reflect are made of questions.

    Attributes:
        clean: The share of traces that make no mistake and so hold no reflection.
        seed: Seed of what is drawn.
    """

    clean: float = Field(default=0.3, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
