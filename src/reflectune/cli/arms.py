"""`reflectune arms`: what each student of a comparison learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was recycled, and perhaps selected from.")],
    output: Annotated[
        Path | None, typer.Option(help="The folder to write; by default arms/ in the run's folder.")
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Which, with commas between them: original, recycled, random, longest, same-tokens.")
    ] = "original,recycled,random,longest,same-tokens",
    of: Annotated[
        Literal["selected", "recycled"] | None,
        typer.Option(help="What recycled is; by default what was selected, where anything was."),
    ] = None,
    student: Annotated[str, typer.Option(help="The model that learns, whose tokens are counted.")] = "local",
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Write what each student of an honest comparison learns from: the recycled rows, and the baselines beside them.

    random and longest are as many original rows as recycled has, drawn at random or with the longest responses;
    same-tokens is original rows, again and again, until their responses have as many tokens as those of recycled.
    Where the run was selected from, recycled is what was kept.

    [bold]Examples[/bold]

    reflectune arms runs/data                                        one file for each, in runs/data/arms

    reflectune arms runs/data --arms recycled,random --output arms   two of them

    reflectune arms runs/data --student Qwen/Qwen3-4B                tokens as that model counts them
    """
    from reflectune.cli.arming import carry_out

    carry_out(
        run, output or run / "arms", arms.split(","), of=of, student=student, seed=seed, as_json=json, quiet=quiet
    )
