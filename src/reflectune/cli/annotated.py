"""What a comparison with a reference came to: on the screen, as JSON, as an exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from reflectune.cli.most import Most
from reflectune.cli.screen import err
from reflectune.evaluate.alpaca_eval import Report
from reflectune.evaluate.intervals import Interval
from reflectune.records import Failure

FAILED = 3
_MANY = 0.2
"""Of the instructions, without a label: then it is the form."""
_NOBODY = {"requests": 0, "cached": 0, "prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}


@dataclass(slots=True)
class Outcome:
    """What came of a comparison.

    Attributes:
        run: The run's folder.
        items: How many instructions there are.
        reports: The figures, one for each model; none where there is no verdict.
        failures: Instructions without a verdict.
        requests: How many requests it takes at the least.
        most: What the judge may be asked at the most, where nothing is to be asked now.
        asked: What was asked for in this process, and what it cost.
        stopped: What stopped it before its end: `interrupt` or `budget`; nothing where it came to its end.
    """

    run: Path
    items: int
    reports: list[Report] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    requests: int = 0
    most: list[Most] = field(default_factory=list)
    asked: dict[str, object] = field(default_factory=lambda: dict(_NOBODY))
    stopped: str = ""

    @property
    def judged(self) -> int:
        """How many instructions have a verdict."""
        return sum(report.win_rate.n_total for report in self.reports)

    @property
    def pending(self) -> int:
        """How many are still to be judged."""
        return self.items - self.judged - len(self.failures)

    @property
    def reasons(self) -> dict[str, int]:
        """How many instructions have no verdict, by reason."""
        return dict(sorted(Counter(failure.reason for failure in self.failures).items()))

    def summary(self, seconds: float) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "run": str(self.run),
            "items": self.items,
            "judged": self.judged,
            "failed": len(self.failures),
            "pending": self.pending,
            "failures": self.reasons,
            "models": [report.plain() for report in self.reports],
            **self.asked,
            "seconds": round(seconds, 3),
        }

    def exit_code(self, max_failed: float) -> int:
        """4 where the money, 130 where the patience ran out, 3 where too many failed, else 0."""
        if self.pending and self.stopped:
            return 4 if self.stopped == "budget" else 130
        return FAILED if len(self.failures) > max_failed * self.items else 0


def show_outcome(outcome: Outcome) -> None:
    """Show the figures, the raw win rate and the length-controlled one always beside each other."""
    for report in outcome.reports:
        judged = f" against {report.reference}, judged by {report.judge}"
        err.print(Text.assemble((report.model, "bold"), judged))
        err.print(_table(report))
        for note in report.notes:
            err.print(Text(f"{note[0].upper()}{note[1:]}.", style="yellow"))
    if outcome.failures:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in outcome.reasons.items())
        err.print(Text(f"{len(outcome.failures):,} of {outcome.items:,} instructions have no verdict: {listed}"))
        if outcome.reasons.get("no-label", 0) > _MANY * outcome.items:
            err.print(
                Text("A judge that says more than its verdict is better asked with --form plain.", style="yellow")
            )
    if outcome.pending:
        told = f"{outcome.pending:,} are pending, and in no figure; the same command goes on."
        err.print(Text(told, style="yellow"))
    err.print(str(outcome.run))


def _table(report: Report) -> Table:
    raw, level = report.win_rate, report.length_controlled
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("", "left"), ("%", "right"), ("± SE", "right"), ("95%", "left"), ("", "left")):
        table.add_column(name, justify=side, no_wrap=True)  # type: ignore[arg-type]
    counts = f"{raw.n_wins:,} wins, {raw.n_wins_base:,} losses, {raw.n_draws:,} draws"
    table.add_row("win rate", f"{raw.win_rate:.2f}", _two(raw.standard_error), _between(raw.interval), counts)
    if level is None:
        table.add_row("length-controlled", "-", "-", "-", "too few")
    else:
        table.add_row(
            "length-controlled",
            f"{level.value:.2f}",
            _two(level.standard_error),
            _between(level.interval),
            Text(level.label, style="green" if level.official else "yellow"),
        )
    table.add_row("mean length", f"{report.mean_length:,.0f}", "", f"reference {report.reference_length:,.0f}", "")
    return table


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _between(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.2f} to {interval.high:.2f}"
