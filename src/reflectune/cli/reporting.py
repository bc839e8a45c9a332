"""Write a report, and say where it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import typer
from rich.text import Text

from reflectune.cli.findings import progress
from reflectune.cli.screen import err
from reflectune.embedding import Embedder
from reflectune.errors import SettingsError
from reflectune.exports.kit import counted
from reflectune.report import Report, write_report


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        run: The run's folder.
        output: The page; by default in that folder.
        rows: How many rows of each kind it shows.
        coherence: Whether embeddings are computed.
        embedder: The model of the embeddings.
        quiet: Whether to show only errors.
    """

    run: Path
    output: Path | None = None
    rows: int = 10
    coherence: bool = False
    embedder: str | None = None
    quiet: bool = False


def carry_out(asked: Asked, *, as_json: bool) -> None:
    """Write the report.

    Raises:
        MissingExtraError: Embeddings are asked for, and there is nothing that makes them.
        RunError: There is no run, or it holds no data.
        SettingsError: The page's name does not end in .html, or there is no place for it.
    """
    started = time.monotonic()
    if asked.output is not None:
        _check(asked.output)
    embedder = Embedder.open(asked.embedder) if asked.coherence else None
    with progress(quiet=asked.quiet) as advance:
        report = write_report(asked.run, asked.output, each=asked.rows, embedder=embedder, progress=advance)
    seconds = round(time.monotonic() - started, 3)
    if not asked.quiet:
        _show(report)
    if as_json:
        typer.echo(orjson.dumps(report.plain() | {"seconds": seconds}).decode())


def _check(output: Path) -> None:
    if output.suffix not in {".html", ".htm"}:
        raise SettingsError(f"{output} is no page.", mend="Let --output end in .html.")
    if not output.resolve().parent.is_dir():
        raise SettingsError(f"There is no folder {output.parent}.", mend="Make it, or name another place.")


def _show(report: Report) -> None:
    counts = report.facts.counts
    parts = [f"{counts.done:,} rewritten", f"{counts.failed:,} failed", f"{counts.pending:,} pending"]
    shown = ", ".join(f"{len(some)} {group}" for group, some in report.choice.rows.items())
    err.print(Text(f"{counted(counts.rows, 'row')}: {', '.join(parts)}; shown: {shown}"))
    for command in report.missing:
        err.print(Text(f"Not on it, for lack of an extra: {command}", style="yellow"))
    err.print(f"{report.page} ({report.page.stat().st_size / 1000:,.0f} kB)")
