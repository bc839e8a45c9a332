"""A judge's verdict on two answers, 1 or 2, read from its first token's probabilities or from its reply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reflectune.evaluate.alpaca_eval.annotations import Form
from reflectune.oracles.engine import Unacceptable
from reflectune.records import Reply, Schema

__all__ = ["CHOICE", "LABELS", "UNTOLD", "Verdict", "chosen", "weighed"]

LABELS = ("1", "2")
CHOICE = Schema("choice", {"type": "integer", "enum": [1, 2]})
UNTOLD = "no-logprobs"
"""The reason of a reply that holds neither probabilities nor a label."""
_LEAST = 0.01
"""A judge that gives its labels less probability together was about to say something else."""
_BLANK = "▁Ġ"
"""What vocabularies write for the space before a word, where an endpoint tells the token and not its text."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge thinks of two answers.

    Attributes:
        first: The preference for the answer that it saw first, from 0 to 1.
        form: How that was told.
    """

    first: float
    form: Form


def weighed(reply: Reply) -> Verdict:
    """The verdict by the probabilities of the labels, all spellings of a label together.

    A reply without probabilities that is a label is taken plainly.

    Raises:
        Unacceptable: No label is among the likely first tokens, or there is neither probability nor label.
    """
    if reply.top_logprobs is None:
        label = _label(reply.text)
        if label is None:
            raise Unacceptable(UNTOLD, f"The judge tells no probabilities, and {reply.text[:60]!r} is no verdict.")
        return Verdict(float(label == LABELS[0]), "plain")
    first, second = (_mass(reply.top_logprobs, label) for label in LABELS)
    if first + second < _LEAST:
        raise Unacceptable(
            "no-label",
            f"1 and 2 have {100 * (first + second):.2g}% of the probability together; the reply begins"
            f" {reply.text[:60]!r}.",
        )
    return Verdict(first / (first + second), "weighted")


def chosen(reply: Reply) -> Verdict:
    """The verdict by the label that was chosen.

    Raises:
        Unacceptable: The reply is no label.
    """
    label = _label(reply.text)
    if label is None:
        if reply.finish_reason == "length":
            raise Unacceptable("truncated", f"The reply was cut off after {reply.completion_tokens} tokens.")
        raise Unacceptable("no-label", f"Expected 1 or 2, got {reply.text[:60]!r}.")
    return Verdict(float(label == LABELS[0]), "plain")


def _label(text: str) -> str | None:
    stripped = text.strip().strip(_BLANK)
    return stripped if stripped in LABELS else None


def _mass(likely: Mapping[str, float], label: str) -> float:
    return sum(math.exp(logprob) for token, logprob in likely.items() if _label(token) == label)
