"""Statistics in words and figures, for tables in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from reflectune.evaluate import Comparison, Difference, Interval, Metric, Statistics

__all__ = ["NAMES", "change", "interval", "languages", "number", "of_the_whole", "said"]

NAMES: dict[Metric, str] = {
    "instruction_words": "words of the instruction",
    "instruction_tokens": "tokens of the instruction",
    "response_words": "words of the response",
    "response_tokens": "tokens of the response",
    "instruction_ppl": "perplexity, instruction",
    "response_ppl_alone": "perplexity, response alone",
    "response_ppl_conditioned": "perplexity, given instruction",
    "coherence": "coherence",
    "ifd_ppl": "IFD",
    "rifd_ppl": "r-IFD",
}
_RATIOS = ("coherence", "ifd_ppl", "rifd_ppl")
_LANGUAGES_SHOWN = 4


def number(metric: Metric) -> Callable[[float], str]:
    """What writes a figure of this kind."""
    return "{:,.3f}".format if metric in _RATIOS else "{:,.1f}".format


def interval(ends: Interval | None, write: Callable[[float], str]) -> str:
    """Where a mean lies."""
    return "-" if ends is None else f"{write(ends.low)} to {write(ends.high)}"


def change(difference: Difference | None, write: Callable[[float], str]) -> tuple[str, str]:
    """How far two means are apart, and where that lies."""
    if difference is None:
        return "-", "-"

    def signed(value: float) -> str:
        return write(value) if value < 0 else f"+{write(value)}"

    return signed(difference.mean), interval(difference.interval, signed)


def of_the_whole(found: Statistics) -> list[tuple[str, str]]:
    """The figures that belong to the data set and to none of its rows."""
    shares = (
        ("different pairs of words", found.distinct_bigrams),
        ("exact duplicates", found.exact_duplicates),
        ("near duplicates", found.near_duplicates),
    )
    distance = "-" if found.distance is None else f"{found.distance:.3f}"
    return [
        ("distance of instructions", distance),
        *((name, "-" if share is None else f"{share:.1%}") for name, share in shares),
    ]


def languages(counts: Mapping[str, int]) -> str:
    """The most frequent languages."""
    most = [f"{language} {count:,}" for language, count in counts.items()]
    others = len(most) - _LANGUAGES_SHOWN
    return (", ".join(most[:_LANGUAGES_SHOWN]) + (f" and {others} others" if others > 0 else "")) or "-"


def said(compared: Comparison) -> str:
    """What the differences are differences of."""
    if compared.pairs:
        return f"Differences are the mean change of the {compared.pairs:,} rows that are in both."
    return "Differences are of the means: rows are not paired."
