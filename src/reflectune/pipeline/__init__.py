"""A journey: one recipe from data to students that are compared, each stage a process that can be broken off.

plan.py           the stages in order, as the recipe says: pure
commands.py       settings as the flags of a command
fingerprints.py   what the inputs of a stage hold
process.py        a stage as a process
state.py          what the journey has come to: pipeline.json
arms.py           what each student learns from: ours, and the baselines that it is compared with
shipped.py        recipes by name, or of a file
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from reflectune.errors import RunError, SettingsError
from reflectune.files import write_whole
from reflectune.oracles.prices import cost_of, read_prices
from reflectune.pipeline.fingerprints import Fingerprints
from reflectune.pipeline.plan import RECIPE, Stage, folder_of, money_of, plan
from reflectune.pipeline.process import carried_out
from reflectune.pipeline.state import PipelineState, Spending, StageState
from reflectune.recipe.pipeline import PipelineRecipe
from reflectune.records import digest
from reflectune.runs import RunDir
from reflectune.runs.lock import take

__all__ = ["Journey", "Standing", "State", "folder_of", "plan", "run"]

Standing = Literal["done", "changed", "begun", "new"]
"""done: nothing it depends on has changed; changed: something has; begun: it was broken off; new: it was not begun."""
State = StageState
_STOPPED = {4, 130}
_FIGURES = {"judge", "benchmark"}
"""Commands that do not put the figures of fewer items in the place of those of more."""
_LEAST = 0.000001
Watch = Callable[[int, Stage, Standing], None]
"""Is told before each stage: how many there were, the stage, how it stands."""


@dataclass(slots=True)
class Journey:
    """A journey's folder: its plan, and what has come of it.

    Attributes:
        recipe: What is asked for.
        folder: Where everything lies.
        stages: The plan.
        state: What has come of it.
    """

    recipe: PipelineRecipe
    folder: Path
    stages: tuple[Stage, ...]
    state: PipelineState

    @classmethod
    def open(cls, recipe: PipelineRecipe, folder: Path) -> Journey:
        """A journey, new or gone on with.

        Raises:
            RunError: What the folder holds cannot be read, or is a run of another kind.
            SettingsError: The recipe does not fit.
        """
        if (folder / "state.sqlite").exists():
            raise RunError(f"{folder} is the run of a single command.", mend="Name another folder with --run.")
        _refuse_other_data(recipe, folder / RECIPE)
        return cls(recipe, folder, plan(recipe, folder), PipelineState.load(folder, version("reflectune")))

    def standing(self, stage: Stage, fingerprint: str) -> Standing:
        """How a stage stands."""
        known = self.state.stages.get(stage.key)
        if known is None:
            return "new"
        if known.fingerprint != fingerprint:
            return "changed"
        whole = known.state == "done" and all(path.exists() for path in stage.outputs)
        return "done" if whole else "begun"

    def fingerprint(self, stage: Stage, prints: Fingerprints) -> str:
        """A hash of a stage's command and of what its inputs hold."""
        if stage.kind == "verdict":  # it reads what every other stage left
            return digest([stage.command, sorted((key, one.fingerprint) for key, one in self._others(stage))])
        before = [self.state.stages[key].fingerprint for key in stage.after if key in self.state.stages]
        return digest([stage.command, [prints.of(path) for path in stage.inputs], before])

    def note(self, stage: Stage, **changes: Any) -> StageState:
        """Note how a stage stands now, durably."""
        noted = self.state.stages[stage.key].model_copy(update=changes)
        self.state = self.state.with_stage(stage.key, noted)
        self.state.save(self.folder)
        return noted

    def spent(self) -> float:
        """US dollars spent in the folder, by stages that the recipe has no more too; an unknown price is none."""
        found = (_spent(path.parent, self.recipe) for path in sorted(self.folder.rglob("state.sqlite")))
        return sum((one.cost or 0.0) for one in found if one)

    def _others(self, stage: Stage) -> list[tuple[str, StageState]]:
        keys = {one.key for one in self.stages} - {stage.key}
        return [(key, one) for key, one in self.state.stages.items() if key in keys]


def _refuse_other_data(recipe: PipelineRecipe, path: Path) -> None:
    """Refuse a folder in which other data has been worked on.

    Raises:
        RunError: It is one.
    """
    try:
        before = PipelineRecipe.load(path).data
    except SettingsError:  # there is none, or another version wrote it; the stages look for themselves
        return
    if before != recipe.data and Path(before).resolve() != Path(recipe.data).resolve():
        raise RunError(f"The journey {path.parent} is of other data: {before}.", mend="Name another folder with --run.")


def _look_away(_number: int, _stage: Stage, _standing: Standing) -> None:
    pass


def run(journey: Journey, watch: Watch = _look_away, *, until: str | None = None, quiet: bool = False) -> int:
    """Do every stage that is not done, in order.

    Args:
        journey: Its plan and what has come of it.
        watch: Is told of each stage before it is begun or skipped.
        until: The last stage to do, by its key or its command; by default all.
        quiet: Whether the stages show only errors.

    Returns:
        0, or the exit code of the stage that stopped it; 130 where somebody did.

    Raises:
        RunError: The folder cannot be written, another process works on it, or a stage said that it is done and left
            nothing.
    """
    lock = take(journey.folder)
    try:
        journey.recipe.save(journey.folder / RECIPE, stated=True)
        _forget_others(journey)
        return _every_stage(journey, watch, until, quiet=quiet)
    finally:
        os.close(lock)


def _every_stage(journey: Journey, watch: Watch, until: str | None, *, quiet: bool) -> int:
    prints = Fingerprints(journey.state.files)
    for number, stage in enumerate(journey.stages):
        fingerprint = journey.fingerprint(stage, prints)
        standing = journey.standing(stage, fingerprint)
        watch(number, stage, standing)
        journey.state = journey.state.model_copy(update={"files": prints.known})
        if standing != "done" and (code := _do(journey, stage, fingerprint, standing, quiet=quiet)):
            return code
        if until in {stage.key, stage.kind} and not _more(journey, number, until):
            break
    journey.state.save(journey.folder)
    return 0


def _more(journey: Journey, number: int, until: str | None) -> bool:
    """Whether a later stage is of the same command."""
    return any(until in {stage.key, stage.kind} for stage in journey.stages[number + 1 :])


def _forget_others(journey: Journey) -> None:
    """Leave out the stages that the recipe has no more; what they wrote stays."""
    keys = [stage.key for stage in journey.stages]
    stages = {key: journey.state.stages[key] for key in keys if key in journey.state.stages}
    journey.state = journey.state.model_copy(update={"stages": stages})


def _do(journey: Journey, stage: Stage, fingerprint: str, standing: Standing, *, quiet: bool) -> int:
    """Do one stage; returns its exit code, or 130 where somebody wanted to stop after it."""
    command = (*_words(journey, stage), *(("--quiet",) if quiet else ()))
    if standing == "changed" and stage.kind in _FIGURES:
        for path in stage.outputs:  # figures only: what was said stays, and is not asked again
            path.unlink(missing_ok=True)
    known = journey.state.stages.get(stage.key)
    before = known.seconds if known and standing == "begun" else 0.0
    attempts = known.attempts if known and standing == "begun" else 0
    begun = StageState(
        name=stage.name,
        kind=stage.kind,
        command=command,
        state="running",
        fingerprint=fingerprint,
        seconds=before,
        attempts=attempts + 1,
    )
    journey.state = journey.state.with_stage(stage.key, begun)
    journey.state.save(journey.folder)
    ended = carried_out(command, stage.launch, lambda seconds: _tick(journey, stage, before + seconds))
    if ended.exit == 0 and stage.kept is not None:
        write_whole(stage.kept, ended.printed)
    if ended.exit == 0 and (missing := [path for path in stage.outputs if not path.exists()]):
        journey.note(stage, state="failed", seconds=before + ended.seconds, exit=0)
        raise RunError(f"{stage.name}: {missing[0]} was not written.", mend=f"reflectune {' '.join(command)}")
    journey.note(
        stage,
        state="done" if ended.exit == 0 else "stopped" if ended.exit in _STOPPED else "failed",
        seconds=round(before + ended.seconds, 3),
        exit=ended.exit,
        summary=_summary(ended.printed),
        spent=_spent(stage.run, journey.recipe) if stage.run else None,
    )
    return 130 if ended.interrupted and not ended.exit else ended.exit


def _words(journey: Journey, stage: Stage) -> list[str]:
    """A stage's command with what it may spend: what is left, and what its own run has spent, which counts that too."""
    recipe, money, left = journey.recipe, journey.recipe.budget, None
    if money is not None:
        own = _spent(stage.run, recipe) if stage.run else None
        left = max(money - journey.spent() + (own.cost or 0.0 if own else 0.0), _LEAST)
    as_json = [] if stage.kind in {"report", "verdict"} else ["--json"]
    return [*stage.command, *money_of(stage, recipe, left), *as_json]


def _tick(journey: Journey, stage: Stage, seconds: float) -> None:
    journey.note(stage, seconds=round(seconds, 3))


def _summary(printed: str) -> dict[str, Any]:
    """The object that a command printed at its end; an empty one where it printed none."""
    lines = printed.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _spent(folder: Path, recipe: PipelineRecipe) -> Spending | None:
    """What the models of a run were asked for, over all of its processes."""
    if not (folder / "state.sqlite").is_file():
        return None
    with RunDir(folder, look=True) as found:
        parts = found.spent()
    cost = cost_of(parts, read_prices(recipe.prices) if recipe.prices else None)
    return Spending(
        requests=sum(part.requests for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        cost=None if cost is None else round(cost, 6),
    )
