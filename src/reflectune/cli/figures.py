"""What a person sees of statistics: one table for a data set, or for two with what changed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reflectune.cli.dataset import DataSet
from reflectune.evaluate import METRICS, Comparison, Difference, Interval, Metric, Statistics

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

_NAMES: dict[Metric, str] = {
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
_SCORES = ("instruction_ppl", "response_ppl_alone", "response_ppl_conditioned", "ifd_ppl", "rifd_ppl")
_LANGUAGES_SHOWN = 4


def show_statistics(found: Statistics, data: DataSet) -> None:
    """Show one data set."""
    table = _table(f"{found.rows:,} rows", "mean", "95% interval", "median", "deviation", "rows")
    for metric in METRICS:
        summary = found.metrics.get(metric)
        if summary is None:
            continue
        number = _number(metric)
        table.add_row(
            _NAMES[metric],
            number(summary.mean),
            _interval(summary.interval, number),
            number(summary.median),
            "-" if summary.deviation is None else number(summary.deviation),
            f"{summary.count:,}",
        )
    for name, value in _of_the_whole(found):
        table.add_row(name, value)
    out.print(table)
    _show_languages(found, "")
    _show_missing(found.metrics, data)


def show_comparison(compared: Comparison, before: DataSet, after: DataSet) -> None:
    """Show two data sets, and what changed from the one to the other."""
    old, new = compared.before, compared.after
    for side, data in (("before", before), ("after", after)):
        out.print(f"{side:6}  {data.name}: {len(data.rows):,} rows", style="bold")
    table = _table("mean", "before", "after", "difference", "95% interval")
    for metric in METRICS:
        number, one, other = _number(metric), old.metrics.get(metric), new.metrics.get(metric)
        if one is None and other is None:
            continue
        table.add_row(
            _NAMES[metric],
            number(one.mean) if one else "-",
            number(other.mean) if other else "-",
            *_change(compared.differences.get(metric), number),
        )
    for (name, one_value), (_, other_value) in zip(_of_the_whole(old), _of_the_whole(new), strict=True):
        table.add_row(name, one_value, other_value)
    out.print(table)
    _show_languages(old, " before")
    _show_languages(new, " after")
    out.print(_said(compared), style="dim")
    _show_missing([*old.metrics, *new.metrics], after)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _of_the_whole(found: Statistics) -> list[tuple[str, str]]:
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


def _show_languages(found: Statistics, whose: str) -> None:
    for half, counts in found.languages.items():
        most = [f"{language} {count:,}" for language, count in counts.items()]
        others = len(most) - _LANGUAGES_SHOWN
        told = ", ".join(most[:_LANGUAGES_SHOWN]) + (f" and {others} others" if others > 0 else "")
        out.print(f"languages of the {half}s{whose}: {told or '-'}", style="dim")


def _show_missing(present: Iterable[Metric], data: DataSet) -> None:
    """Say of the figures that are not there how to get them."""
    there = set(present)
    if not there.intersection(_SCORES):
        of = shlex.quote(str(data.run)) if data.run else "DATA, then stats of its run"
        out.print(Text(f"perplexity, IFD, r-IFD  not scored: reflectune score {of}", style="yellow"))
    if "instruction_tokens" not in there:
        out.print(
            Text(
                "tokens                  not counted: see --tokenizer and --no-tokens",
                style="yellow",
            )
        )
    if "coherence" not in there:
        out.print(Text("coherence               not computed: leave out --no-coherence", style="yellow"))


def _said(compared: Comparison) -> str:
    if compared.pairs:
        return f"Differences are the mean change of the {compared.pairs:,} rows that are in both."
    return "Differences are of the means: rows are not paired."


def _number(metric: Metric) -> Callable[[float], str]:
    return "{:,.3f}".format if metric in _RATIOS else "{:,.1f}".format


def _change(difference: Difference | None, number: Callable[[float], str]) -> tuple[str, str]:
    if difference is None:
        return "-", "-"

    def signed(value: float) -> str:
        return number(value) if value < 0 else f"+{number(value)}"

    return signed(difference.mean), _interval(difference.interval, signed)


def _interval(interval: Interval | None, number: Callable[[float], str]) -> str:
    return "-" if interval is None else f"{number(interval.low)} to {number(interval.high)}"
