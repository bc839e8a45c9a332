"""`reflectune leaderboard`: all evaluated models of a project on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
    output: Annotated[
        Path | None, typer.Option(help="The page, as .html; the Markdown lies beside it. By default in the folder.")
    ] = None,
    title: Annotated[str, typer.Option(help="The heading of the page.")] = "Leaderboard",
    json: Annotated[bool, typer.Option("--json", help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Put everything that was evaluated into one table for each form, as HTML with charts and as Markdown.

    It reads what judge, alpaca-eval and benchmark left in their runs. Each figure is linked to its raw replies.

    [bold]Examples[/bold]

    reflectune leaderboard                                  runs/leaderboard.html and runs/leaderboard.md

    reflectune leaderboard experiments --output site/index.html --title "Recycled Alpaca"
    """
    from reflectune.cli.leading import lead

    lead(runs, output or runs / "leaderboard.html", title, as_json=json, quiet=quiet)
