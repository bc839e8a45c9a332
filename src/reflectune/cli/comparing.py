"""Show arms side by side: plain, told to reflect, taught to reflect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from reflectune.cli.screen import err
from reflectune.evaluate.benchmarks.comparison import ArmFigures, Comparison
from reflectune.evaluate.intervals import Interval
from reflectune.evaluate.scores import Arm

Line = tuple[str, dict[Arm, str]]
"""What is told, and what each arm has to say."""

_COSTS: tuple[tuple[str, Callable[[ArmFigures], str]], ...] = (
    ("questions", lambda arm: f"{arm.items:,}"),
    ("without a reply", lambda arm: f"{arm.failed:,}" if arm.failed else ""),
    ("tokens a reply", lambda arm: f"{arm.tokens:,.0f}"),
    ("cut off", lambda arm: f"{arm.cut_off:.0f}%"),
    ("without <output>", lambda arm: "" if arm.without_output is None else f"{arm.without_output:.0f}%"),
    ("reflections a reply", lambda arm: "" if arm.without_output is None else f"{arm.reflections:.2f}"),
    ("wrong, then right", lambda arm: f"{arm.mended:,} of {arm.drafts:,}" if arm.drafts else ""),
    ("right, then wrong", lambda arm: f"{arm.spoiled:,} of {arm.drafts:,}" if arm.drafts else ""),
)


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Show one table for each benchmark, with a column for each arm."""
    for benchmark, several in groupby(comparisons, key=lambda comparison: comparison.benchmark):
        err.print(_table(benchmark, list(several)))


def plain(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The same for `--json`."""
    return [asdict(comparison) for comparison in comparisons]


def _table(benchmark: str, comparisons: Sequence[Comparison]) -> Table:
    arms = comparisons[0].arms
    table = Table(title=Text(benchmark), title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for arm in arms:
        table.add_column(Text(f"{arm.arm}\n{arm.model}"), justify="right", overflow="fold")
    lines = [line for comparison in comparisons for line in _figures(comparison)]
    lines += [(name, {arm.arm: told(arm) for arm in arms}) for name, told in _COSTS]
    for name, said in lines:
        if any(said.values()):
            table.add_row(Text(name), *(Text(said.get(arm.arm, "")) for arm in arms))
    return table


def _figures(comparison: Comparison) -> Iterator[Line]:
    yield (
        f"{comparison.metric}, %",
        {arm.arm: f"{arm.value:.1f} {_spanned(arm.interval)}" for arm in comparison.arms},
    )
    against = {paired.arm: paired for paired in comparison.paired}
    yield (
        "  against plain",
        {arm: f"{paired.difference:+.1f} {_spanned(paired.interval, '+')}" for arm, paired in against.items()},
    )
    yield "  p, gained, lost", {arm: f"{one.p_value:.3f}, {one.gained:,}, {one.lost:,}" for arm, one in against.items()}


def _spanned(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"({interval.low:{sign}.1f} to {interval.high:{sign}.1f})"
