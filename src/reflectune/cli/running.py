"""Go on a journey: say what comes next, do it, and end with the verdict."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.text import Text

from reflectune.cli.beforehand import check_beforehand
from reflectune.cli.run_plan import show_plan
from reflectune.cli.screen import err
from reflectune.errors import RunError, SettingsError
from reflectune.pipeline import Journey, Standing, folder_of, run
from reflectune.pipeline.plan import RECIPE, Stage
from reflectune.pipeline.shipped import read_recipe

_TOLD: dict[Standing, str] = {
    "done": "done before",
    "changed": "what it depends on has changed: done over",
    "begun": "was broken off: goes on",
    "new": "",
}
_WHY = {
    3: "More rows failed than max_failed allows. The rest is kept; `--set max_failed=0.2` goes on all the same.",
    4: "The budget is spent. A larger one goes on: --set budget=...",
    130: "Stopped. The same command goes on.",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: A recipe's file or name, or a journey's folder.
        run: The journey's folder; by default by the recipe's name.
        assignments: Settings that are laid over the recipe's.
        until: The last stage to do.
        quiet: Whether to show only errors.
    """

    recipe: str
    run: Path | None = None
    assignments: tuple[str, ...] = ()
    until: str | None = None
    quiet: bool = False

    def journey(self) -> Journey:
        """The journey, new or gone on with.

        Raises:
            RunError: Its folder cannot be read.
            SettingsError: There is no such recipe, or it does not fit.
        """
        path = Path(self.recipe)
        if (path / "state.sqlite").is_file():
            raise RunError(
                f"{path} is the run of a single command, not a journey.",
                mend="Name a recipe, or a journey's folder: reflectune runs list tells which are journeys.",
            )
        file = path / RECIPE if path.is_dir() else path
        recipe = read_recipe(str(file), self.assignments)
        folder = self.run or (path if path.is_dir() else folder_of(recipe, file))
        return Journey.open(recipe, folder)


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Go on the journey, or show its plan; end with the exit code of the stage that stopped it.

    Raises:
        RunError: Its folder cannot be used.
        SettingsError: There is no such recipe or stage, or the recipe does not fit.
    """
    journey = asked.journey()
    _check_until(journey, asked.until)
    check_beforehand(journey, asked.until, dry_run=dry_run)
    if dry_run:
        show_plan(journey, as_json=as_json, quiet=asked.quiet)
        return
    progress = _Progress(journey, quiet=asked.quiet)
    code = run(journey, progress.next, until=asked.until, quiet=asked.quiet)
    judged = not code and progress.judged
    paragraph = _paragraph(journey.folder) if judged else ""
    if as_json:
        typer.echo(orjson.dumps(_summary(journey, code, paragraph)).decode())
    elif paragraph:
        typer.echo(paragraph)
    if code:
        _explain(journey, code)
        raise typer.Exit(code)
    if not asked.quiet and judged:
        err.print(str(journey.folder / "verdict.html"))


class _Progress:
    """Says which stage is next, and how the ones before it stand.

    Attributes:
        judged: Whether the journey has come to its verdict, which is the last stage; one of an earlier recipe may lie
            in the folder before that.
    """

    def __init__(self, journey: Journey, *, quiet: bool) -> None:
        self.judged = False
        self._journey = journey
        self._quiet = quiet

    def next(self, number: int, stage: Stage, standing: Standing) -> None:
        """Say what comes next; of what is to be done the command too."""
        self.judged = stage.kind == "verdict"
        if self._quiet:
            return
        head = f"[{number + 1}/{len(self._journey.stages)}] {stage.name}"
        told = _TOLD[standing]
        err.print(Text.assemble((head, "bold" if standing != "done" else "dim"), (f"  {told}" if told else "", "dim")))
        if standing != "done":
            err.print(Text(f"  reflectune {shlex.join(stage.command)}", style="dim"))


def _check_until(journey: Journey, until: str | None) -> None:
    known = [*dict.fromkeys([stage.kind for stage in journey.stages]), *(stage.key for stage in journey.stages)]
    if until is None or until in known:
        return
    near = difflib.get_close_matches(until, known, 1)
    kinds = dict.fromkeys(stage.kind for stage in journey.stages)
    mend = f"Did you mean {near[0]}?" if near else f"The stages are: {', '.join(kinds)}."
    raise SettingsError(f"The recipe has no stage {until}.", mend=mend)


def _explain(journey: Journey, code: int) -> None:
    """Say which stage stopped the journey, why, and how it goes on."""
    stage = next((stage for stage in journey.stages if _stopped_here(journey, stage)), None)
    if stage is not None:  # none where somebody stopped the journey just as a stage came to its end
        err.print(Text.assemble((f"{stage.name} ended with exit code {code}.", "yellow")))
    err.print(_WHY.get(code, "What went wrong stands above. Mend it, and the same command goes on."))
    err.print(f"reflectune run {shlex.quote(str(journey.folder))}")


def _stopped_here(journey: Journey, stage: Stage) -> bool:
    known = journey.state.stages.get(stage.key)
    return known is not None and known.state != "done"


def _summary(journey: Journey, code: int, paragraph: str) -> dict[str, Any]:
    stages = {
        key: one.model_dump(include={"name", "state", "seconds", "exit", "attempts", "spent"})
        for key, one in journey.state.stages.items()
    }
    unknown = any(one.spent is not None and one.spent.cost is None for one in journey.state.stages.values())
    return {
        "run": str(journey.folder),
        "exit": code,
        "stages": stages,
        "done": sum(one.state == "done" for one in journey.state.stages.values()),
        "planned": len(journey.stages),
        "cost": None if unknown else round(journey.spent(), 6),
        "seconds": round(sum(one.seconds for one in journey.state.stages.values()), 3),
        "verdict": paragraph or None,
    }


def _paragraph(folder: Path) -> str:
    """What the verdict says in plain words; nothing where there is none yet."""
    path = folder / "verdict.json"
    if not path.is_file():
        return ""
    found = orjson.loads(path.read_bytes())
    return str(found.get("text", {}).get("en", ""))
