"""Show arms side by side: plain, told to reflect, taught to reflect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from reflectune.cli.screen import err
from reflectune.evaluate.benchmarks.comparison import ArmFigures, Comparison, Paired
from reflectune.evaluate.intervals import Interval

_COLUMNS = ("asked", "model", "right, %", "against plain, points", "p", "tokens", "cut off", "no output", "reflections")
_FLIPS = ("wrong → right", "right → wrong")


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Show one table for each benchmark and metric."""
    for comparison in comparisons:
        err.print(_table(comparison))


def plain(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The same for `--json`."""
    return [asdict(comparison) for comparison in comparisons]


def _table(comparison: Comparison) -> Table:
    items = max((arm.items for arm in comparison.arms), default=0)
    title = f"{comparison.benchmark}, {comparison.metric}: {items:,} questions"
    table = Table(title=title, title_justify="left", title_style="bold")
    flips = any(arm.drafts for arm in comparison.arms)
    for place, name in enumerate((*_COLUMNS, *(_FLIPS if flips else ()))):
        table.add_column(name, justify="left" if place < 2 else "right", overflow="fold")  # noqa: PLR2004
    against = {paired.arm: paired for paired in comparison.paired}
    for arm in comparison.arms:
        cells = (*_cells(arm, against.get(arm.arm)), *(_flipped(arm) if flips else ()))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _cells(arm: ArmFigures, paired: Paired | None) -> tuple[str, ...]:
    failed = f" ({arm.failed:,} failed)" if arm.failed else ""
    return (
        arm.arm,
        arm.model,
        f"{arm.value:.1f}{_spanned(arm.interval)}{failed}",
        "" if paired is None else f"{paired.difference:+.1f}{_spanned(paired.interval, signed=True)}",
        "" if paired is None else f"{paired.p_value:.3f}",
        f"{arm.tokens:,.0f}",
        f"{arm.cut_off:.0f}%",
        "" if arm.without_output is None else f"{arm.without_output:.0f}%",
        f"{arm.reflections:.2f}",
    )


def _flipped(arm: ArmFigures) -> tuple[str, str]:
    """Of the replies whose thinking holds a first answer, how many changed it for better and for worse."""
    if not arm.drafts:
        return "", ""
    return f"{arm.mended:,} of {arm.drafts:,}", f"{arm.spoiled:,} of {arm.drafts:,}"


def _spanned(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    ends = (f"{end:+.1f}" if signed else f"{end:.1f}" for end in (interval.low, interval.high))
    return f" ({' to '.join(ends)})"
