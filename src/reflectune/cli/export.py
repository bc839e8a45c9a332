"""`reflectune export`: a run's data in another shape or file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli.recycle import Shape


def command(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    output: Annotated[
        Path | None, typer.Option(help="The file to write (.jsonl .json .csv .parquet); by default standard output.")
    ] = None,
    to: Annotated[Shape | None, typer.Option(help="Write another shape than the input's own.")] = None,
    fill: Annotated[Literal["none", "original"], typer.Option(help="What stands for a row that failed.")] = "none",
    provenance: Annotated[
        bool, typer.Option(help="Write where each row comes from into the column `reflectune`.")
    ] = True,
) -> None:
    """Write the recycled rows of a run, in the input's own columns or in another shape.

    [bold]Examples[/bold]

    reflectune export runs/data --output data.parquet

    reflectune export runs/data --to messages > train.jsonl
    """
    from reflectune.cli.runs import export_of
    from reflectune.formats import check_target, to_json, write_rows
    from reflectune.runs import RunDir
    from reflectune.runs.export import written_rows

    with RunDir(run, look=True) as folder:
        rows = written_rows(folder, export_of(folder, to=to, fill=fill == "original", provenance=provenance))
        if output is not None:
            check_target(output)
            write_rows(output, rows)
            return
        for row in rows:
            typer.echo(to_json(row))
