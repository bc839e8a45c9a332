"""How traces that reflect are made."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from reflectune.recipe.base import Settings
from reflectune.records import Sampling

MistakeKind = Literal["arithmetic", "dropped-condition", "wrong-unit", "misread-question"]
TraceForm = Literal["gsm8k", "math", "choice", "open"]


class TraceSettings(Settings):
    """How traces that reflect are made of questions.

    Attributes:
        form: How the rows hold their questions and answers; by default that is told from their columns.
        mistakes: Where the mistakes come from: `planted` by rule into worked solutions, a model's `own` wrong samples,
            or what an `oracle` finds wrong in a draft of its own.
        kinds: The kinds of mistakes that are planted.
        samples: How many samples a question is given, for `own`.
        clean: The share of questions that are answered without a mistake, and so without a reflection. Of `own` and
            `oracle` it is an upper bound: where nobody made a mistake there is none to correct.
        system: Whether each trace begins with a system prompt that asks for the tags.
        against: Evaluation sets that must not be in the traces.
        lang: The language of the prompts; by default each question's own.
        retries: How often an oracle is asked again, with the reason, after a reply that is not accepted.
        prompts: A folder of prompt files that replace the shipped ones.
        temperature: Sampling temperature; by default 0.7 for `own`, so that samples differ, else the oracle's.
        top_p: Nucleus sampling; by default 0.95 for `own`, else the oracle's.
        max_tokens: The most tokens of a reply; by default the oracle's.
        seed: Seed of what is drawn: which questions stay clean, the mistakes, the words that correct them.
    """

    form: TraceForm | Literal["auto"] = "auto"
    mistakes: Literal["planted", "own", "oracle"] = "planted"
    kinds: tuple[MistakeKind, ...] = Field(
        default=("arithmetic", "dropped-condition", "wrong-unit", "misread-question"), min_length=1
    )
    samples: int = Field(default=4, ge=1, le=64)
    clean: float = Field(default=0.3, ge=0, le=1)
    system: bool = True
    against: tuple[str, ...] = ()
    lang: Literal["en", "zh"] | None = None
    retries: int = Field(default=2, ge=0, le=2)
    prompts: Path | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=16)
    seed: int = Field(default=0, ge=0, lt=2**31)

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the oracle's default where they are silent."""
        heat, share = (0.7, 0.95) if self.mistakes == "own" else (default.temperature, default.top_p)
        return Sampling(
            temperature=heat if self.temperature is None else self.temperature,
            top_p=share if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed,
        )
