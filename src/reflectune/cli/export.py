"""`reflectune export`: a run's data in another shape or file, or data and a configuration for another trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reflectune.cli.recycle import Shape


def command(
    data: Annotated[
        str, typer.Argument(help="The run's folder; with --for also a data file or a data set of the hub.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file to write (.jsonl .json .csv .parquet), by default standard output; with --for the folder."
        ),
    ] = None,
    to: Annotated[Shape | None, typer.Option(help="Write another shape than the input's own.")] = None,
    fill: Annotated[Literal["none", "original"], typer.Option(help="What stands for a row that failed.")] = "none",
    provenance: Annotated[
        bool, typer.Option(help="Write where each row comes from into the column `reflectune`.")
    ] = True,
    for_: Annotated[
        Literal["llama-factory", "axolotl", "trl", "messages"] | None,
        typer.Option("--for", help="Write the data and the configuration of this trainer into a folder."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="With --for: how to train, a recipe's name or a YAML file, as `train` has it.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="With --for: the model that learns, a folder or a hub id.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="With --for: chat, llama-3.1, vicuna, alpaca, wizardlm or a file.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="With --for: any setting of the training, as method=lora.")
    ] = None,
    devices: Annotated[int, typer.Option(help="With --for: how many devices will share a step's rows.", min=1)] = 1,
) -> None:
    """Write the recycled rows of a run, in the input's own columns, in another shape, or for another trainer.

    With --for it writes a folder: the data (of a run what was selected, else what was recycled), the configuration of
    that trainer with the same settings as `reflectune train`, and the command that starts it. What that trainer cannot
    do is an error or is said.

    [bold]Examples[/bold]

    reflectune export runs/data --output data.parquet

    reflectune export runs/data --to messages > train.jsonl

    reflectune export runs/data --for llama-factory --recipe reflection-tuning-7b --devices 8 --output factory

    reflectune export data.json --for trl --student Qwen/Qwen3-4B --set method=lora --output trl
    """
    if for_ is not None:
        from reflectune.cli.exporting import Wanted, carry_out

        given = {"student": student, "template": template}
        wanted = Wanted(
            data=data,
            tool=for_,
            output=output,
            recipe=recipe,
            given={name: value for name, value in given.items() if value is not None},
            assignments=tuple(set_ or ()),
            devices=devices,
        )
        carry_out(wanted)
        return
    if recipe or student or template or set_ or devices > 1:
        raise typer.BadParameter("--recipe, --student, --template, --set and --devices go with --for.")
    _write(Path(data), output, to, fill=fill == "original", provenance=provenance)


def _write(run: Path, output: Path | None, to: Shape | None, *, fill: bool, provenance: bool) -> None:
    from reflectune.formats import check_target, to_json, write_rows
    from reflectune.runs import RunDir
    from reflectune.runs.export import export_of, written_rows

    with RunDir(run, look=True) as folder:
        rows = written_rows(folder, export_of(folder, to=to, fill=fill, provenance=provenance))
        if output is not None:
            check_target(output)
            write_rows(output, rows)
            return
        for row in rows:
            typer.echo(to_json(row))
