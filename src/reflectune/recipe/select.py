"""Which version of a row the student keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from reflectune.recipe.base import Settings, Shape


class SelectSettings(Settings):
    """Which version of a row the student keeps, and which rows.

    Attributes:
        rule: `selective` is that of Selective Reflection-Tuning; `top-ifd` that of Cherry LLM and Superfiltering; the
            others are the baselines that an honest selection is compared with.
        take: How many rows to keep, as `500` or `5%`; by default every row that the rule lets through.
        versions: Which versions of a row compete, for every rule but `selective`.
        ifd_below_one: Whether the version that is kept must have an IFD below 1 (`selective`, `top-ifd`).
        rifd_below_one: Whether it must have an r-IFD below 1 (`selective`).
        keep_original: Whether a row stays, as it is after its first step, when its response was not replaced.
        seed: Seed of the rule `random`.
        embedder: The model of sentence embeddings, for `coherence` and `diverse`.
        to: The shape of the data that is written; by default the input's own columns.
        output: A further file that the data is written to.
        provenance: Whether each row that is written says where it comes from, in the column `reflectune`.
    """

    rule: Literal["selective", "top-ifd", "random", "longest", "perplexity", "ifd", "rifd", "coherence", "diverse"] = (
        "selective"
    )
    take: str | None = Field(default=None, pattern=r"^([1-9]\d*|\d{1,3}(\.\d+)?%)$")
    versions: Literal["all", "latest", "original", "Q", "A", "QA"] = "all"
    ifd_below_one: bool = True
    rifd_below_one: bool = True
    keep_original: bool = False
    seed: int = Field(default=0, ge=0, lt=2**31)
    embedder: str | None = None
    to: Shape | None = None
    output: Path | None = None
    provenance: bool = True

    @field_validator("take", mode="before")
    @classmethod
    def _as_text(cls, take: object) -> object:
        return str(take) if isinstance(take, int) and not isinstance(take, bool) else take
