"""The figures of single rows. What cannot be computed is `None`, never 0.

Source: Selective Reflection-Tuning (arXiv 2402.10110), table 6, which gives the means of these over whole data sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reflectune.gates.texts import has_characters
from reflectune.language import length
from reflectune.records import Version, VersionScores

Metric = Literal[
    "instruction_words",
    "instruction_tokens",
    "response_words",
    "response_tokens",
    "instruction_ppl",
    "response_ppl_alone",
    "response_ppl_conditioned",
    "coherence",
    "ifd_ppl",
    "rifd_ppl",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
"""Every figure of a row, in the order of the published table."""

Tokenizer = Callable[[str], int]
"""Gives the number of tokens of a text."""
Column = tuple[float | None, ...]

_UNKNOWN = VersionScores()


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of every row.

    Attributes:
        ids: The rows' ids, in order.
        columns: Each figure of each row, in the same order; a figure that no row has is not among them. Lengths of the
            instruction include its input; the coherence leaves it out.
    """

    ids: tuple[str, ...]
    columns: dict[Metric, Column]

    def present(self, metric: Metric) -> list[float]:
        """A figure of the rows that have it."""
        return [value for value in self.columns.get(metric, ()) if value is not None]


def figures(
    ids: Sequence[str],
    versions: Sequence[Version],
    *,
    coherence: Sequence[float | None] | None = None,
    tokenizer: Tokenizer | None = None,
    scores: Mapping[str, VersionScores] | None = None,
) -> Figures:
    """The figures of rows.

    Args:
        ids: The rows' ids.
        versions: The rows.
        coherence: Theirs, where it was computed.
        tokenizer: Counts tokens.
        scores: What a student makes of them, by id.
    """
    asked = [version.question for version in versions]
    columns: dict[Metric, Column] = {
        "instruction_words": tuple(map(words, asked)),
        "response_words": tuple(words(version.response) for version in versions),
    }
    if tokenizer is not None:
        columns["instruction_tokens"] = tuple(map(tokenizer, asked))
        columns["response_tokens"] = tuple(tokenizer(version.response) for version in versions)
    if coherence is not None:
        columns["coherence"] = tuple(coherence)
    if scores is not None:
        columns |= _scored([scores.get(name) for name in ids])
    kept = {name: columns[name] for name in METRICS if any(value is not None for value in columns.get(name, ()))}
    return Figures(tuple(ids), kept)


def words(text: str) -> int:
    """The number of words: what stands between white space.

    Where that holds characters of a script without spaces, each of them counts as a word, as in `language.length`.
    """
    parts = text.split()
    if not has_characters(text):
        return len(parts)
    return sum(length(part) if has_characters(part) else 1 for part in parts)


def _scored(scores: Sequence[VersionScores | None]) -> dict[Metric, Column]:
    known = [score or _UNKNOWN for score in scores]
    return {
        "instruction_ppl": tuple(perplexity(score.instruction_loss_alone) for score in known),
        "response_ppl_alone": tuple(perplexity(score.response_loss_alone) for score in known),
        "response_ppl_conditioned": tuple(perplexity(score.response_loss_conditioned) for score in known),
        "ifd_ppl": tuple(score.ifd_ppl for score in known),
        "rifd_ppl": tuple(score.rifd_ppl for score in known),
    }


def perplexity(loss: float | None) -> float | None:
    """The perplexity of a text whose tokens have this mean loss in nats; `None` where it is unknown or not finite."""
    if loss is None:
        return None
    try:
        found = math.exp(loss)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
