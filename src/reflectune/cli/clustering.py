"""Ask on a Ray cluster in place of this process: what `asking.py` and `inquiry.py` do otherwise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reflectune.chooser import StudentChooser
from reflectune.cli.asking import Asking
from reflectune.cli.inquiry import KNOWLEDGE, STATE, Inquiry, Stopped, asked_in, recalled
from reflectune.cli.job import Job, address_of, settled
from reflectune.cli.money import budget_of, dollars
from reflectune.cli.screen import Meter, Reading, err, say
from reflectune.cli.signals import drained_on_signals
from reflectune.cluster import Cluster
from reflectune.cluster.flow import Flow, Watch, await_lock, first_of
from reflectune.cluster.keeper import Charge
from reflectune.cluster.llm import Writing, generated, has_vllm
from reflectune.cluster.parts import parts_of, write_parts
from reflectune.cluster.places import whole_prompts
from reflectune.cluster.pupil import Pupil
from reflectune.cluster.session import gpus_of, on, size_of
from reflectune.cluster.student import Made, Scoring
from reflectune.cluster.told import Progress
from reflectune.cluster.work import Generating, Model, Recycling, Work
from reflectune.errors import SettingsError
from reflectune.exports.kit import counted
from reflectune.generation import Prompt, open_model
from reflectune.generation.naming import is_folder
from reflectune.optional import load_optional
from reflectune.oracles import Oracle
from reflectune.oracles.budget import Budget
from reflectune.oracles.naming import key_of
from reflectune.recipe import Recipe, ScoreSettings
from reflectune.records import Record
from reflectune.recycling import STAGE
from reflectune.runs import Maker, RunDir
from reflectune.scoring import STAGE as SCORE


def cluster_of(engine: str, address: str | None, workers: int | None) -> Cluster | None:
    """The cluster that the flags name; `None` where the work is done in this process.

    Raises:
        SettingsError: A flag for a cluster, and no cluster.
    """
    if engine == "ray":
        return Cluster(address, workers)
    if address is not None or workers is not None:
        flag = "--address" if address is not None else "--workers"
        raise SettingsError(f"{flag} is for a Ray cluster.", mend="Add --engine ray, or leave it out.")
    return None


@contextmanager
def working_on(cluster: Cluster | None, *, quiet: bool) -> Iterator[Callable[[Path], None]]:
    """Work on a cluster, if there is one; gives what writes a data file as Parquet too, where there is one.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingsError: There is no cluster at the address.
    """
    if cluster is None:
        yield lambda _: None
        return
    with on(cluster) as ray:

        def as_parts(file: Path) -> None:
            count = write_parts(ray, file)
            say(f"parquet   {parts_of(file)}, {counted(count, 'part')}", quiet=quiet)

        yield as_parts


def check_cluster(job: Job) -> None:
    """Refuse what a cluster does not do, and wait for an earlier driver's keeper to end.

    Raises:
        MissingExtraError: Ray is not installed.
        SettingsError: It is asked through batches.
    """
    if job.cluster is None:
        return
    if job.recipe.batch:
        raise SettingsError(
            "--batch leaves the work to the provider, so there is nothing for a cluster to do.",
            mend="Leave out --engine ray, or --batch.",
        )
    check_ray(job.run)


def check_ray(run: Path) -> None:
    """Wait for the keeper of an earlier driver that was killed: it ends by itself within a second.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    load_optional("ray", "--engine ray", "ray")
    await_lock(run)


@dataclass(frozen=True, slots=True)
class Abroad:
    """A run whose work is done on a cluster.

    Attributes:
        cluster: The cluster.
        run: The run, which is given to the keeper as long as the work goes on.
        recipe: Its limits.
        quiet: Whether to show only errors.
    """

    cluster: Cluster
    run: RunDir
    recipe: Recipe
    quiet: bool = False

    def charge(self, oracle: Oracle | None, budget: Budget | None, student: Pupil | None = None) -> Charge:
        """What the keeper is charged with; more where rows of the run are pending.

        Args:
            oracle: Who is asked, where this process can tell.
            budget: What may be spent.
            student: The student that scores or chooses, where there is one.
        """
        recipe = self.recipe
        address = address_of(recipe)
        secrets = key_of(address) if oracle else {}
        if student is not None and not student.inside:
            secrets |= key_of(replace(address, key_env=student.settings.key_env))
        return Charge(
            run=self.run.path.resolve(),
            driver=os.getpid(),
            ceiling=recipe.max_concurrency,
            rpm=recipe.rpm,
            tpm=recipe.tpm,
            budget=budget,
            oracle=oracle.name if oracle else "",
            knowledge=KNOWLEDGE + oracle.name if oracle else "",
            secrets=secrets,
        )

    def flow(self, charge: Charge, work: Work | Writing, watch: Watch, rows: Sequence[Any] | None = None) -> Progress:
        """Let the rows flow, and show how it goes."""
        with on(self.cluster) as ray:
            workers = size_of(ray, self.cluster, wants_gpu=work.wants_gpu)
            each = " with a GPU each" if gpus_of(ray, self.cluster, wants_gpu=work.wants_gpu) else ""
            if slots := work.model.slots:
                charge = replace(charge, ceiling=min(charge.ceiling, workers * slots))
            say(f"Ray: {counted(workers, 'worker')}{each}, {counted(len(ray.nodes()), 'node')}", quiet=self.quiet)
            with self.run.lent(), drained_on_signals("the requests in flight are finished") as stopping:
                progress = Flow(ray, self.cluster, charge, work, replace(watch, stopping=stopping)).run(rows)
            if progress.started > workers:
                lost = progress.started - workers
                say(f"Ray: {counted(lost, 'worker')} lost and started anew", quiet=self.quiet)
            return progress


@dataclass(frozen=True, slots=True)
class Charged:
    """Whose results a cluster makes.

    Attributes:
        maker: What makes them.
        beside: Whether results that were good until now stay so.
        begun: Writes down what the run does from now on, once it is known that the oracle answers.
    """

    maker: Maker
    beside: bool
    begun: Callable[[], None]


@dataclass(slots=True)
class Gauge:
    """Shows how far the keeper says that the work has come.

    Attributes:
        meter: Where it is shown.
        before: How many rows were done before.
        total: How many there are in all.
        begun: Is called once, when the first row has landed.
        last: What it said last.
    """

    meter: Meter
    before: int
    total: int
    begun: Callable[[], None] | None = None
    last: Progress | None = None

    def show(self, progress: Progress) -> None:
        """Show it. A block that is done once more, since its worker was lost, may land twice."""
        self.last = progress
        if self.begun is not None and progress.landed:
            self.begun()
            self.begun = None
        self.meter.show(
            Reading(
                finished=min(self.before + progress.landed, self.total),
                tokens=progress.usage.completion_tokens,
                reasons=progress.reasons,
                retried=progress.usage.retried,
                money="cost unknown" if progress.spent is None else dollars(progress.spent) if progress.spent else "",
                note="stopping" if progress.stopping else progress.state,
                idle=progress.down,
            )
        )


def recycle_abroad(abroad: Abroad, asking: Asking, charged: Charged) -> None:
    """Recycle the rows that are pending, as `asking.ask` does; the engine counts what the cluster did.

    Raises:
        OracleError: The oracle cannot be used; what was done before is kept.
        RunError: The run cannot be used, or the pipeline broke.
    """
    engine, rows, recipe = asking.engine, asking.rows, abroad.recipe
    counts = abroad.run.counts(STAGE)
    left = rows.count(counts)
    before = counts.rows - counts.pending if rows.which == "new" else 0
    address = address_of(recipe)
    chooser = None
    if isinstance(asking.chooser, StudentChooser) and recipe.chooser is not None:
        chooser = Pupil.of(recipe.chooser, address, asking.chooser.dtype)
    charge = replace(
        abroad.charge(engine.oracle, asking.budget, chooser),
        stage=STAGE,
        maker=charged.maker,
        beside=charged.beside,
        sample=rows.sample,
        which=rows.which,
    )
    model = Model.of(recipe.oracle, address, slots=engine.oracle.concurrency)
    work = Recycling(model, whole_prompts(asking.settings), chooser, charged.maker.fingerprint)
    with Meter(before + left, before, quiet=abroad.quiet) as meter:
        gauge = Gauge(meter, before, before + left, charged.begun)
        try:
            if left:
                abroad.flow(charge, work, Watch(gauge.show))
        finally:
            if gauge.last is not None:
                _count(asking, gauge.last)


def _count(asking: Asking, progress: Progress) -> None:
    """Let the driver's engine and budget stand as if they had done it."""
    engine = asking.engine
    engine.usage.add(progress.usage)
    engine.out_of_budget = progress.out_of_budget
    if progress.stopping:
        engine.stop()
    if asking.budget is not None and progress.spent is not None:
        asking.budget.spent = progress.spent


@dataclass(frozen=True, slots=True)
class Outing:
    """What is asked of a model on a cluster, outside a run's own rows.

    Attributes:
        cluster: The cluster.
        folder: The run's folder.
        recipe: The model and its limits.
        work: What is done with each row, given the model.
        rows: The rows.
        take: Is given what became of each.
    """

    cluster: Cluster
    folder: Path
    recipe: Recipe
    work: Callable[[Model], Work]
    rows: Sequence[Any]
    take: Callable[[Record], None]


def inquire_abroad(outing: Outing, meter: Meter, *, quiet: bool) -> Inquiry:
    """Ask on a cluster, as `inquiry.inquire` does in this process.

    Raises:
        OracleError: The model cannot be used; the replies that it gave before are kept.
        RunError: The run's folder cannot be used, or the pipeline broke.
        SettingsError: There is a budget, and the price is unknown.
    """
    recipe, place = settled(outing.recipe), outing.folder
    check_ray(place)
    new = not (place / STATE).exists()
    place.mkdir(parents=True, exist_ok=True)
    with asked_in(place, new=new) as folder:
        # A transformers model is opened by workers only: this machine may be none to run it on.
        oracle = None if is_folder(recipe.oracle) else open_model(recipe.oracle, address_of(recipe), recalled(folder))
        budget = budget_of(folder, recipe, oracle.name) if oracle else None
        spent = budget.spent if budget else 0.0
        slots = oracle.concurrency if oracle else None
        model = Model.of(recipe.oracle, address_of(recipe), any_kind=True, slots=slots)
        if oracle is not None:
            asyncio.run(oracle.aclose())
        abroad = Abroad(outing.cluster, folder, recipe, quiet)
        gauge = Gauge(meter, 0, len(outing.rows))
        work: Work | Writing = outing.work(model)
        charge, rows = abroad.charge(oracle, budget), outing.rows
        if isinstance(work, Generating) and work.model.wants_gpu and has_vllm():
            work = Writing(model, work.settings)
            charge, rows = replace(charge, oracle=work.name), _unwritten(folder, work, outing)
        progress = abroad.flow(charge, work, Watch(gauge.show, take=outing.take), rows)
        stopped: Stopped = "" if not progress.stopping else "budget" if progress.out_of_budget else "interrupt"
        if progress.out_of_budget:
            err.print(
                f"The budget of {dollars(recipe.budget or 0.0)} does not pay for another request, of which"
                f" {dollars(progress.spent or 0.0)} is spent: a larger --budget goes on."
            )
        known = progress.spent if oracle else 0.0
        return Inquiry(progress.oracle, progress.usage, None if known is None else known - spent, stopped)


def _unwritten(folder: RunDir, work: Writing, outing: Outing) -> list[Prompt]:
    """The prompts that have no reply yet; those that have one are taken at once."""
    left = []
    for prompt in outing.rows:
        reply = folder.store.reply(work.request(prompt).key(work.name))
        if reply is None:
            left.append(prompt)
        else:
            outing.take(generated(prompt, reply))
    return left


def score_abroad(
    abroad: Abroad, settings: ScoreSettings, begin: Callable[[Made], Maker], *, quiet: bool
) -> tuple[Made, bool]:
    """Score the rows that are pending; returns what made the scores, and whether somebody stopped it.

    Args:
        abroad: The run and the cluster.
        settings: How rows are scored.
        begin: Notes in the run what makes its scores from now on.
        quiet: Whether to show only errors.

    Raises:
        OracleError: The student cannot be loaded or used.
        RunError: The run cannot be used, or the pipeline broke.
        SettingsError: A template does not fit the student.
    """
    student = Pupil.of(settings, address_of(abroad.recipe))
    scoring, bare = Scoring(student), abroad.charge(None, None, student)
    with on(abroad.cluster) as ray:
        made = first_of(ray, abroad.cluster, scoring, bare.secrets)
        maker = begin(made)
        counts = abroad.run.counts(SCORE)
        before = counts.rows - counts.pending
        if not counts.pending:
            return made, False
        charge = replace(bare, stage=SCORE, maker=maker)
        with (
            Meter(counts.rows, before, quiet=quiet) as meter,
            abroad.run.lent(),
            drained_on_signals("the rows in hand are finished") as stopping,
        ):
            gauge = Gauge(meter, before, counts.rows)
            watch = Watch(gauge.show, stopping)
            progress = Flow(ray, abroad.cluster, charge, replace(scoring, fingerprint=made[0]), watch).run()
    return made, progress.stopping and abroad.run.counts(SCORE).pending > 0
