"""`reflectune report`: a run on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectune.cli import flags


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    output: Annotated[
        Path | None, typer.Option(help="The page, as .html; by default report.html in the run's folder.")
    ] = None,
    rows: Annotated[
        int, typer.Option(help="How many typical, best and worst rows it shows, of each.", min=0, max=1000)
    ] = 10,
    coherence: Annotated[
        bool, typer.Option("--coherence", help="Compute embeddings too, which takes far longer than all the rest.")
    ] = False,
    embedder: Annotated[
        str | None, typer.Option(help="The model of the embeddings: a folder or a hub id; by default all-MiniLM-L6-v2.")
    ] = None,
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Write a report of a run: one HTML file that needs nothing but itself.

    It tells what the run was and what it cost, what failed and why, how the data changed, what the critiques, the
    student and the evaluations say, and shows typical, best and worst rows with the rule that chose them. A run that is
    not finished has a report too.

    [bold]Examples[/bold]

    reflectune report runs/data                               runs/data/report.html

    reflectune report runs/data --output site/data.html --rows 20

    reflectune report runs/data --coherence                   with embeddings
    """
    from reflectune.cli.reporting import Asked, carry_out

    carry_out(Asked(run, output, rows, coherence or embedder is not None, embedder, quiet=quiet), as_json=json)
