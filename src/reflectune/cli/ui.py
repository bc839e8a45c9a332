"""`reflectune ui`: look at runs, and talk to models, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectune.cli import flags


def command(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run's folder, which is opened first, or a folder of runs; by default runs/."),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="The folder that holds the runs; by default runs/, or where RUN is.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A model for the playground, once or more: local, local:FILE.gguf, a transformers folder or hf:ID, "
            "MODEL or MODEL@URL. By default the embedded model, where it is installed.",
        ),
    ] = None,
    base_url: flags.BaseUrl = None,
    key_env: flags.KeyEnv = "OPENAI_API_KEY",
    timeout: flags.Timeout = 600.0,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)] = 7861,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="The variable that holds the key which the app asks for; needed off this machine."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open a browser.")] = True,
) -> None:
    """Look at runs, judge answers and talk to models that reflect, in a browser.

    It shows the runs of a folder, live; each row's versions side by side with the critique between them; statistics
    before and after; evaluations; and a playground. It needs no network. It listens on this machine only, unless told
    otherwise and given a key.

    [bold]Examples[/bold]

    reflectune ui                                          all runs in runs/

    reflectune ui runs/data                                one of them

    reflectune ui --model local --model runs/data/student  two models in the playground

    reflectune ui --host 0.0.0.0 --api-key-env UI_KEY      from other machines, with a key as the password
    """
    from reflectune.cli.showing import Shown, carry_out

    carry_out(
        Shown(
            run=run,
            runs=runs,
            models=tuple(model or ()),
            base_url=base_url,
            key_env=key_env,
            timeout=timeout,
            host=host,
            port=port,
            api_key_env=api_key_env,
            browser=open_,
        )
    )
