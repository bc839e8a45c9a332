"""`reflectune select`: which version of each row the student learns from, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli.recycle import Shape

Rule = Literal["selective", "top-ifd", "random", "longest", "perplexity", "ifd", "rifd", "coherence", "diverse"]


def command(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was scored.")],
    rule: Annotated[Rule, typer.Option(help="How to choose.")] = "selective",
    take: Annotated[str | None, typer.Option(help="How many rows to keep, as 500 or 5%.")] = None,
    versions: Annotated[
        Literal["all", "latest", "original", "Q", "A", "QA"],
        typer.Option(help="Which versions of a row compete, for every rule but selective."),
    ] = "all",
    ifd_below_one: Annotated[bool, typer.Option(help="Demand an IFD below 1 of what is kept.")] = True,
    rifd_below_one: Annotated[bool, typer.Option(help="Demand an r-IFD below 1 of what is kept (selective).")] = True,
    keep_original: Annotated[
        bool,
        typer.Option(
            help="Also keep a row whose new response lost, as it was before that; the released code drops it."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the rule random.")] = 0,
    embedder: Annotated[
        str | None, typer.Option(help="The model of sentence embeddings, for coherence and diverse.")
    ] = None,
    to: Annotated[Shape | None, typer.Option(help="Write another shape than the input's own.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the data to this file too (.jsonl .json .csv .parquet).")
    ] = None,
    provenance: Annotated[
        bool, typer.Option(help="Write where each row comes from, and its scores, into the column `reflectune`.")
    ] = True,
    show: Annotated[int, typer.Option(help="How many rows of each reason to show.", min=0)] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be kept; write nothing.")] = False,
    json: Annotated[bool, typer.Option(help="End by printing one JSON object on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")] = False,
) -> None:
    """Choose which version of each row is kept, by what the student makes of it, and say why for every row.

    The rule selective takes the new instruction if its IFD is higher, then the new response if its r-IFD is lower; as
    in the released code it drops rows whose response was not replaced, and what has an IFD or r-IFD of 1 or more.
    The data go to selected.jsonl in the run's folder, every other row with its reason to dropped.jsonl.

    [bold]Examples[/bold]

    reflectune select runs/data                                   the rule of Selective Reflection-Tuning

    reflectune select runs/data --keep-original                   and keep the rows whose reflection lost

    reflectune select runs/data --take 2%                         of those, the 2% of all rows with the highest IFD

    reflectune select runs/data --rule top-ifd --take 5%          Cherry LLM; with a small scorer, Superfiltering

    reflectune select runs/data --rule random --take 1000 --versions original    a baseline
    """
    from reflectune.cli.selecting import Chosen, carry_out
    from reflectune.recipe import SelectSettings

    stage = {
        "rule": rule,
        "take": take,
        "versions": versions,
        "ifd_below_one": ifd_below_one,
        "rifd_below_one": rifd_below_one,
        "keep_original": keep_original,
        "seed": seed,
        "embedder": embedder,
        "to": to,
        "output": output,
        "provenance": provenance,
    }
    settings = SelectSettings.made_of(stage, source="The command")
    carry_out(Chosen(run, settings, show), dry_run=dry_run, as_json=json, quiet=quiet)
