"""`run --dry-run`: every stage with how it stands, what it would ask, and about what that costs and takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from reflectune.cli.forecast import Forecast, Forecasts
from reflectune.cli.money import dollars
from reflectune.cli.screen import clean, err
from reflectune.pipeline import Journey, Standing
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.plan import Stage

_TOLD: dict[Standing, str] = {"done": "done", "changed": "over again", "begun": "goes on", "new": ""}
_NOTE = (
    "How long replies are is not known before some were seen. Times are guesses until a stage of the"
    " kind has run here: a reply of an endpoint at 50 tokens a second, the embedded model as on 2 cores. What is"
    " unknown stands as a dash."
)


@dataclass(frozen=True, slots=True)
class Line:
    """One stage of the plan.

    Attributes:
        stage: The stage.
        standing: How it stands; of a stage whose inputs are not there yet it is new.
        forecast: What it would take.
        took: Seconds that it took, where it is done.
    """

    stage: Stage
    standing: Standing
    forecast: Forecast
    took: float | None


def show_plan(journey: Journey, *, as_json: bool, quiet: bool) -> None:
    """Print the plan. Nothing is asked, loaded or written.

    Raises:
        InputError: The data or a test set cannot be read.
        RunError: An input cannot be read.
        SettingsError: What is asked for does not fit.
    """
    lines = _lines(journey)
    left = [line.forecast for line in lines if line.standing != "done"]
    total = Forecast.total(left)
    if as_json:
        typer.echo(orjson.dumps(_plain(journey, lines, total)).decode())
        return
    if quiet:
        return
    recipe = journey.recipe
    err.print(Text(f"{journey.folder}: {recipe.data} by {recipe.oracle.name}, for {recipe.student}", style="bold"))
    err.print(_table(lines, total))
    if recipe.budget is not None and total.cost is not None and total.cost.high > recipe.budget:
        err.print(f"The budget of ${recipe.budget:,.2f} may not be enough.", style="yellow")
    err.print(Text(_NOTE, style="dim"))


def _lines(journey: Journey) -> list[Line]:
    forecasts, prints = Forecasts(journey), Fingerprints(journey.state.files)
    lines: list[Line] = []
    for stage in journey.stages:
        standing = journey.standing(stage, journey.fingerprint(stage, prints))
        known = journey.state.stages.get(stage.key)
        took = known.seconds if known and standing == "done" else None
        lines.append(Line(stage, standing, forecasts.of(stage), took))
    return lines


def _table(lines: list[Line], total: Forecast) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage", overflow="fold")
    table.add_column("state")
    for name in ("requests", "cost", "at most", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        done = line.standing == "done"
        cells = ("", "", "", told_time(line.took)) if done else _cells(line.forecast)
        table.add_row(Text(clean(line.stage.name)), _TOLD[line.standing], *cells, style="dim" if done else "")
    table.add_section()
    table.add_row("left to do, as far as known" if total.partial else "left to do", "", *_cells(total), style="bold")
    return table


def _cells(forecast: Forecast) -> tuple[str, str, str, str]:
    """Requests, cost, the most that it may cost, and time."""
    cost, seconds, requests = forecast.cost, forecast.seconds, forecast.requests
    unknown = cost is None
    return (
        "-" if requests is None else f"{requests:,}" if requests else "",
        "-" if unknown else dollars(cost.likely) if cost and cost.high else "",
        "-" if unknown else dollars(cost.high) if cost and cost.high else "",
        "-" if seconds is None else f"~{told_time(seconds)}",
    )


def told_time(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "-"
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    if seconds < 5400:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _plain(journey: Journey, lines: list[Line], total: Forecast) -> dict[str, Any]:
    return {
        "run": str(journey.folder),
        "stages": [
            {
                "key": line.stage.key,
                "name": line.stage.name,
                "command": list(line.stage.command),
                "state": line.standing,
                **line.forecast.plain(),
                "took": line.took,
            }
            for line in lines
        ],
        "left": total.plain(),
    }
