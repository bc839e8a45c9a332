"""`reflectune verdict`: did it help?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli import flags


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a journey, as `reflectune run` makes it.")],
    output: Annotated[
        Path | None,
        typer.Option(help="The page, as .html; the JSON and the Markdown lie beside it. By default in the folder."),
    ] = None,
    lang: Annotated[Literal["en", "zh"], typer.Option(help="The language of the page.")] = "en",
    json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Say whether it helped: the students compared, with intervals, on one page and in one paragraph to quote.

    The recycled data's student stands against that of the original data and against the baselines, as it is and at
    equal length. Where the interval includes 50% it says so, and what else there is to mistrust. It prints the
    paragraph, and writes verdict.html, verdict.json and verdict.md. A journey that is not finished has a page too.

    [bold]Examples[/bold]

    reflectune verdict runs/laptop                            runs/laptop/verdict.html, .json and .md

    reflectune verdict runs/laptop --lang zh                  in Chinese

    reflectune verdict runs/laptop --output site/index.html
    """
    from reflectune.cli.judgement import Asked, carry_out

    carry_out(Asked(run, output, lang, quiet=quiet), as_json=json)
