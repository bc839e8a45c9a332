"""Score the rows of a run that have no score yet, and write what they came to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import orjson
import typer

from reflectune.cli.clustering import Abroad, check_ray, score_abroad, working_on
from reflectune.cli.dataset import is_run
from reflectune.cli.finish import note_recipe, note_stage
from reflectune.cli.intake import take_in, taken
from reflectune.cli.job import Job, address_of, check_places, recipe_of, source_of
from reflectune.cli.recycle import name_of
from reflectune.cli.screen import Meter, Reading, err, say
from reflectune.cli.signals import drained_on_signals
from reflectune.cluster import Cluster
from reflectune.cluster.student import Made, entry
from reflectune.errors import SettingsError
from reflectune.formats import write_rows
from reflectune.recipe import Recipe, ScoreSettings, in_order
from reflectune.records import Failure
from reflectune.recycling import STAGE as RECYCLE
from reflectune.runs import Counts, Maker, RunDir
from reflectune.scoring import STAGE, Scorer, Versions, warning
from reflectune.student import open_student

_KEPT_TOGETHER = 2.0
"""Seconds after which what was scored is committed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be scored.

    Attributes:
        data: A run's folder, or data.
        run: The folder of the run that data become.
        settings: The flags that say how to score, as far as they were given.
        intake: The flags that say which rows are taken, as far as they were given.
        defaults: Whether what no flag says is as by default, not as the run was scored before.
        fresh: Whether every row is scored again.
        quiet: Whether to show only errors.
        cluster: The Ray cluster that does it; by default this process does.
    """

    data: str
    run: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    intake: dict[str, Any] = field(default_factory=dict)
    defaults: bool = False
    fresh: bool = False
    quiet: bool = False
    cluster: Cluster | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        if is_run(self.data):
            return Path(self.data)
        return self.run or Path("runs") / name_of(self.data, self.intake.get("shard"))

    def recipe(self) -> Recipe:
        """The run's recipe with what is asked for.

        Raises:
            SettingsError: It does not fit together.
        """
        before = recipe_of(self.folder)
        if is_run(self.data):
            if self.run is not None:
                raise SettingsError(f"--run is for data, and {self.data} is a run.", mend="Leave it out.")
            if taken := self.intake.keys() - {"max_failed"}:
                raise SettingsError(
                    f"--{min(taken)} is for data, and {self.data} is a run, whose rows are taken already.",
                    mend="Leave it out, or name the data.",
                )
            if before is None:
                raise SettingsError(f"{self.data} has no recipe.yaml that can be read.", mend="Score its data instead.")
            values = before.model_dump(mode="json", exclude_none=True) | self.intake
        else:
            kept = before.model_dump(mode="json", exclude_none=True) if before else {"stages": ["score"]}
            kept.pop("shard", None)  # which shard it is, the flag says, and `check_places` compares it
            values = kept | {"data": self.data} | self.intake
        known = before and not self.defaults and (before.score or before.chooser)
        earlier = known.model_dump(mode="json", exclude_none=True) if known else {}
        stages = in_order(*values["stages"], "score")
        return Recipe.made_of(values | {"score": earlier | self.settings, "stages": stages}, source="The command")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What scoring came to.

    Attributes:
        counts: How many rows ended how.
        versions: How many versions have scores.
        unscored: How many halves have none, by reason.
        above_one: How many IFDs are above 1.
        seconds: How long it took.
        stopped: Whether somebody stopped it.
        maker: What made the scores.
    """

    counts: Counts
    versions: int
    unscored: dict[str, int]
    above_one: int
    seconds: float
    stopped: bool
    maker: dict[str, str | int]

    def summary(self, run: Path) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "run": str(run),
            "rows": self.counts.rows,
            "scored": self.counts.done,
            "failed": self.counts.failed,
            "pending": self.counts.pending,
            "failures": self.counts.reasons,
            "versions": self.versions,
            "unscored": self.unscored,
            "ifd_above_one": self.above_one,
            "scorer": self.maker,
            "seconds": round(self.seconds, 3),
        }


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Score, show what it came to, and end with the exit code that says so."""
    recipe = asked.recipe()
    if dry_run:
        _show_what_there_is(asked, recipe, as_json=as_json)
        return
    outcome = score_run(asked, recipe)
    if not asked.quiet:
        _show(asked.folder, outcome)
    if as_json:
        typer.echo(orjson.dumps(outcome.summary(asked.folder)).decode())
    if outcome.stopped:
        raise typer.Exit(130)
    if outcome.counts.failed > recipe.max_failed * outcome.counts.rows:
        if not asked.quiet:
            err.print(f"More than {recipe.max_failed:.0%} of the rows failed (--max-failed): exit code 3.")
        raise typer.Exit(3)


def score_run(asked: Asked, recipe: Recipe) -> Outcome:
    """Score every row of a run that is pending, and write its files.

    Raises:
        InputError: The data cannot be read.
        MissingExtraError: torch or transformers is not installed.
        OracleError: The student cannot be loaded or used.
        RunError: The run's folder cannot be used.
        SettingsError: The recipe does not fit the data or the student.
    """
    began = time.monotonic()
    is_data = not is_run(asked.data)  # asked before the run's folder is made, which may have the same name
    if is_data:
        check_places(Job(recipe, asked.folder, fresh=asked.fresh))
    settings = recipe.score or ScoreSettings()
    if asked.cluster is not None:
        check_ray(asked.folder)
    with working_on(asked.cluster, quiet=asked.quiet) as as_parts, RunDir(asked.folder) as run:
        if is_data:
            take_in(run, recipe, quiet=asked.quiet)
        say(f"loading the student {settings.student}", quiet=asked.quiet)

        def begin(made: Made) -> Maker:
            fingerprint, how = made
            maker = Maker(fingerprint, str(how["student"]), str(how["template_hash"]))
            run.made_by(STAGE, maker)
            run.confirm(STAGE)
            note_recipe(run, recipe)
            if asked.fresh:
                run.forget_scores()
            return maker

        if asked.cluster is not None:
            abroad = Abroad(asked.cluster, run, recipe, asked.quiet)
            (_, how), stopped = score_abroad(abroad, settings, begin, quiet=asked.quiet)
        else:
            how, stopped = _score_here(run, recipe, settings, begin, quiet=asked.quiet)
        versions, unscored, above_one = _write(run, how)
        as_parts(run.path / "scores.jsonl")
        note_stage(run, recipe, "score", how)
        counts = run.counts(STAGE)
        seconds = time.monotonic() - began
        return Outcome(counts, versions, unscored, above_one, seconds, stopped, how)


def _score_here(
    run: RunDir, recipe: Recipe, settings: ScoreSettings, begin: Callable[[Made], Maker], *, quiet: bool
) -> tuple[dict[str, str | int], bool]:
    """Score in this process; returns what made the scores, and whether somebody stopped it."""
    student = open_student(settings, address_of(recipe))
    try:
        scorer = Scorer(student, settings)
        begin((scorer.fingerprint, scorer.maker))
        return scorer.maker, _score_pending(run, scorer, quiet=quiet)
    finally:
        student.close()


def _score_pending(run: RunDir, scorer: Scorer, *, quiet: bool) -> bool:
    """Score what has no score, committing every few seconds; returns whether somebody stopped it."""
    counts = run.counts(STAGE)
    before = counts.rows - counts.pending
    tokens = 0
    reasons = dict(counts.reasons)
    with (
        Meter(counts.rows, before, quiet=quiet) as meter,
        drained_on_signals("the rows in hand are finished") as stopping,
    ):
        rows = (_versions(run, example.id) for example in run.pending(STAGE))
        waiting: list[tuple[str, bytes, str | None]] = []
        committed = time.monotonic()
        try:
            for number, scored in enumerate(scorer.score(takewhile(lambda _: not stopping(), rows)), 1):
                waiting.append(entry(scored))
                if reason := waiting[-1][-1]:
                    reasons[reason] = reasons.get(reason, 0) + 1
                tokens += sum(
                    (one.instruction_tokens or 0) + (one.response_tokens or 0) for one in scored.versions.values()
                )
                if time.monotonic() - committed > _KEPT_TOGETHER:
                    run.store.keep_results(STAGE, scorer.fingerprint, waiting)
                    waiting, committed = [], time.monotonic()
                meter.show(Reading(before + number, tokens, reasons, note="stopping" if stopping() else ""))
        finally:  # also what was scored before an error
            run.store.keep_results(STAGE, scorer.fingerprint, waiting)
        return stopping() and run.counts(STAGE).pending > 0


def _versions(run: RunDir, name: str) -> Versions:
    row = next(run.rows(RECYCLE, row=name))
    if row.example is None:
        raise ValueError(f"Row {name} holds no pair.")
    return Versions.of(row.example, row.result)


def _write(run: RunDir, maker: dict[str, str | int]) -> tuple[int, dict[str, int], int]:
    """Write `scores.jsonl` and `unscored.jsonl`; returns how many versions, what has no score, IFDs above 1.

    A row that could not be read is in `unscored.jsonl` too: it has no version that could lack a score.
    """
    versions = above_one = 0
    failures: list[Failure] = []

    def lines() -> Iterator[dict[str, Any]]:
        nonlocal versions, above_one
        for scored in run.scores():
            failures.extend(scored.failures)
            for name, scores in scored.versions.items():
                versions += 1
                above_one += scores.ifd_ppl is not None and scores.ifd_ppl > 1
                yield {"id": scored.id, "version": name, **scores.model_dump(), **maker}

    write_rows(run.path / "scores.jsonl", lines())
    unread = (row.failure for row in run.rows(RECYCLE) if row.example is None and row.failure)
    write_rows(run.path / "unscored.jsonl", (failure.model_dump() for failure in chain(unread, failures)))
    return versions, dict(Counter(failure.reason for failure in failures)), above_one


def _show(folder: Path, outcome: Outcome) -> None:
    counts = outcome.counts
    err.print(
        f"{counts.rows:,} rows: {counts.done:,} scored ({outcome.versions:,} versions), {counts.failed:,} failed,"
        f" {counts.pending:,} pending · {outcome.seconds:.1f} s"
    )
    for reason, count in sorted(counts.reasons.items(), key=lambda entry: -entry[1]):
        err.print(f"  {count:>6,} failed rows: {reason}")
    for reason, count in sorted(outcome.unscored.items(), key=lambda entry: -entry[1]):
        err.print(f"  {count:>6,} unscored halves of versions: {reason}")
    maker = outcome.maker
    err.print(f"student   {maker['student']}, template {maker['template']}, convention {maker['convention']}")
    if told := warning(outcome.above_one, outcome.versions, str(maker["template"])):
        err.print(told, style="yellow")
    err.print(f"scores    {folder / 'scores.jsonl'}")
    if outcome.unscored or counts.failed:
        err.print(f"unscored  {folder / 'unscored.jsonl'}")
    if counts.pending:
        err.print(f"Stopped. Go on with: reflectune score {folder}", style="yellow")
    elif (folder / "selected.jsonl").exists():
        err.print(f"selected.jsonl was chosen before. Choose again with: reflectune select {folder}")
    else:
        err.print(f"Choose with: reflectune select {folder}")


def _show_what_there_is(asked: Asked, recipe: Recipe, *, as_json: bool) -> None:
    settings = recipe.score or ScoreSettings()
    found: dict[str, Any] = {"run": str(asked.folder), "student": settings.student}
    if is_run(asked.data):
        with RunDir(asked.folder, look=True) as run:
            recycled = run.counts(RECYCLE)
            rows = recycled.rows
            versions = sum(len(row.result.versions) if row.result else 1 for row in run.rows(RECYCLE) if row.example)
    else:
        read = [row.example is not None for row in taken(source_of(recipe), recipe)]
        rows, versions = len(read), sum(read)
    found |= {"rows": rows, "versions": versions, "texts": versions * (4 if settings.halves == "both" else 2)}
    if as_json:
        typer.echo(orjson.dumps(found).decode())
    elif not asked.quiet:
        err.print(
            f"{rows:,} rows in {versions:,} versions, {found['texts']:,} texts to read, by {settings.student};"
            f" those that {asked.folder} has scored already are not read again."
        )
