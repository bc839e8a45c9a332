"""`reflectune run`: a whole journey by one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, the name of one that comes with reflectune, or a journey's folder.")
    ],
    run: Annotated[Path | None, typer.Option(help="The journey's folder; by default runs/ and its name.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as limit=100 or train.epochs=1; may be repeated.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after this stage: recycle, select, train, generate, judge, ...")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan with requests, costs and times; ask and write nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Carry a data set through the whole method, and say whether it helped.

    Recycles the data, has the student score and select, trains it on the recycled data and on what that is compared
    with, has every student answer the test sets, has a judge compare them in both orders, and ends with one page: the
    verdict. Each stage is a command that is shown, so that it can be typed by itself; what has not changed is skipped,
    what was broken off is gone on with by the same command.

    [bold]Examples[/bold]

    reflectune run recipe.yaml --dry-run                             the plan, with costs and times

    reflectune run recipe.yaml                                       all of it; the same command resumes

    reflectune run laptop --set data=data.json --set limit=20        a recipe that comes with reflectune

    reflectune run recipe.yaml --until select                        the data only

    reflectune run runs/recipe --set seeds=[0,1,2]                   go on in a folder, with more seeds
    """
    from reflectune.cli.running import Asked, carry_out

    carry_out(Asked(recipe, run, tuple(set_ or ()), until=until, quiet=quiet), dry_run=dry_run, as_json=json)
