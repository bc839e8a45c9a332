"""What a person sees of statistics: one table for a data set, or for two with what changed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reflectune.cli.dataset import DataSet
from reflectune.evaluate import METRICS, Comparison, Metric, Statistics
from reflectune.report.wording import NAMES, change, interval, languages, number, of_the_whole, said

out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

_SCORES = ("instruction_ppl", "response_ppl_alone", "response_ppl_conditioned", "ifd_ppl", "rifd_ppl")


def show_statistics(found: Statistics, data: DataSet) -> None:
    """Show one data set."""
    table = _table(f"{found.rows:,} rows", "mean", "95% interval", "median", "deviation", "rows")
    for metric in METRICS:
        summary = found.metrics.get(metric)
        if summary is None:
            continue
        write = number(metric)
        table.add_row(
            NAMES[metric],
            write(summary.mean),
            interval(summary.interval, write),
            write(summary.median),
            "-" if summary.deviation is None else write(summary.deviation),
            f"{summary.count:,}",
        )
    for name, value in of_the_whole(found):
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
        write, one, other = number(metric), old.metrics.get(metric), new.metrics.get(metric)
        if one is None and other is None:
            continue
        table.add_row(
            NAMES[metric],
            write(one.mean) if one else "-",
            write(other.mean) if other else "-",
            *change(compared.differences.get(metric), write),
        )
    for (name, one_value), (_, other_value) in zip(of_the_whole(old), of_the_whole(new), strict=True):
        table.add_row(name, one_value, other_value)
    out.print(table)
    _show_languages(old, " before")
    _show_languages(new, " after")
    out.print(said(compared), style="dim")
    _show_missing([*old.metrics, *new.metrics], after)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _show_languages(found: Statistics, whose: str) -> None:
    for half, counts in found.languages.items():
        out.print(f"languages of the {half}s{whose}: {languages(counts)}", style="dim")


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
