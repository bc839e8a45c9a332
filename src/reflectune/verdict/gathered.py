"""What else a folder tells: the students, the data, the cost of each stage, and who took part."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from reflectune.evaluate.figures import METRICS
from reflectune.evaluate.scores import Score
from reflectune.verdict.folder import Folder, Stage, arm_of
from reflectune.verdict.records import Data, Metric, Ran, Rate, Repeat, Student

__all__ = ["benchmarks_of", "data_of", "missing_of", "repeat_of", "stages_of", "students_of"]

_CONTAMINATED = "contamination"
_LOOKING = ("gates", "traces")
"""The commands that look for test sets: gates marks rows, traces leaves them out."""
_FILES = ("pipeline.json", "recipe.yaml")
_LEFT_BY = {"students": "train", "verdicts": "judge"}
_OF_DATA = {"arms": "arms", "stats.json": "stats"}
"""What only a journey that rewrites data has; by what is left, the command that leaves it."""


def students_of(folder: Folder) -> tuple[Student, ...]:
    """The students, those that are trained, that answered, or that there is data for."""
    named = dict.fromkeys([*folder.students, *(one.student for one in folder.answers)])
    trained = {arm_of(name)[0] for name in named}
    waiting = [arm for arm in folder.arms if arm not in trained]
    order = list(folder.arms)
    students = [_student(folder, name) for name in [*named, *waiting]]
    return tuple(sorted(students, key=lambda one: (_place(order, one.arm), one.arm, one.seed or 0)))


def _place(order: list[str], arm: str) -> int:
    return order.index(arm) if arm in order else len(order)


def _student(folder: Folder, name: str) -> Student:
    arm, seed = arm_of(name)
    facts, data = folder.students.get(name), folder.arms.get(arm)
    answers = [one for one in folder.answers if one.student == name]
    lengths = [length for one in answers for length in one.lengths]
    cut = [
        int(found)
        for key, stage in folder.stages.items()
        if stage.kind == "generate" and key.endswith(f"/{name}")
        if (found := stage.summary.get("cut_off")) is not None
    ]
    return Student(
        name=name,
        arm=arm,
        seed=seed,
        rows=facts.rows if facts else data.rows if data else None,
        response_tokens=data.response_tokens if data else None,
        mean_response=data.mean_response_characters if data else None,
        epochs=facts.settings.epochs if facts else None,
        steps=facts.figures.steps if facts else None,
        loss=facts.figures.last_loss if facts else None,
        held_out_before=facts.figures.held_out_before if facts else None,
        held_out_after=facts.figures.held_out_after if facts else None,
        answers=len(lengths),
        unanswered=sum(one.failed for one in answers),
        cut_off=sum(cut) if cut else None,
        answer_length=sum(lengths) / len(lengths) if lengths else None,
    )


def benchmarks_of(folder: Folder) -> tuple[Score, ...]:
    """Every figure of every benchmark."""
    return tuple(score for _, evaluation in folder.benchmarks for score in evaluation.scores)


def data_of(folder: Folder) -> Data:
    """What became of the data, as far as the stages and the statistics tell."""
    made = _summary(folder, "recycle", folder.noted)
    kept = _summary(folder, "select", folder.noted.get("select", {}))
    looked = [stage for kind in _LOOKING for stage in _done(folder, kind) if "--against" in stage.command]
    marked = [stage.summary.get("marked") or {} for stage in looked]
    return Data(
        rows=_count(made, "rows"),
        rewritten=_count(made, "rewritten") if "rewritten" in made else _count(made, "done"),
        failed=_count(made, "failed"),
        kept=_count(kept, "kept"),
        dropped=_count(kept, "dropped"),
        against=bool(looked),
        contaminated=sum(int(one.get(_CONTAMINATED, 0)) for one in marked) if looked else None,
        metrics=tuple(_metrics(folder.stats)),
    )


def _done(folder: Folder, kind: str) -> list[Stage]:
    return [stage for stage in folder.of_kind(kind) if stage.state == "done"]


def _summary(folder: Folder, kind: str, noted: dict[str, Any]) -> dict[str, Any]:
    """What a command printed; what the data's folder notes where nobody knows the stages, or it printed nothing."""
    done = _done(folder, kind)
    if folder.stages and not done:
        return {}
    return next((stage.summary for stage in done if stage.summary), noted)


def _count(found: Any, name: str) -> int | None:
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, int) else None


def _metrics(stats: dict[str, Any]) -> Iterator[Metric]:
    """The figures that `reflectune stats --json` printed, of a comparison or of one data set."""
    before, after, apart = stats.get("before") or stats, stats.get("after") or {}, stats.get("differences") or {}
    for name in METRICS:
        old, new, change = ((side.get("metrics") or {}).get(name) for side in (before, after, {"metrics": apart}))
        if old or new:
            yield Metric(
                name=name,
                before=old["mean"] if old else None,
                after=new["mean"] if new else None,
                change=_changed(change) if change else None,
            )


def _changed(change: dict[str, Any]) -> Rate:
    ends = change.get("interval") or {}
    return Rate(value=change["mean"], low=ends.get("low"), high=ends.get("high"))


def stages_of(folder: Folder) -> tuple[Ran, ...]:
    """What each stage took. The page itself is none of them."""
    return tuple(
        Ran(
            name=stage.name,
            state=stage.state,
            seconds=stage.seconds,
            **(stage.spent.model_dump() if stage.spent else {}),
        )
        for stage in folder.stages.values()
    )


def repeat_of(folder: Folder) -> Repeat:
    """Who took part, and what it takes to do it again."""
    recipe, facts = folder.recipe, next(iter(folder.students.values()), None)
    judges = dict.fromkeys(judged.judge for judging in folder.judgings for judged in judging.judged)
    oracle = recipe.oracle.name if recipe else folder.recycling.oracle if folder.recycling else None
    judge = next(iter(judges), recipe.judge.name if recipe else None)
    versions = {"reflectune": folder.reflectune or version("reflectune"), **(facts.versions if facts else {})}
    trained = {seed for name in folder.students if (seed := arm_of(name)[1]) is not None}
    seeds = trained | {judging.seed for judging in folder.judgings}
    return Repeat(
        student=facts.base if facts else recipe.student if recipe else None,
        oracle=_without_folders(oracle),
        judge=_without_folders(judge),
        seeds=recipe.seeds if recipe else tuple(sorted(seeds)),
        versions=dict(sorted(versions.items())),
        recipe=_recipe(folder),
    )


def _recipe(folder: Folder) -> str:
    if folder.recipe is None:
        return ""
    values = folder.recipe.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(_bare(values), sort_keys=False, allow_unicode=True)


def _bare(value: object) -> object:
    """The same without the folders of whoever ran it."""
    if isinstance(value, dict):
        return {key: _bare(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_bare(one) for one in value]
    return _without_folders(value) if isinstance(value, str) else value


def _without_folders(named: str | None) -> str | None:
    """A model or a file without the absolute path that leads to it."""
    if named is None:
        return None
    before, colon, path = named.partition(":") if named.startswith(("local:", "hf:")) else ("", "", named)
    return f"{before}{colon}{Path(path).name}" if Path(path).is_absolute() else named


def missing_of(folder: Folder) -> tuple[str, ...]:
    """The parts that are not there, and the stages that did not come to their end."""
    of_traces = folder.recipe is not None and folder.recipe.traces is not None
    read = {"students": folder.students, "verdicts": folder.judgings, "arms": folder.arms, "stats.json": folder.stats}
    lacking = [name for name in _FILES if not (folder.path / name).exists()]
    for name, kind in (_LEFT_BY if of_traces else _LEFT_BY | _OF_DATA).items():
        if not read[name] and len(_done(folder, kind)) == len(folder.of_kind(kind)):  # else its stage is named below
            lacking.append(name)
    empty = [f"{judging.name} (no verdict)" for judging in folder.judgings if not judging.judged]
    return (*lacking, *empty, *(stage.name for stage in folder.stages.values() if stage.state != "done"))
