"""`reflectune doctor`: what works here, what is missing, and the command that brings it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reflectune.cli.flags import KeyEnv


def command(
    base_url: Annotated[
        str | None, typer.Option(help="An endpoint to ask for its models; else OPENAI_BASE_URL, else none.")
    ] = None,
    key_env: KeyEnv = "OPENAI_API_KEY",
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing over the network.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Say what works here, what is missing, and the command that brings it.

    It looks at packages, keys (never at what they are), the place for runs, GPUs and, where one is named, an endpoint.
    It exits with 1 where something is broken; what is only not installed breaks nothing.

    [bold]Examples[/bold]

    reflectune doctor

    reflectune doctor --base-url http://127.0.0.1:8000/v1    is that server up, and what does it serve?

    reflectune doctor --offline --json
    """
    from reflectune.cli.examining import show
    from reflectune.doctor import Asked

    if not show(Asked(runs, base_url, key_env, offline), as_json=json):
        raise typer.Exit(1)
