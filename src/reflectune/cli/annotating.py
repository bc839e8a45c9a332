"""Compare answers with a reference's: read, judge where nobody did, compute, save."""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import orjson
import typer

from reflectune.cli.annotated import FAILED, Outcome, show_outcome
from reflectune.cli.evaluation_folder import check_evaluation, wording
from reflectune.cli.inquiry import inquire, show
from reflectune.cli.most import Most, most, plain_most, show_most
from reflectune.cli.screen import Meter, say
from reflectune.errors import InputError, RunError, SettingsError
from reflectune.evaluate.alpaca_eval import (
    Anchors,
    Annotations,
    Answers,
    Judged,
    Pair,
    Report,
    annotate,
    matched,
    read_annotations,
    read_difficulty,
    read_gamed,
    read_outputs,
    report_of,
    requests_per_pair,
    write_leaderboard,
)
from reflectune.evaluate.alpaca_eval.annotator import PROMPTS, messages_of
from reflectune.evaluate.alpaca_eval.report import BENCHMARK
from reflectune.evaluate.scores import FILE, Evaluation
from reflectune.exports.kit import counted
from reflectune.formats import write_rows
from reflectune.generation import open_model
from reflectune.generation.naming import file_name, model_name
from reflectune.optional import load_optional
from reflectune.oracles.engine import Engine
from reflectune.prompts import Prompts
from reflectune.recipe import AlpacaEvalSettings, Recipe
from reflectune.records import Failure

ANNOTATIONS, FAILURES, LEADERBOARD = "annotations.json", "annotation_failures.jsonl", "leaderboard.csv"
_NOTE = "alpaca_eval.yaml"
_LIBRARIES = ("reflectune", "scikit-learn", "scipy", "numpy")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: The model's answers, the judge and its limits.
        settings: How the judge compares.
        reference: The reference's answers.
        annotations: Files of verdicts that are there already, in place of answers.
        run: The run's folder; by default named after the model, the reference and the judge.
        name: What the model is called.
        reference_name: What the reference is called.
        quiet: Whether to show only errors.
    """

    recipe: Recipe
    settings: AlpacaEvalSettings
    reference: str | None = None
    annotations: tuple[Path, ...] = ()
    run: Path | None = None
    name: str | None = None
    reference_name: str | None = None
    quiet: bool = False

    def folder(self, model: str, reference: str, judge: str) -> Path:
        """The run's folder: by default it names all that a figure depends on."""
        return self.run or Path("runs") / file_name(f"{model}-against-{reference}-by-{judge}")

    @property
    def plain(self) -> dict[str, object]:
        """What is asked for, for the record."""
        recipe = self.recipe
        told: dict[str, object] = {"annotations": [str(path) for path in self.annotations], "limit": recipe.limit}
        if not self.annotations:
            told = {
                "outputs": recipe.data,
                "reference": self.reference,
                "judge": recipe.oracle,
                "base_url": recipe.base_url,
                "name": self.name,
                "reference_name": self.reference_name,
                "limit": recipe.limit,
                "wording": wording(self.settings.prompts, PROMPTS),
            }
        told = {name: value for name, value in told.items() if value is not None}
        return told | self.settings.model_dump(mode="json", exclude_none=True)


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Do what is asked, show what it came to, and end with the exit code that says so.

    Raises:
        InputError: Answers or annotations cannot be read, or there is no verdict at all.
        MissingExtraError: The extra `eval` is not installed.
        OracleError: The judge cannot be used; what it said before is kept.
        RunError: The run's folder cannot be used.
        SettingsError: What is asked does not go together.
    """
    started = time.monotonic()
    _check(asked)
    for module in ("numpy", "scipy.stats", "sklearn.linear_model"):  # before a judge is paid
        load_optional(module, "AlpacaEval", "eval")
    anchors = _anchors(asked.settings)
    if asked.annotations:
        outcome = _stored(asked, anchors, dry_run=dry_run)
    else:
        outcome = _judged(asked, anchors, dry_run=dry_run)
    if dry_run:
        _show_estimate(asked, outcome, as_json=as_json)
        return
    if not asked.quiet:
        show_outcome(outcome)
    if as_json:
        typer.echo(orjson.dumps(outcome.summary(time.monotonic() - started)).decode())
    if code := outcome.exit_code(asked.recipe.max_failed):
        raise typer.Exit(code)


def _show_estimate(asked: Asked, outcome: Outcome, *, as_json: bool) -> None:
    say(f"{counted(outcome.items, 'instruction')}, {counted(outcome.requests, 'request')}", quiet=asked.quiet)
    show_most(outcome.most, quiet=asked.quiet)
    if outcome.most and asked.settings.form == "weighted":
        say("  A judge that tells no probabilities may be asked once more for each, plainly.", quiet=asked.quiet)
    if as_json:
        told = {"items": outcome.items, "requests": outcome.requests, **plain_most(outcome.most)}
        typer.echo(orjson.dumps(told).decode())


def _most(asked: Asked, pairs: list[Pair], requests: int) -> Most:
    """What the judge may be asked at the most, where it tells what it is asked for."""
    settings, prompts = asked.settings, Prompts(asked.settings.prompts)
    texts = (message.content for pair in pairs for message in messages_of(pair, "model", settings, prompts))
    size = sum(len(text.encode("utf-8", "replace")) for text in texts) * requests_per_pair(settings)
    return most(asked.recipe, requests, size, lambda default: settings.sampling(default, settings.form))


def _check(asked: Asked) -> None:
    if bool(asked.recipe.data) == bool(asked.annotations):
        raise SettingsError(
            "It takes either answers or annotations.",
            mend="Name the model's answers and --reference, or --annotations with verdicts that are there already.",
        )
    if asked.recipe.data and asked.reference is None:
        raise SettingsError(
            f"What are the answers of {asked.recipe.data} compared with?",
            mend="Name the reference's answers to the same instructions: --reference FILE.",
        )
    if asked.annotations and (asked.reference or asked.name or asked.reference_name):
        raise SettingsError(
            "Annotations hold the reference's answers and both names already.",
            mend="Leave --reference, --name and --reference-name out.",
        )


def _check_run(asked: Asked, run: Path) -> None:
    """Refuse a folder whose files are another command's, or a judge's whom nobody asks now."""
    if (run / "state.sqlite").is_file():
        if not (run / _NOTE).is_file():
            raise RunError(f"The run {run} holds no annotations.", mend="Name another folder with --run.")
        if asked.annotations:
            raise RunError(
                f"The run {run} holds what its own judge said, which would be overwritten.",
                mend="Name another folder with --run.",
            )
    check_evaluation(run, BENCHMARK, asked.plain, quiet=asked.quiet)


def _anchors(settings: AlpacaEvalSettings) -> Anchors:
    """AlpacaEval's own files. The difficulties stand in both: where both are given they must agree."""
    if settings.gamed is None:
        return Anchors(read_difficulty(settings.difficulty)) if settings.difficulty else Anchors()
    gamed, beside = read_gamed(settings.gamed)
    if settings.difficulty is None:
        return Anchors(beside, gamed)
    difficulty = read_difficulty(settings.difficulty)
    if difficulty.keys() != beside.keys() or any(abs(beside[at] - value) > 1e-6 for at, value in difficulty.items()):  # noqa: PLR2004 - rounding
        raise InputError(
            f"{settings.difficulty} and {settings.gamed} disagree about the difficulties",
            mend="Copy both from the same version of AlpacaEval's data set, or leave --difficulty out.",
        )
    return Anchors(difficulty, gamed)


def _stored(asked: Asked, anchors: Anchors, *, dry_run: bool) -> Outcome:
    """What annotations that are there already come to."""
    read = [read_annotations(path, asked.recipe.limit) for path in asked.annotations]
    models = [annotations.model for annotations in read]
    if twice := {model for model in models if models.count(model) > 1}:
        raise InputError(
            f"Two files hold annotations of {min(twice)}", mend="Evaluate them one by one, each with its --run."
        )
    first = read[0].rows[0]
    run = asked.folder(models[0] if len(models) == 1 else f"{len(models)}-models", first.generator_1, first.annotator)
    outcome = Outcome(run, items=sum(len(annotations.rows) for annotations in read))
    if not dry_run:
        _check_run(asked, run)
        outcome.reports = [report_of(annotations, anchors) for annotations in read]
        outcome.failures = [failure for annotations in read for failure in annotations.failures]
        _save(asked, outcome, dict(zip(_places(models), read, strict=True)))
    return outcome


def _places(models: list[str]) -> list[str]:
    """Where the annotations of each model lie in the run's folder."""
    if len(models) == 1:
        return [ANNOTATIONS]
    names = [file_name(model) for model in models]
    taken = [name if names.index(name) == place else f"{name}-{place + 1}" for place, name in enumerate(names)]
    return [f"{name}/{ANNOTATIONS}" for name in taken]


def _judged(asked: Asked, anchors: Anchors, *, dry_run: bool) -> Outcome:
    """What a judge makes of the answers."""
    Prompts(asked.settings.prompts)  # a folder of them that cannot be used is told of before a model is loaded
    reference = read_outputs(str(asked.reference), asked.reference_name)
    model = read_outputs(asked.recipe.data, asked.name)
    items = matched(reference, model)[: asked.recipe.limit]
    pairs = [item for item in items if isinstance(item, Pair)]
    folder = asked.folder(model.generator, reference.generator, model_name(asked.recipe.oracle))
    outcome = Outcome(folder, items=len(items))
    outcome.requests = len(pairs) * requests_per_pair(asked.settings)
    both = f"{model.generator} and {reference.generator}"
    say(f"{counted(len(items), 'instruction')}, {counted(len(pairs), 'pair')} of {both}", quiet=asked.quiet)
    if dry_run:
        outcome.most = [_most(asked, pairs, outcome.requests)]
        return outcome
    _check_run(asked, outcome.run)
    made: dict[str, Judged] = {}
    outcome.failures = [item for item in items if isinstance(item, Failure)]
    _ask(asked, pairs, outcome, made, (reference, model))
    judged = [made[pair.id] for pair in pairs if pair.id in made]
    outcome.failures += [one.failure for one in judged if one.failure]
    annotations = Annotations(asked.recipe.data, tuple(one.annotation for one in judged), tuple(outcome.failures))
    if any(one.failure is None for one in judged):
        outcome.reports = [report_of(annotations, anchors)]
    _save(asked, outcome, {ANNOTATIONS: annotations})
    for name, answers in (("model_outputs.json", model), ("reference_outputs.json", reference)):
        write_rows(outcome.run / name, _outputs(answers))
    return outcome


def _ask(
    asked: Asked, pairs: list[Pair], outcome: Outcome, made: dict[str, Judged], answers: tuple[Answers, Answers]
) -> None:
    reference, model = answers
    reasons: dict[str, int] = {}
    for failure in outcome.failures:
        reasons[failure.reason] = reasons.get(failure.reason, 0) + 1
    unweighted = asked.settings.form == "weighted"
    with Meter(outcome.items, len(outcome.failures), quiet=asked.quiet, unit="instructions") as meter:

        async def verdicts_of(engine: Engine) -> None:
            nonlocal unweighted
            asked.settings.save(outcome.run / _NOTE)
            names = {"reference": reference.generator, "model": model.generator}
            async with aclosing(annotate(pairs, engine, asked.settings, **names)) as verdicts:
                async for judged in verdicts:
                    made[judged.pair.id] = judged
                    if judged.failure:
                        reasons[judged.failure.reason] = reasons.get(judged.failure.reason, 0) + 1
                    elif unweighted and judged.annotation.form == "plain":
                        unweighted = False
                        say("The judge tells no probabilities: what it chooses is taken plainly.", quiet=asked.quiet)
                    show(meter, engine, len(outcome.failures) + len(made), reasons)

        inquiry = inquire(outcome.run, asked.recipe, verdicts_of, open_with=open_model)
    outcome.asked = inquiry.summary()
    if len(made) < len(pairs):
        outcome.stopped = inquiry.stopped


def _save(asked: Asked, outcome: Outcome, files: dict[str, Annotations]) -> None:
    run = outcome.run
    try:
        for name in files:
            (run / name).parent.mkdir(parents=True, exist_ok=True)
        asked.settings.save(run / _NOTE)
    except OSError as error:
        raise RunError(f"Cannot write into {run}: {error}.", mend="Name another folder with --run.") from error
    for name in (FILE, LEADERBOARD):  # made of annotations that are about to be replaced
        (run / name).unlink(missing_ok=True)
    for name, found in files.items():
        write_rows(run / name, found.raw or (row.model_dump(mode="json") for row in found.rows))
    write_rows(run / FAILURES, (failure.model_dump() for failure in outcome.failures))
    if outcome.reports and not outcome.pending:
        write_leaderboard(run / LEADERBOARD, outcome.reports)
        _evaluation(asked, outcome.reports, list(files)).save(run)


def _evaluation(asked: Asked, reports: list[Report], files: list[str]) -> Evaluation:
    versions = {name: version(name) for name in _LIBRARIES}
    if not asked.annotations:
        versions["prompts"] = Prompts(asked.settings.prompts).hash(PROMPTS)
    pairs = zip(reports, files, strict=True)
    return Evaluation(
        command=BENCHMARK,
        versions=versions,
        settings=asked.plain,
        scores=tuple(score for report, name in pairs for score in report.scores(name)),
    )


def _outputs(answers: Answers) -> list[dict[str, str | None]]:
    return [
        {"dataset": one.dataset, "instruction": one.instruction, "output": one.output, "generator": answers.generator}
        for one in answers.outputs
    ]


__all__ = ["FAILED", "Asked", "carry_out"]
