"""Run the recycle stage on a run folder: load, build, run, save."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

from reflectune.cli.asking import Asking, Rows, ask
from reflectune.cli.choice import chooser_of
from reflectune.cli.clustering import Abroad, Charged, check_cluster, recycle_abroad, working_on
from reflectune.cli.finish import note_recipe, save
from reflectune.cli.inquiry import recalled, remember_endpoint
from reflectune.cli.intake import take_in
from reflectune.cli.job import (
    Job,
    Outcome,
    address_of,
    check_batch,
    check_places,
    recipe_of,
    settled,
    with_later_stages,
)
from reflectune.cli.money import Projection, budget_of, projection
from reflectune.cli.screen import say, say_what_changed
from reflectune.errors import ReflectuneError
from reflectune.oracles import Oracle
from reflectune.oracles.api import ApiOracle
from reflectune.oracles.batch import BatchOracle
from reflectune.oracles.batch_inbox import AfterBatches, Inbox
from reflectune.oracles.batch_mail import Mail
from reflectune.oracles.batch_wire import BatchWire
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine
from reflectune.oracles.naming import open_oracle
from reflectune.oracles.pacing import Pace
from reflectune.recipe import Recipe
from reflectune.recycling import STAGE, fingerprint, prompts_hash, requests_at_once, requests_per_row, way_name
from reflectune.runs import Counts, Maker, RunDir
from reflectune.runs.export import Export


def work(job: Job) -> Outcome:
    """Do a job: read the data, ask the oracle for what is missing, write the files.

    Raises:
        InputError: The data cannot be read.
        OracleError: The oracle cannot be used; what was done before is kept and written.
        RunError: The run's folder cannot be used.
        SettingsError: The recipe does not fit the data, the oracle or the place.
    """
    started = time.monotonic()
    recipe = with_later_stages(settled(job.recipe), recipe_of(job.run))
    check_places(job)
    check_batch(recipe)
    check_cluster(job)
    with (
        working_on(job.cluster, quiet=job.quiet) as as_parts,
        chooser_of(recipe) as chooser,
        RunDir(job.run) as run,
    ):
        oracle = open_oracle(recipe.oracle, address_of(recipe), recalled(run))
        maker = Maker(fingerprint(oracle, recipe.recycle, chooser), oracle.name, prompts_hash(oracle, recipe.recycle))
        run.made_by(STAGE, maker, beside=job.retry)
        kept = _kept(run, recipe, retry=job.retry)
        _say_what_changed(run, recipe, quiet=job.quiet)
        mapping = take_in(run, recipe, quiet=job.quiet)
        _forget(run, job)
        batch = recipe.batch and not job.sample  # a sample is asked for at once
        budget = budget_of(run, recipe, oracle.name, batch=batch)
        spent = budget.spent if budget else 0.0
        pace = _pace(recipe, oracle, batch=batch)
        per_row = requests_per_row(recipe.recycle, dialogue=way_name(oracle, recipe.recycle) == "dialogue")
        batches = _batches(run, recipe, oracle, pace, budget, per_row) if batch else None
        asked = batches or _after_batches(run, oracle, budget, quiet=job.quiet)
        engine = Engine(asked, run.store, pace, budget=budget)
        how = Export(mapping, recipe.to, recipe.fill == "original", recipe.provenance, run.marks.dropped)

        def note() -> None:
            _note(run, kept)

        rows = Rows(run, job.sample, "new" if not job.retry else "both" if kept is recipe else "again")
        asking = Asking(rows, engine, recipe.recycle, chooser, budget, per_row, batches, note)
        try:
            if job.cluster is not None:
                abroad = Abroad(job.cluster, run, recipe, job.quiet)
                recycle_abroad(abroad, asking, Charged(maker, job.retry, partial(note_recipe, run, kept)))
            else:
                ask(asking, quiet=job.quiet)
        except ReflectuneError:
            _keep_what_is_done(run, kept, how, quiet=job.quiet)
            raise
        finally:
            run.store.flush()  # after a second Ctrl-C some may be on their way
            if job.cluster is None:
                remember_endpoint(run, oracle)
        note()
        files = save(run, kept, how)
        as_parts(run.path / "recycled.jsonl")
        if engine.usage.requests and (run.marks.dropped or run.marks.count()):
            say(
                f"Rows that are new have not been through the quality gates: `reflectune gates {job.run}`",
                quiet=job.quiet,
            )
        counts = run.counts(STAGE)
        return Outcome(
            counts=counts,
            usage=engine.usage,
            cost=budget.spent - spent if budget else None,
            spent=budget.spent if budget else None,
            seconds=time.monotonic() - started,
            data=files.data,
            stopped=_stopped(engine, left=rows.count(counts)),
            changes=files.changes,
            projection=_projected(run, recipe, maker, counts) if job.sample else None,
        )


def _pace(recipe: Recipe, oracle: Oracle, *, batch: bool) -> Pace:
    ceiling = min(recipe.max_concurrency, oracle.concurrency or recipe.max_concurrency)
    # Writing into a batch's file takes no rate: the provider paces what is in it.
    return Pace(ceiling) if batch else Pace(ceiling, rpm=recipe.rpm, tpm=recipe.tpm)


def _batches(
    run: RunDir, recipe: Recipe, oracle: Oracle, pace: Pace, budget: Budget | None, per_row: int
) -> BatchOracle:
    """The oracle, asked through its provider's batches."""
    if not isinstance(oracle, ApiOracle):
        raise TypeError(f"{oracle.name} is no endpoint")
    outbox = run.outbox(oracle.name)
    return BatchOracle(
        oracle,
        Inbox(oracle, outbox, budget),
        Mail(BatchWire(oracle.settings, oracle.wire), outbox, run.path, pace),
        budget=budget,
        per_row=per_row,
        at_once=requests_at_once(recipe.recycle),
    )


def _after_batches(run: RunDir, oracle: Oracle, budget: Budget | None, *, quiet: bool) -> Oracle:
    """The oracle, which is asked directly after what batches have brought is read, where there were any."""
    outbox = run.outbox(oracle.name)
    left = sum(batch.requests for batch in outbox.open())
    if not isinstance(oracle, ApiOracle) or not (left or outbox.unread):
        return oracle
    if left:
        say(
            f"{left:,} requests are with the provider in batches and will be paid for. --batch fetches them;"
            " without it they are asked for directly, once more.",
            quiet=quiet,
        )
    return AfterBatches(oracle, Inbox(oracle, outbox, budget))


def _kept(run: RunDir, recipe: Recipe, *, retry: bool) -> Recipe:
    """The recipe that the run has from now on: the earlier one where failed rows are tried with another oracle."""
    earlier = recipe_of(run.path) if retry else None
    if earlier is None or (earlier.oracle, earlier.base_url) == (recipe.oracle, recipe.base_url):
        return recipe
    said = {name: value for name in ("prices", "output", "budget") if (value := getattr(recipe, name)) is not None}
    return earlier.model_copy(update=said)


def _forget(run: RunDir, job: Job) -> None:
    if job.fresh:
        say(f"{run.forget(STAGE):,} rows are done again.", quiet=job.quiet)
    elif job.retry:
        there = run.counts(STAGE).reasons
        for reason in job.reasons:
            if reason not in there:
                told = ", ".join(f"{name} ({count:,})" for name, count in there.items()) or "none"
                say(f"No row failed for {reason}. The reasons here: {told}.", quiet=job.quiet)
        say(f"Failed rows that are done again: {run.do_again(STAGE, job.reasons):,}", quiet=job.quiet)


def _stopped(engine: Engine, *, left: int) -> str:
    if not engine.stopping or not left:
        return ""
    return "budget" if engine.out_of_budget else "interrupt"


def _projected(run: RunDir, recipe: Recipe, maker: Maker, counts: Counts) -> Projection | None:
    """What the rest will take, going by every row that was done in this way."""
    return projection(run, recipe, maker, measured=run.made(STAGE, maker), rows=counts.pending)


def _keep_what_is_done(run: RunDir, recipe: Recipe, how: Export, *, quiet: bool) -> None:
    done = run.counts(STAGE).done
    if not done:
        return
    with suppress(ReflectuneError):  # the first error is the one to tell
        save(run, recipe, how)
    say(f"{done:,} rows are done and kept in {run.path}; the same command goes on.", quiet=quiet)


def _say_what_changed(run: RunDir, recipe: Recipe, *, quiet: bool) -> None:
    """Say which settings differ from those that the run had before: rows may be asked again because of them."""
    earlier = recipe_of(run.path)
    if earlier is None:
        return
    say_what_changed(earlier.model_dump(mode="json"), recipe.model_dump(mode="json"), quiet=quiet)


def _note(run: RunDir, recipe: Recipe) -> None:
    """Note in the run what it does from now on."""
    note_recipe(run, recipe)
    run.confirm(STAGE)
