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

_COLUMNS = ("stage", "state", "requests", "cost", "at most", "time")
_TOLD: dict[Standing, str] = {"done": "done", "changed": "over again", "begun": "goes on", "new": ""}
_OWN_FOLDERS = {"arms", "train"}
"""Commands that ask nobody and write a folder of their own; the others write files into the one of the data."""
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
        standing: How it stands, once what comes before it is done; of a stage that was never begun it is new.
        perhaps: Whether it is done over only if a stage before it writes something else than before.
        forecast: What it would take.
        took: Seconds that it took, where it is done.
    """

    stage: Stage
    standing: Standing
    forecast: Forecast
    took: float | None
    perhaps: bool = False

    @property
    def told(self) -> str:
        """How it stands, in few words."""
        return "again if changed" if self.perhaps else _TOLD[self.standing]

    def feeds(self, later: Stage) -> bool:
        """Whether a later stage depends on what this one writes. The verdict depends on all of them."""
        own = self.stage
        if later.kind == "verdict" or own.key in later.after:
            return True
        folder = own.run or (own.outputs[0].parent if own.kind in _OWN_FOLDERS else None)
        return any(path in own.outputs or (folder is not None and path.is_relative_to(folder)) for path in later.inputs)

    def compels(self, later: Stage) -> bool:
        """Whether a later stage is done over whatever this one will write: it depends on what this one is asked."""
        asked = later.kind == "verdict" or self.stage.key in later.after
        return asked and self.standing in {"changed", "new"} and not self.perhaps


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
    err.print(Text(_NOTE, style="dim"), soft_wrap=False)


def _lines(journey: Journey) -> list[Line]:
    forecasts, prints = Forecasts(journey), Fingerprints(journey.state.files)
    lines: list[Line] = []
    for stage in journey.stages:
        standing = journey.standing(stage, journey.fingerprint(stage, prints))
        perhaps = False
        if standing == "done" and (before := [line for line in lines if line.standing != "done" and line.feeds(stage)]):
            standing = "changed"  # its fingerprint is of what they left the last time
            perhaps = not any(line.compels(stage) for line in before)
        known = journey.state.stages.get(stage.key)
        took = known.seconds if known and standing == "done" else None
        lines.append(Line(stage, standing, forecasts.of(stage), took, perhaps))
    return lines


def _table(lines: list[Line], total: Forecast) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    rows = [(clean(line.stage.name), line.told, *_figures(line)) for line in lines]
    last = ("left to do, as far as known" if total.partial else "left to do", "", *_cells(total))
    used = [place for place, cells in enumerate(zip(*rows, last, strict=True)) if any(cells)]  # room for the names
    for place in used:
        name = _COLUMNS[place]
        text = name in {"stage", "state"}
        table.add_column(name, justify="left" if text else "right", no_wrap=name != "stage")
    for line, row in zip(lines, rows, strict=True):
        table.add_row(*(Text(row[place]) for place in used), style="dim" if line.standing == "done" else "")
    table.add_section()
    table.add_row(*(Text(last[place]) for place in used), style="bold")
    return table


def _figures(line: Line) -> tuple[str, str, str, str]:
    return ("", "", "", told_time(line.took)) if line.standing == "done" else _cells(line.forecast)


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
                "perhaps": line.perhaps,
                **line.forecast.plain(),
                "took": line.took,
            }
            for line in lines
        ],
        "left": total.plain(),
    }
