"""The stages of a journey, in order, as its recipe says: what each is, reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import SettingsError
from reflectune.pipeline.commands import assigned, cluster, flags, limits, model, trace_flags
from reflectune.recipe import BenchmarkSettings, ScoreSettings, Settings, TraceSettings
from reflectune.recipe.pipeline import Arm, PipelineRecipe

__all__ = ["Stage", "Student", "folder_of", "money_of", "plan"]

RECIPE = "recipe.yaml"
_FAILURES = "failures.jsonl"
"""Changes where rows of the data that failed were tried again, and no later stage writes it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a journey.

    Attributes:
        key: What tells it from the others, and stays the same.
        name: What a person reads.
        command: The command with its arguments, without `reflectune`.
        inputs: Files and folders whose content it depends on.
        after: The stages that it depends on as a whole, by their keys.
        outputs: Files that are there when it is done.
        run: The folder that remembers what models were asked for; `None` where none is asked.
        asks: The model that is asked; `None` where none is.
        kept: The file that what it prints is kept in; `None` where that is only noted.
        launch: What starts it on several devices.
    """

    key: str
    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    after: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    run: Path | None = None
    asks: str | None = None
    kept: Path | None = None
    launch: str | None = None

    @property
    def kind(self) -> str:
        """The command that does it."""
        return self.command[0]


@dataclass(frozen=True, slots=True)
class Student:
    """A student: what it learns from, and with which seed. The base has no seed, since it learns nothing."""

    arm: Arm
    seed: int | None

    @property
    def name(self) -> str:
        """What it is called, in folders and figures."""
        return self.arm if self.seed is None else f"{self.arm}-{self.seed}"


def folder_of(recipe: PipelineRecipe, file: Path) -> Path:
    """The folder of a journey: by the recipe's name, else by its file's."""
    return Path("runs") / (recipe.name or file.stem)


def plan(recipe: PipelineRecipe, folder: Path) -> tuple[Stage, ...]:
    """Every stage, in the order in which they are done.

    Raises:
        SettingsError: Two test sets have the same name.
    """
    return tuple(_stages(recipe, folder))


def _stages(recipe: PipelineRecipe, folder: Path) -> Iterator[Stage]:
    if recipe.traces is None:
        yield from _data(recipe, folder)
    else:
        yield _traces(recipe, recipe.traces, folder)
    learners = [student for student in _students(recipe) if student.arm != "base"]
    for student in learners:
        yield _training(recipe, folder, student)
    sets = _test_sets(recipe)
    for name, file in sets.items():
        for student in _students(recipe):
            yield _answering(recipe, folder, (name, file), student)
    for name in sets:
        for ours, other in _pairs(recipe):
            yield _judging(recipe, folder, name, ours, other)
    if recipe.benchmark is not None:
        yield from _benchmarks(recipe, recipe.benchmark, folder)
    yield Stage("verdict", "verdict", ("verdict", str(folder)), outputs=(folder / "verdict.html",))


def _data(recipe: PipelineRecipe, folder: Path) -> Iterator[Stage]:
    """What makes the data: recycle, gates, score, select; then what is told of it, and the arms."""
    run = folder / "data"
    yield _recycling(recipe, run)
    before = ["recycle"]
    if tests := tuple(Path(file) for file in recipe.prompts if Path(file).exists()):
        yield _gates(run, tests)
        before.append("gates")
    if (scoring := recipe.scoring) is not None:
        yield _scoring(recipe, scoring, run, tuple(before))
        before.append("score")
    if (select := recipe.select) is not None:
        words = ("select", str(run), *flags(select, leave=("output", "to")))
        made = run / "selected.jsonl"
        yield Stage("select", "select what is kept", words, (run / _FAILURES,), tuple(before), outputs=(made,))
    yield from _told_of(recipe, folder)


def _recycling(recipe: PipelineRecipe, run: Path) -> Stage:
    words = ["recycle", recipe.data, "--run", str(run), *model(recipe.oracle, "--oracle")]
    words += _said(map=recipe.map, limit=recipe.limit, license=recipe.license)
    files = [*_there(recipe.data), *_files(recipe.recycle)]
    if recipe.recycle.versions == "chosen":
        chooser = recipe.score or ScoreSettings()
        words += ["--student", recipe.student, *assigned(chooser, "chooser.", leave=("student",))]
        files += [*_files(chooser), *_there(recipe.student)]
    return Stage(
        key="recycle",
        name="recycle the data",
        command=(*words, *assigned(recipe.recycle, "recycle."), *cluster(recipe)),
        inputs=tuple(files),
        outputs=(run / "recycled.jsonl",),
        run=run,
        asks=recipe.oracle.name,
    )


def _gates(run: Path, tests: tuple[Path, ...]) -> Stage:
    return Stage(
        key="gates",
        name="look for duplicates, and for the test sets in the data",
        command=("gates", str(run), *(word for file in tests for word in ("--against", str(file)))),
        inputs=(*tests, run / _FAILURES),
        after=("recycle",),
        outputs=(run / "gates.jsonl",),
    )


def _scoring(recipe: PipelineRecipe, settings: ScoreSettings, run: Path, before: tuple[str, ...]) -> Stage:
    words = ["score", str(run), "--student", recipe.student, "--defaults", *flags(settings, leave=("student",))]
    return Stage(
        key="score",
        name="score every version by the student",
        command=(*words, *cluster(recipe)),
        inputs=(run / _FAILURES, *_files(settings), *_there(recipe.student)),
        after=before,
        outputs=(run / "scores.jsonl",),
    )


def _told_of(recipe: PipelineRecipe, folder: Path) -> Iterator[Stage]:
    """What is told of the data, and what each student learns from."""
    run, kept = folder / "data", folder / "stats.json"
    selected = (run / "selected.jsonl",) if recipe.select is not None else ()
    made = (run / "recycled.jsonl", *((run / "scores.jsonl",) if recipe.scoring else ()), *selected)
    words = ("stats", str(run), *(() if recipe.coherence else ("--no-coherence",)))
    yield Stage("stats", "tell the data before and after", words, made, outputs=(kept,), kept=kept)
    yield Stage("report", "report on the data", ("report", str(run)), made, outputs=(run / "report.html",))
    arms, output = [arm for arm in recipe.arms if arm != "base"], folder / "arms"
    yield Stage(
        key="arms",
        name="write what each student learns from",
        command=(
            *("arms", str(run), "--output", str(output), "--arms", ",".join(arms), "--student", recipe.student),
            *("--of", "selected" if selected else "recycled"),
        ),
        inputs=(run / "recycled.jsonl", *selected, *_there(recipe.student)),
        outputs=(output / "arms.json",),
    )


def _traces(recipe: PipelineRecipe, settings: TraceSettings, folder: Path) -> Stage:
    run = folder / "data"
    asks = settings.mistakes != "planted"
    words = ["traces", recipe.data, "--run", str(run), *_said(limit=recipe.limit), *trace_flags(settings)]
    tests = [file for file in recipe.prompts if Path(file).exists()]
    words += [word for file in tests for word in ("--against", file)]
    if asks:
        words += model(recipe.oracle, "--oracle")
    return Stage(
        key="traces",
        name="make traces that reflect",
        command=tuple(words),
        inputs=(*_there(recipe.data), *_files(settings), *(Path(file) for file in tests)),
        outputs=(run / "traces.jsonl",),
        run=run if asks else None,
        asks=recipe.oracle.name if asks else None,
    )


def _training(recipe: PipelineRecipe, folder: Path, student: Student) -> Stage:
    data = folder / "arms" / f"{student.arm}.jsonl" if recipe.traces is None else folder / "data" / "traces.jsonl"
    output = folder / "students" / student.name
    words = ["train", str(data), "--student", recipe.student, "--output", str(output), "--seed", str(student.seed)]
    reflection = ["--reflection"] if student.arm == "reflective" else []
    return Stage(
        key=f"train/{student.name}",
        name=f"train {_told(student, recipe)}",
        command=(*words, *reflection, "--replace", *assigned(recipe.train, leave=("student", "seed", "reflection"))),
        inputs=(data, *_files(recipe.train), *_there(recipe.student)),
        outputs=(output / "facts.json",),
        launch=recipe.launch,
    )


def _answering(recipe: PipelineRecipe, folder: Path, test: tuple[str, str], student: Student) -> Stage:
    name, file = test
    run, weights = folder / "answers" / name / student.name, _weights(recipe, folder, student)
    words = ["generate", weights, file, "--run", str(run), "--name", student.name]
    words += [*_said(limit=recipe.prompts_limit), *flags(recipe.generate), *cluster(recipe)]
    if student.arm == "reflective" and not recipe.generate.reflect:
        words.append("--reflect")
    return Stage(
        key=f"answer/{name}/{student.name}",
        name=f"have {_told(student, recipe)} answer {name}",
        command=tuple(words),
        inputs=(*_there(file), *_files(recipe.generate), *_weights_there(weights, student)),
        outputs=(run / "answers.jsonl",),
        run=run,
        asks=weights,
    )


def _judging(recipe: PipelineRecipe, folder: Path, name: str, ours: Student, other: Student) -> Stage:
    seed = ours.seed if ours.seed is not None else 0
    run = folder / "verdicts" / name / f"{ours.arm}-against-{other.arm}-{seed}"
    answers = [folder / "answers" / name / student.name / "answers.jsonl" for student in (ours, other)]
    words = ["judge", *map(str, answers), "--run", str(run), "--name-a", ours.arm, "--name-b", other.arm]
    words += [*model(recipe.judge, "--judge"), *flags(recipe.judging, leave=("name_a", "name_b")), *cluster(recipe)]
    seeded = f", seed {seed}" if len(recipe.seeds) > 1 else ""
    return Stage(
        key=f"judge/{name}/{run.name}",
        name=f"judge {ours.arm} against {other.arm} on {name}{seeded}",
        command=tuple(words),
        inputs=(*answers, *_files(recipe.judging)),
        outputs=(run / "evaluation.json",),
        run=run,
        asks=recipe.judge.name,
    )


def _benchmarks(recipe: PipelineRecipe, settings: BenchmarkSettings, folder: Path) -> Iterator[Stage]:
    students = _students(recipe)
    if settings.tuned is None and recipe.traces is not None and settings.form == "generative":
        # A model that was taught to reflect stands beside the one that it was, asked plainly and told to reflect.
        students = [student for student in students if student.arm == "reflective"]
    for student in students:
        weights, run = _weights(recipe, folder, student), folder / "benchmarks" / student.name
        beside = len(students) != len(_students(recipe))
        tuned = ["--tuned", weights] if beside else []
        asked = _weights(recipe, folder, Student("base", None)) if beside else weights
        words = ["benchmark", asked, *tuned, "--run", str(run)]
        yield Stage(
            key=f"benchmark/{student.name}",
            name=f"benchmark {_told(student, recipe)}",
            command=(*words, *flags(settings)),
            inputs=(*_weights_there(weights, student), *_there(recipe.student), *_files(settings)),
            outputs=(run / "evaluation.json",),
            run=run,
            asks=weights,
        )


def _students(recipe: PipelineRecipe) -> list[Student]:
    seeded = [Student(arm, seed) for seed in recipe.seeds for arm in recipe.arms if arm != "base"]
    return [*seeded, *([Student("base", None)] if "base" in recipe.arms else [])]


def _pairs(recipe: PipelineRecipe) -> Iterator[tuple[Student, Student]]:
    """Ours against each other student of the same seed."""
    for seed in recipe.seeds:
        for other in recipe.arms:
            if other != recipe.ours:
                yield Student(recipe.ours, seed), Student(other, None if other == "base" else seed)


def _weights(recipe: PipelineRecipe, folder: Path, student: Student) -> str:
    """The model that a student is."""
    if student.arm == "base":
        named = str(Path(recipe.student).expanduser()) if recipe.student.startswith("~") else recipe.student
        if named == "local" or ":" in named:
            return named
        if named.endswith(".gguf"):
            return f"local:{named}"
        return named if Path(named).exists() else f"hf:{named}"
    return str(folder / "students" / student.name)


def _weights_there(weights: str, student: Student) -> tuple[Path, ...]:
    """The folder of a student, which is not there yet where it is still to be trained."""
    return _there(weights) if student.arm == "base" else (Path(weights),)


def _told(student: Student, recipe: PipelineRecipe) -> str:
    seeded = f", seed {student.seed}" if student.seed is not None and len(recipe.seeds) > 1 else ""
    return f"{student.arm}{seeded}"


def _test_sets(recipe: PipelineRecipe) -> dict[str, str]:
    """The files of prompts by the names of their sets.

    Raises:
        SettingsError: Two have the same name.
    """
    named: dict[str, str] = {}
    for file in recipe.prompts:
        name = Path(file).name.split(".")[0] or "prompts"
        if name in named:
            raise SettingsError(
                f"The test sets {named[name]} and {file} are both called {name}.", mend="Rename one of the files."
            )
        named[name] = file
    return named


def _there(name: str) -> tuple[Path, ...]:
    """A file or folder of this name, where there is one: else it is a model or a data set from elsewhere."""
    path = Path(name.removeprefix("local:")).expanduser()
    return (path,) if path.exists() else ()


def _files(settings: Settings | None) -> tuple[Path, ...]:
    """The files and folders that settings name: prompts, templates, data."""
    values = [] if settings is None else settings.model_dump(exclude_unset=True, exclude_none=True).values()
    return tuple(path for value in values if isinstance(value, Path | str) for path in _there(str(value)))


def _said(**values: object) -> list[str]:
    """Plain values as flags, as far as they are stated."""
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]


def money_of(stage: Stage, recipe: PipelineRecipe, left: float | None) -> list[str]:
    """What a stage may spend and how much may fail in it, which may change without anything being done over."""
    if stage.asks is not None:
        return limits(recipe, left)
    return ["--max-failed", f"{recipe.max_failed:g}"] if stage.kind == "score" else []
