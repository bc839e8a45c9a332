"""How answers are compared with a reference's, as AlpacaEval does."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings
from reflectune.records import Sampling

_FIRST_TOKENS = 8


class AlpacaEvalSettings(Settings):
    """How a judge compares answers, and what its win rate is corrected by.

    Attributes:
        form: How a preference is told: `weighted` by the probabilities of the judge's two labels, `plain` by the label
            that it chooses. A judge that tells no probabilities is asked plainly.
        both_orders: Whether each pair is judged in both orders, and the mean counts; else the order is drawn.
        lang: The language of the prompts; by default each instruction's own.
        prompts: A folder of prompt files that replace the shipped ones.
        top_logprobs: How many of the likeliest first tokens the labels are looked for in.
        max_tokens: The most tokens of a verdict; by default 8 for `weighted`, and the judge's own for `plain`.
        difficulty: AlpacaEval's file of the difficulty of its instructions.
        gamed: AlpacaEval's file of annotations of verbose and concise answers.
        seed: Seed of the order of the answers.
    """

    form: Literal["weighted", "plain"] = "weighted"
    both_orders: bool = False
    lang: Literal["en", "zh"] | None = None
    prompts: Path | None = None
    top_logprobs: int = Field(default=20, ge=2, le=20)
    max_tokens: int | None = Field(default=None, ge=1)
    difficulty: Path | None = None
    gamed: Path | None = None
    seed: int = Field(default=0, ge=0, lt=2**31)

    def sampling(self, default: Sampling, form: Literal["weighted", "plain"]) -> Sampling:
        """How a judge draws its verdict: greedily, so that it is the same the next time.

        Args:
            default: How the judge draws by itself.
            form: How it is asked.
        """
        most = _FIRST_TOKENS if form == "weighted" else default.max_tokens
        return Sampling(temperature=0.0, top_p=1.0, max_tokens=self.max_tokens or most, seed=default.seed)
