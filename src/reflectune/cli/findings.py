"""What a person sees of the quality gates: how many rows each marked, and some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from reflectune.cli.difference import both
from reflectune.cli.screen import err
from reflectune.gates import GATES, Mark
from reflectune.records import Reflection, Version
from reflectune.recycling import STAGE
from reflectune.runs import RunDir


@dataclass(slots=True)
class Findings:
    """What the gates found.

    Attributes:
        most: How many marks of each gate are kept to be shown.
        shown: Those.
        rows: How many rewritten rows there are.
        pending: How many rows are not done yet.
        marked: How many rows each gate marked.
        dropped: The gates whose rows are left out of the data.
        run: The run's folder.
    """

    most: int
    shown: dict[str, list[Mark]] = field(default_factory=dict)
    rows: int = 0
    pending: int = 0
    marked: dict[str, int] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    run: str = ""

    def passing(self, marks: Iterable[Mark]) -> Iterator[Mark]:
        """The same marks, of which the first few are kept, one of each row."""
        for mark in marks:
            few = self.shown.setdefault(mark.gate, [])
            if len(few) < self.most and all(mark.id != other.id for other in few):
                few.append(mark)
            yield mark

    def count(self, folder: RunDir) -> None:
        """Count what is in the folder now."""
        counts = folder.counts(STAGE)
        self.rows, self.pending = counts.done, counts.pending
        self.marked = {gate: folder.marks.count().get(gate, 0) for gate in GATES}
        self.dropped = folder.marks.dropped
        self.run = str(folder.path)

    def summary(self) -> dict[str, Any]:
        """For `--json`."""
        return {"run": self.run, "rows": self.rows, "marked": self.marked, "dropped": list(self.dropped)}


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar, on a terminal and unless quiet: a function from what is being done, how far, and of how many."""
    if quiet or not err.is_terminal:
        yield lambda *_: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def show_findings(folder: RunDir, findings: Findings, *, looked_for: tuple[str, ...]) -> None:
    """Show the counts, and some marked rows before and after."""
    for marks in findings.shown.values():
        for mark in marks:
            _show(folder, mark)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("gate", "rows marked", "of all", "in the data"):
        table.add_column(name, justify="right" if name in {"rows marked", "of all"} else "left")
    for gate, count in findings.marked.items():
        place = "left out" if gate in findings.dropped else "kept" if count else ""
        if gate not in looked_for and not count:
            table.add_row(gate, "-", "-", "not looked for" + (": --against FILE" if gate == "contamination" else ""))
        else:
            table.add_row(gate, f"{count:,}", f"{count / max(findings.rows, 1):.1%}", place)
    err.print(table)
    err.print(f"{findings.rows:,} rewritten rows; every mark is in {folder.path / 'gates.jsonl'}")
    if findings.pending:
        err.print(Text(f"{findings.pending:,} rows are not done yet: look again when they are.", style="yellow"))


def _show(folder: RunDir, mark: Mark) -> None:
    err.print(Text(f"── {mark.gate}: row {mark.id}", style="bold"))
    err.print(mark.detail)
    row = next(folder.rows(STAGE, row=mark.id), None)
    if row is None or row.result is None or row.standing is None:
        return
    old, new = (_half(version, mark.subject) for version in (row.result.versions["original"], row.standing.version))
    err.print(both(old, new) if old != new else Text(f"  {new}\n"))
    if mark.gate == "duplicate":
        other = next(folder.rows(STAGE, row=mark.other), None)
        if other is not None and other.standing is not None:
            err.print(Text(f"row {mark.other}", style="dim"))
            err.print(both("", _half(other.standing.version, mark.subject)))
    elif mark.found and mark.gate == "contamination":
        err.print(Text("in the row", style="dim"), Text(f"  {mark.found}"), sep="\n")
        err.print(Text(f"in {mark.other}", style="dim"), Text(f"  {mark.there}\n"), sep="\n")


def _half(version: Version, subject: Reflection) -> str:
    if subject == "response":
        return version.response
    return f"{version.instruction}\n{version.input}" if version.input else version.instruction
