"""Flags that every command has that asks a model, each with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

BaseUrl = Annotated[str | None, typer.Option(help="Where an endpoint's model is served; else OPENAI_BASE_URL.")]
KeyEnv = Annotated[str, typer.Option(help="The variable that holds the key.")]
MaxConcurrency = Annotated[int, typer.Option(help="The most requests in flight.", min=1)]
Rpm = Annotated[float | None, typer.Option(help="The most requests a minute.")]
Tpm = Annotated[float | None, typer.Option(help="The most tokens a minute, sent and received.")]
Budget = Annotated[
    float | None, typer.Option(help="The most US dollars that the run may cost in all; exit with 4 at its end.")
]
Prices = Annotated[Path | None, typer.Option(help="A file of your own prices.")]
Timeout = Annotated[float, typer.Option(help="Seconds until a request is tried again.")]
AsJson = Annotated[bool, typer.Option("--json", help="End by printing one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors.")]
EngineName = Annotated[
    Literal["here", "ray"], typer.Option("--engine", help="Where the work is done: in this process, or on Ray.")
]
RayAddress = Annotated[
    str | None, typer.Option("--address", help="A Ray cluster's head, as auto or HOST:6379; else one is started here.")
]
Workers = Annotated[
    int | None,
    typer.Option(help="With --engine ray: how many workers; by default one a node, or one for each GPU.", min=1),
]
