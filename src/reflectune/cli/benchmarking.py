"""Put models to benchmarks: load, ask, score, save."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.text import Text

from reflectune.cli.comparing import plain, show_comparisons
from reflectune.cli.evaluation_folder import check_evaluation, wording
from reflectune.cli.inquiry import Stopped, inquire, show
from reflectune.cli.job import address_of
from reflectune.cli.most import Most, most, plain_most, show_most
from reflectune.cli.screen import Meter, err, say
from reflectune.errors import RunError, SettingsError
from reflectune.evaluate.benchmarks.comparison import Comparison, compare
from reflectune.evaluate.benchmarks.generative import Subject, ask_and_score, figures_of
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.benchmarks.lm import Unfinished
from reflectune.evaluate.benchmarks.parts import Part, bytes_of, parts_of
from reflectune.evaluate.scores import Evaluation, Score, rows_learnt_from
from reflectune.exports.kit import counted
from reflectune.formats import write_rows
from reflectune.generation import Generated, Prompt, generate, open_model
from reflectune.generation.naming import file_name, model_name
from reflectune.oracles.engine import Engine
from reflectune.recipe import BenchmarkSettings, Recipe
from reflectune.records import Failure

_NOTE = "benchmark.yaml"
_FAILED = 3
_ENDS: dict[Stopped, int] = {"budget": 4, "interrupt": 130}
_PACKAGES = ("reflectune", "lm-eval", "math-verify", "nltk", "langdetect", "transformers", "torch")
_TASKS = "tasks"
_PROMPTS = ("benchmark_", "trace_system")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: The model and its limits.
        settings: The benchmarks, and how they are asked.
        run: The run's folder.
        quiet: Whether to show only errors.
    """

    recipe: Recipe
    settings: BenchmarkSettings
    run: Path
    quiet: bool = False

    @property
    def subjects(self) -> list[Subject]:
        """The models, with the ways in which each is asked."""
        found = [Subject(self.recipe.oracle, self.settings.arms)]
        return found + ([Subject(self.settings.tuned, ("reflective",))] if self.settings.tuned else [])

    @property
    def plain(self) -> dict[str, Any]:
        """What is asked for, for the record."""
        said = {} if self.settings.form == "logprob" else {"wording": wording(self.settings.prompts, *_PROMPTS)}
        return {"model": self.recipe.oracle, **self.settings.model_dump(mode="json", exclude_none=True), **said}

    @property
    def models(self) -> list[str]:
        """The models, as they are opened."""
        return [subject.model for subject in self.subjects]


@dataclass(slots=True)
class Outcome:
    """What it came to.

    Attributes:
        questions: How many questions there are, in all ways and for all models.
        items: What became of each.
        scores: The figures.
        pending: How many questions have no reply yet.
        stopped: What stopped it before its end; nothing where it came to its end.
        spent: Requests, tokens and money of this process.
    """

    questions: int
    items: list[Item] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    pending: int = 0
    stopped: Stopped = ""
    spent: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[Failure]:
        """The questions that have no reply."""
        return [item.failure for item in self.items if item.failure is not None]

    @property
    def comparisons(self) -> list[Comparison]:
        """The ways of asking side by side, where there are several."""
        return compare(self.items) if len({(item.model, item.arm) for item in self.items}) > 1 else []

    def summary(self, asked: Asked, seconds: float) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "run": str(asked.run),
            "form": asked.settings.form,
            "questions": self.questions,
            "failed": len(self.failed),
            "pending": self.pending,
            "failures": dict(sorted(Counter(failure.reason for failure in self.failed).items())),
            **self.spent,
            "seconds": round(seconds, 3),
            "comparisons": plain(self.comparisons),
            "scores": [score.model_dump(mode="json", exclude_none=True) for score in self.scores],
        }


def name_of_run(model: str, settings: BenchmarkSettings) -> str:
    """What a run's folder is called: by the models, the form, the tasks and the arms: none takes another's place."""
    names = [file_name(model_name(name)) for name in (model, settings.tuned) if name]
    form = ("logprob",) if settings.form == "logprob" else ()
    arms = () if settings.arms == ("plain",) or form else settings.arms
    return "-".join((*names, *form, *settings.tasks, *arms))


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Do what is asked, show what it came to, and end with the exit code that says so.

    Raises:
        InputError: The questions cannot be read.
        MissingExtraError: A package that is needed is not installed.
        OracleError: A model cannot be used; what was asked before is kept.
        RunError: The run's folder cannot be used.
        SettingsError: What is asked does not fit the data or the place.
    """
    started = time.monotonic()
    parts = parts_of(asked.settings)
    ways = sum(len(subject.arms) for subject in asked.subjects)
    outcome = Outcome(questions=ways * sum(part.count for part in parts))
    if dry_run:
        _show_estimate(parts, outcome.questions, asked, as_json=as_json)
        return
    _check(asked)
    if asked.settings.form == "logprob":
        _weigh(asked, parts, outcome)
    else:
        _ask(asked, parts, outcome)
    if not outcome.stopped:
        _save(asked, outcome)
    if not asked.quiet:
        _show(asked, outcome)
    if as_json:
        typer.echo(orjson.dumps(outcome.summary(asked, time.monotonic() - started)).decode())
    if code := _exit_code(asked.recipe, outcome):
        raise typer.Exit(code)


def _check(asked: Asked) -> None:
    """Refuse, before anything is asked, what cannot be done or would overwrite another run."""
    if (asked.run / "state.sqlite").is_file() and not (asked.run / _NOTE).is_file():
        raise SettingsError(f"The run {asked.run} holds no benchmarks.", mend="Name another folder with --run.")
    check_evaluation(asked.run, "benchmark", asked.plain, quiet=asked.quiet)
    if "humaneval" in asked.settings.tasks:
        from reflectune.evaluate.benchmarks.code.sandbox import check_sandbox

        check_sandbox()
    try:
        asked.run.mkdir(parents=True, exist_ok=True)
        asked.settings.save(asked.run / _NOTE)
    except OSError as error:
        raise RunError(f"Cannot write into {asked.run}: {error}.", mend="Name another folder with --run.") from error


def _ask(asked: Asked, parts: Sequence[Part], outcome: Outcome) -> None:
    subjects = asked.subjects
    for place, subject in enumerate(subjects, 1):
        say(f"{subject.model}: {', '.join(subject.arms)}", quiet=asked.quiet)
        recipe = asked.recipe.model_copy(update={"oracle": subject.model})

        def ask(prompts: Sequence[Prompt], recipe: Recipe = recipe) -> Mapping[str, Generated | Failure]:
            return _replies(asked, recipe, prompts, outcome)

        try:
            outcome.items += ask_and_score(subject, parts, asked.settings, ask, asked.run / _TASKS)
        except Unfinished as unfinished:
            later = sum(len(another.arms) for another in subjects[place:])
            outcome.pending = unfinished.pending + later * sum(part.count for part in parts)
            return
    outcome.questions = len(outcome.items)
    outcome.scores = figures_of(outcome.items, parts)


def _replies(
    asked: Asked, recipe: Recipe, prompts: Sequence[Prompt], outcome: Outcome
) -> Mapping[str, Generated | Failure]:
    """What a model says to every prompt, as far as the money lasts and nobody presses Ctrl-C."""
    found: dict[str, Generated | Failure] = {}
    reasons: dict[str, int] = {}

    async def ask(engine: Engine) -> None:
        drawn = asked.settings.sampling(engine.oracle.sampling)
        async with aclosing(generate(prompts, engine, drawn)) as replies:
            async for reply in replies:
                found[reply.id] = reply
                if isinstance(reply, Failure):
                    reasons[reply.reason] = reasons.get(reply.reason, 0) + 1
                show(meter, engine, len(found), reasons)

    with Meter(len(prompts), 0, quiet=asked.quiet, unit="questions") as meter:
        inquiry = inquire(asked.run, recipe, ask, open_with=open_model)
    if len(found) < len(prompts):
        outcome.stopped = inquiry.stopped or "interrupt"
    outcome.spent = _added(outcome.spent, inquiry.summary())
    return found


def _added(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Two counts together; what is unknown in one is unknown in both."""
    if not before:
        return dict(now)
    both = {name: (before[name], now[name]) for name in now}
    return {name: None if None in pair else sum(pair) for name, pair in both.items()}


def _weigh(asked: Asked, parts: Sequence[Part], outcome: Outcome) -> None:
    from reflectune.evaluate.benchmarks.logprob import open_weigher, weigh

    model = asked.recipe.oracle
    say(f"{model}: {counted(outcome.questions, 'question')}, by likelihoods", quiet=asked.quiet)
    weigher = open_weigher(model, address_of(asked.recipe), asked.settings.tokenizer)
    shown = err.is_terminal and not asked.quiet
    try:
        outcome.scores = weigh(weigher, parts, asked.run, limit=asked.settings.limit, bars=shown)
    except KeyboardInterrupt:
        outcome.stopped, outcome.pending = "interrupt", outcome.questions
        return
    outcome.questions = sum(score.items for score in outcome.scores)


def _save(asked: Asked, outcome: Outcome) -> None:
    if asked.settings.form == "generative":
        write_rows(asked.run / "items.jsonl", (item.model_dump(mode="json") for item in outcome.items))
    Evaluation(
        command="benchmark",
        versions=_versions(),
        settings=asked.plain,
        scores=tuple(outcome.scores),
        learnt_from={model_name(name): rows for name in asked.models if (rows := rows_learnt_from(name)) is not None},
    ).save(asked.run)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # what is not here has computed nothing
            continue
    return found


def _show(asked: Asked, outcome: Outcome) -> None:
    if outcome.stopped:
        told = f"Pending: {counted(outcome.pending, 'question')}; the same command goes on."
        err.print(Text(told, style="yellow"))
        return
    if comparisons := outcome.comparisons:
        show_comparisons(comparisons)
    else:
        _show_scores(outcome.scores)
    for note in dict.fromkeys(_note(score) for score in outcome.scores if score.note):
        err.print(Text(note, style="dim"))
    if outcome.failed:
        reasons = Counter(failure.reason for failure in outcome.failed)
        told = ", ".join(f"{name} {count:,}" for name, count in sorted(reasons.items()))
        err.print(f"{len(outcome.failed):,} of {outcome.questions:,} questions have no reply: {told}")
    if _exit_code(asked.recipe, outcome) == _FAILED:
        err.print(f"More than {asked.recipe.max_failed:.0%} have none (--max-failed): exit code {_FAILED}.")
    files = ["evaluation.json", *dict.fromkeys(score.replies for score in outcome.scores if score.replies)]
    err.print(Text(" · ".join(str(asked.run / name) for name in files)))


def _note(score: Score) -> str:
    return f"{score.benchmark}{f', {score.arm}' if score.arm else ''}: {score.note}"


def _show_scores(scores: Sequence[Score]) -> None:
    """The figures, one a line."""
    head = ("benchmark", "model", "arm", "metric", "%", "95%", "questions", "failed", "no <output>", "tokens")
    rows = [
        (
            score.benchmark,
            score.model,
            score.arm or f"{score.shots} shots",
            score.metric,
            f"{score.value:.2f}",
            "" if score.low is None or score.high is None else f"{score.low:.1f}-{score.high:.1f}",
            f"{score.items:,}",
            f"{score.failed:,}",
            "" if score.without_output is None else f"{score.without_output:.1f}%",
            "" if score.tokens is None else f"{score.tokens:,}",
        )
        for score in scores
    ]
    used = [place for place, _ in enumerate(head) if any(row[place] for row in rows)]
    widths = {place: max(len(row[place]) for row in (head, *rows)) for place in used}
    for number, row in enumerate((head, *rows)):
        cells = [row[place].ljust(widths[place]) if place < 4 else row[place].rjust(widths[place]) for place in used]  # noqa: PLR2004
        err.print(Text("  ".join(cells).rstrip(), style="" if number else "bold"))


def _show_estimate(parts: Sequence[Part], questions: int, asked: Asked, *, as_json: bool) -> None:
    for part in parts:
        about = f" ({'; '.join(part.notes)})" if part.notes else ""
        say(f"{part.benchmark.name}: {counted(part.count, 'question')}{about}", quiet=asked.quiet)
    for subject in asked.subjects:
        say(f"{subject.model}: {', '.join(subject.arms)}", quiet=asked.quiet)
    found = [] if asked.settings.form == "logprob" else [_most(asked, subject, parts) for subject in asked.subjects]
    if not found:
        say(f"{counted(questions, 'question')} to weigh, none to answer", quiet=asked.quiet)
    show_most(found, quiet=asked.quiet)
    if as_json:
        told = {
            "questions": questions,
            "requests": sum(one.requests for one in found),
            "tasks": {part.benchmark.name: part.count for part in parts},
            **(plain_most(found) if found else {"tokens": None, "cost": None}),
        }
        typer.echo(orjson.dumps(told).decode())


def _most(asked: Asked, subject: Subject, parts: Sequence[Part]) -> Most:
    """What a model may be asked at the most."""
    sizes = [bytes_of(part, asked.settings, arm) for part in parts for arm in subject.arms]
    known = [size for size in sizes if size is not None]
    prompts = sum(known) if len(known) == len(sizes) else None
    requests = len(subject.arms) * sum(part.count for part in parts)
    return most(asked.recipe, requests, prompts, asked.settings.sampling, subject.model)


def _exit_code(recipe: Recipe, outcome: Outcome) -> int:
    if outcome.stopped:
        return _ENDS[outcome.stopped]
    return _FAILED if len(outcome.failed) > recipe.max_failed * max(outcome.questions, 1) else 0
