"""What lies in a journey's folder, read as it is: nothing is computed here, and what is missing is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from reflectune.errors import RunError
from reflectune.evaluate.judge.evaluation import Judged
from reflectune.evaluate.judge.kept import FAILURES, by_judge, read_verdicts
from reflectune.evaluate.leaderboard import find_evaluations
from reflectune.evaluate.scores import Evaluation
from reflectune.recipe import Recipe
from reflectune.recipe.pipeline import PipelineRecipe
from reflectune.training.facts import FACTS, Facts

__all__ = ["Answered", "ArmFacts", "Folder", "Judging", "Spent", "Stage", "arm_of", "read_folder"]

_VERDICTS, _ANSWERS, _FAILED = "verdicts", "answers.jsonl", "answer_failures.jsonl"
_COMPARED = re.compile(r"(?P<ours>.+)-against-(?P<other>.+)-(?P<seed>\d{1,10})")
_SEEDED = re.compile(r"(?P<arm>.+)-(?P<seed>\d{1,10})")
_MARKS = ("judge.yaml", "verdicts.jsonl", "state.sqlite")
"""What a folder of verdicts holds, also one that is not finished."""

Value = TypeVar("Value")


class _Foreign(BaseModel):
    """What another part of the program wrote; keys that are not known here are its own affair."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Spent(_Foreign):
    """What models were asked for in a stage."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None


class Stage(_Foreign):
    """A stage as `pipeline.json` has it."""

    name: str
    kind: str
    state: str
    command: tuple[str, ...] = ()
    seconds: float | None = None
    summary: dict[str, Any] = Field(default_factory=dict)
    spent: Spent | None = None


class _Pipeline(_Foreign):
    reflectune: str | None = None
    stages: dict[str, Stage] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Recipes:
    """Which folders are of the present recipe, by the stages that the pipeline notes of it.

    Attributes:
        stages: The stages by their key; where there is none nobody knows, and every folder is read.
        left_over: The folders of no such stage that were met.
    """

    stages: dict[str, Stage]
    left_over: list[str] = field(default_factory=list)

    def takes(self, key: str, place: str) -> bool:
        """Whether what a stage left is read: where the stage is not done it is missing, and no figure."""
        if not self.stages:
            return True
        if key not in self.stages:
            self.left_over.append(place)
            return False
        return self.stages[key].state == "done"


class ArmFacts(_Foreign):
    """What a student learns from, as `arms.json` has it."""

    rows: int
    response_tokens: int | None = None
    mean_response_characters: float | None = None


@dataclass(frozen=True, slots=True)
class Judging:
    """A folder of verdicts.

    Attributes:
        dataset: The test set.
        ours: What our student learnt from.
        other: What the other one did.
        seed: The seed of both.
        judged: What each judge said; nothing where judging is not finished, or all of it failed.
        failed: How many pairs have no verdict.
    """

    dataset: str
    ours: str
    other: str
    seed: int
    judged: tuple[Judged, ...]
    failed: int

    @property
    def name(self) -> str:
        """Its folder's place among the verdicts."""
        return f"{self.dataset}/{self.ours}-against-{self.other}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Answered:
    """A student's answers to a test set.

    Attributes:
        dataset: The test set.
        student: The student.
        lengths: Of the answers, in characters.
        failed: How many prompts have none.
    """

    dataset: str
    student: str
    lengths: tuple[int, ...]
    failed: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A journey's folder.

    Attributes:
        path: Where it lies.
        recipe: What was asked for; `None` where it says nothing.
        recycling: How the data was recycled; `None` likewise.
        reflectune: The version that worked on it last.
        stages: The stages that were begun, by their key; the page of the verdict itself is none of them.
        arms: What students learn from.
        students: What training left, by the student's name.
        judgings: The verdicts.
        unnamed: Folders that hold verdicts and whose names do not say of whom.
        answers: The students' answers.
        benchmarks: What benchmarks came to, by the folder.
        stats: What `reflectune stats` printed.
        noted: What the data's `run.json` tells.
        report: Whether there is a report on the data.
        left_over: What lies there of an earlier recipe, and is not read.
    """

    path: Path
    recipe: PipelineRecipe | None = None
    recycling: Recipe | None = None
    reflectune: str | None = None
    stages: dict[str, Stage] = field(default_factory=dict)
    arms: dict[str, ArmFacts] = field(default_factory=dict)
    students: dict[str, Facts] = field(default_factory=dict)
    judgings: tuple[Judging, ...] = ()
    unnamed: tuple[str, ...] = ()
    answers: tuple[Answered, ...] = ()
    benchmarks: tuple[tuple[Path, Evaluation], ...] = ()
    stats: dict[str, Any] = field(default_factory=dict)
    noted: dict[str, Any] = field(default_factory=dict)
    report: bool = False
    left_over: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the journey is called."""
        return (self.recipe and self.recipe.name) or self.path.resolve().name

    def of_kind(self, kind: str) -> list[Stage]:
        """The stages of a command."""
        return [stage for stage in self.stages.values() if stage.kind == kind]


def read_folder(path: Path) -> Folder:
    """Read a journey's folder, finished or not.

    Raises:
        RunError: There is no such folder, nothing of a journey is in it, or a file cannot be read; with the mend.
        SettingsError: A recipe does not fit this version.
    """
    if not path.is_dir():
        raise RunError(f"There is no folder {path}.", mend="Name the folder of a journey, as runs/NAME.")
    pipeline = _json(path / "pipeline.json", _Pipeline, _Pipeline())
    own = _Recipes(pipeline.stages)
    judgings, unnamed = _judgings(path, own)
    folder = Folder(
        path=path,
        recipe=PipelineRecipe.load(path / "recipe.yaml") if (path / "recipe.yaml").is_file() else None,
        recycling=Recipe.load(path / "data" / "recipe.yaml") if (path / "data" / "recipe.yaml").is_file() else None,
        reflectune=pipeline.reflectune,
        stages={key: stage for key, stage in pipeline.stages.items() if stage.kind != "verdict"},
        arms=_of_stage(own, "arms", path / "arms" / "arms.json", dict[str, ArmFacts]),
        students={student: _checked(file, Facts) for student, file in _trained(path, own)},
        judgings=judgings,
        unnamed=unnamed,
        answers=tuple(_answers(path, own)),
        benchmarks=tuple(_benchmarks(path, own)),
        stats=_of_stage(own, "stats", path / "stats.json", dict[str, Any]),
        noted=_json(path / "data" / "run.json", dict[str, Any], {}),
        report=(path / "data" / "report.html").is_file(),
        left_over=tuple(sorted(own.left_over)),  # met while the arguments above were made
    )
    if not (folder.stages or folder.judgings or folder.students or folder.arms or folder.recipe):
        raise RunError(
            f"{path} holds nothing of a journey.",
            mend="Name the folder of `reflectune run`; the report on a single run is `reflectune report`.",
        )
    return folder


def arm_of(student: str) -> tuple[str, int | None]:
    """What a student learnt from, and its seed, by its name."""
    found = _SEEDED.fullmatch(student)
    return (found["arm"], int(found["seed"])) if found else (student, None)


def _judgings(path: Path, own: _Recipes) -> tuple[tuple[Judging, ...], tuple[str, ...]]:
    found: list[Judging] = []
    unnamed: list[str] = []
    for run in sorted(path.glob(f"{_VERDICTS}/*/*")):
        if not any((run / name).is_file() for name in _MARKS):
            continue
        named = _COMPARED.fullmatch(run.name)
        if named is None:
            unnamed.append(f"{run.parent.name}/{run.name}")
            continue
        place = f"{run.parent.name}/{run.name}"
        if not own.takes(f"judge/{place}", f"{_VERDICTS}/{place}"):
            continue
        judged = tuple(by_judge(read_verdicts(run)))
        failed = sum(1 for _ in _lines(run / FAILURES))
        found.append(Judging(run.parent.name, named["ours"], named["other"], int(named["seed"]), judged, failed))
    return tuple(found), tuple(unnamed)


def _trained(path: Path, own: _Recipes) -> Iterator[tuple[str, Path]]:
    for file in sorted(path.glob(f"students/*/{FACTS}")):
        student = file.parent.name
        if own.takes(f"train/{student}", f"students/{student}"):
            yield student, file


def _benchmarks(path: Path, own: _Recipes) -> Iterator[tuple[Path, Evaluation]]:
    for run in sorted(path.glob("benchmarks/*/")):
        if not own.takes(f"benchmark/{run.name}", f"benchmarks/{run.name}"):
            continue
        found, broken = find_evaluations(run)
        if broken:
            raise broken[0]
        yield from sorted(found, key=lambda pair: pair[0])


def _answers(path: Path, own: _Recipes) -> Iterator[Answered]:
    for file in sorted(path.glob(f"answers/*/*/{_ANSWERS}")):
        place = f"{file.parent.parent.name}/{file.parent.name}"
        if not own.takes(f"answer/{place}", f"answers/{place}"):
            continue
        lengths = tuple(len(str(row.get("output") or "")) for row in _lines(file))
        failed = sum(1 for _ in _lines(file.with_name(_FAILED)))
        yield Answered(file.parent.parent.name, file.parent.name, lengths, failed)


def _of_stage(own: _Recipes, key: str, path: Path, kind: type[dict[str, Value]]) -> dict[str, Value]:
    """What a stage wrote into one file; nothing where there is none, or it is not this recipe's."""
    return _checked(path, kind) if path.is_file() and own.takes(key, path.name) else {}


def _json(path: Path, kind: type[Value], none: Value) -> Value:
    return _checked(path, kind) if path.is_file() else none


def _checked(path: Path, kind: type[Value]) -> Value:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}.", mend="Check the path.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise RunError(
            f"{path} cannot be used: {told}.", mend="Take it away, and do the stage again that wrote it."
        ) from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, one a line; none where there is no such file."""
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    row = orjson.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"line {number} is no object")
                    yield row
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be used: {error}.", mend="Take it away, and do the stage again that wrote it."
        ) from error
