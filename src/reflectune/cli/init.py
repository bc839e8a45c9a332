"""`reflectune init`: a commented recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml"),
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            help="Which: start, laptop, reflection-tuning-alpaca-7b, reflection-tuning-alpaca-13b,"
            " selective-wizardlm-7b, reflection-70b.",
        ),
    ] = "start",
    data: Annotated[str | None, typer.Option(help="The data that it begins with.")] = None,
    schema: Annotated[
        bool, typer.Option("--schema/--no-schema", help="Write the JSON schema beside it, for editors.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a recipe for `reflectune run`, with a comment on every setting that matters.

    Beside it lies recipe.schema.json, by which an editor completes and checks what is written.

    [bold]Examples[/bold]

    reflectune init                                                  recipe.yaml, to be filled in

    reflectune init alpaca.yaml --recipe reflection-tuning-alpaca-7b --data alpaca.json

    reflectune init laptop.yaml --recipe laptop --data data.json     everything with the embedded model
    """
    import orjson

    from reflectune.cli.screen import err
    from reflectune.errors import SettingsError
    from reflectune.files import write_whole
    from reflectune.pipeline.shipped import schema as recipe_schema
    from reflectune.pipeline.shipped import text_of, with_data

    text = text_of(recipe) if data is None else with_data(text_of(recipe), data)
    beside = file.with_name("recipe.schema.json")
    if schema:
        text = f"# yaml-language-server: $schema={beside.name}\n{text}"
    if file.exists() and not force:
        raise SettingsError(f"{file} is there already.", mend="Name another file, or write over it with --force.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
        if schema:
            write_whole(beside, orjson.dumps(recipe_schema(), option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error}.", mend="Name another file.") from error
    err.print(f"{file}\nFill it in, then look at the plan: reflectune run {file} --dry-run")
