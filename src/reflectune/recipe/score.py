"""How versions are scored by the student."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings


class ScoreSettings(Settings):
    """How versions are scored by the student.

    Attributes:
        student: The model that will learn from the data: a folder, `hf:ID`, `local`, `local:FILE.gguf`, or `MODEL@URL`
            for a server that returns the log-probabilities of prompts.
        tokenizer: The folder or hub id of its tokenizer, where the student is a server and its name is not one.
        key_env: The environment variable that holds the key of a student that is a server; the oracle's is not for it.
        template: The prompt template: `chat` (the tokenizer's own), `alpaca`, `vicuna`, `wizardlm`, or a file; by
            default `vicuna` under the published convention, else `chat` where the tokenizer has one, else `alpaca`.
        convention: `exact` finds a target by its characters; `published` does what the released scripts did, so that
            published scores can be reproduced.
        halves: Whether to score both halves, or only the response (IFD), which takes half the time.
        max_length: The most tokens of a text; longer ones are cut.
        prompts: A folder of prompt files that replace the shipped ones, such as `en/rifd_request.txt`.
        dtype: The numbers that the model computes with; by default float32 on a CPU, bfloat16 on a GPU.
        device: Where it runs, such as `cpu` or `cuda:1`; by default a GPU where there is one.
        batch_tokens: About how many tokens are computed at once; by default what suits the device.
    """

    student: str = Field(default="local", min_length=1)
    tokenizer: str | None = None
    key_env: str = Field(default="REFLECTUNE_STUDENT_KEY", pattern=r"^[A-Za-z_]\w{0,63}$")
    template: str | None = None
    convention: Literal["exact", "published"] = "exact"
    halves: Literal["both", "response"] = "both"
    max_length: int = Field(default=2048, ge=16)
    prompts: Path | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str | None = None
    batch_tokens: int | None = Field(default=None, ge=64)
