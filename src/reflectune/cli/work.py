"""Run the recycle stage on a run folder: load, build, run, save."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from reflectune.cli.screen import Meter, Reading, busy_note, err, say
from reflectune.errors import ReflectuneError, RunError, SettingsError
from reflectune.formats import Source, check_target, open_source, parse_mapping
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Usage
from reflectune.oracles.naming import Address, base_url_of, knowledge_of, open_oracle
from reflectune.oracles.pacing import Pace
from reflectune.prompts import Prompts
from reflectune.recipe import Recipe
from reflectune.records import Recycled
from reflectune.recycling import STAGE, fingerprint, recycle
from reflectune.runs import Counts, RunDir
from reflectune.runs.export import Export, export

_KNOWLEDGE = "knowledge of "


@dataclass(frozen=True, slots=True)
class Job:
    """What to do, and how to show it.

    Attributes:
        recipe: What is asked for.
        run: The run's folder.
        quiet: Whether to show only errors.
        retry: Whether rows that failed are tried again.
        fresh: Whether everything is done again.
    """

    recipe: Recipe
    run: Path
    quiet: bool = False
    retry: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job came to.

    Attributes:
        counts: How many rows ended how.
        usage: What the oracle was asked for in this process.
        seconds: How long it took.
        data: The file that the data is in.
        interrupted: Whether it was stopped before its end.
        fingerprint: Under which oracle, settings and prompts the rows were made.
    """

    counts: Counts
    usage: Usage
    seconds: float
    data: Path
    interrupted: bool
    fingerprint: str

    def summary(self, run: Path) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "run": str(run),
            "rows": self.counts.rows,
            "rewritten": self.counts.done,
            "failed": self.counts.failed,
            "pending": self.counts.pending,
            "failures": self.counts.reasons,
            "requests": self.usage.requests,
            "cached": self.usage.cached,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost": None,
            "seconds": round(self.seconds, 3),
        }


def work(job: Job) -> Outcome:
    """Do a job: read the data, ask the oracle for what is missing, write the files.

    Raises:
        InputError: The data cannot be read.
        OracleError: The oracle cannot be used; what was done before is kept and written.
        RunError: The run's folder cannot be used.
    """
    started = time.monotonic()
    recipe = _settled(job.recipe)
    _check_places(job)
    source = source_of(recipe)
    with RunDir(job.run) as run:
        oracle = open_oracle(recipe.oracle, address_of(recipe), lambda name: run.remembered(_KNOWLEDGE + name))
        mark = fingerprint(oracle, recipe.recycle)
        _say_what_changed(run, recipe, quiet=job.quiet)
        rows = run.ingest(islice(source.rows(), recipe.limit))
        say(f"{recipe.data}: {rows:,} rows, {source.describe()}", quiet=job.quiet)
        if job.retry or job.fresh:
            again = run.forget(STAGE, failures_only=not job.fresh)
            say(f"{again:,} rows are done again.", quiet=job.quiet)
        ceiling = min(recipe.max_concurrency, oracle.concurrency or recipe.max_concurrency)
        engine = Engine(oracle, run.store, Pace(ceiling))
        how = Export(source.mapping, mark, recipe.to, recipe.fill == "original")
        note = partial(_note, run, recipe, how)
        try:
            with suppress(asyncio.CancelledError):  # the second Ctrl-C
                asyncio.run(_ask(run, engine, recipe, mark, note, quiet=job.quiet))
        except ReflectuneError:
            done = run.counts(STAGE, mark).done
            if done:
                with suppress(ReflectuneError):  # the first error is the one to tell
                    _save(run, oracle, recipe, how)
                say(f"{done:,} rows are done and kept in {run.path}; the same command goes on.", quiet=job.quiet)
            raise
        note()
        data = _save(run, oracle, recipe, how)
        counts = run.counts(STAGE, mark)
        interrupted = engine.stopping and counts.pending > 0
        return Outcome(counts, engine.usage, time.monotonic() - started, data, interrupted, mark)


def _settled(recipe: Recipe) -> Recipe:
    """The recipe with the address that the environment names, so that a resumed run asks at the same place."""
    return recipe.model_copy(update={"base_url": base_url_of(recipe.oracle, address_of(recipe))})


def _check_places(job: Job) -> None:
    """Refuse, before anything is asked, what would overwrite data or could not be written.

    Raises:
        SettingsError: The output is the input or a file of the run, or the run's folder belongs to other data.
    """
    output, data = job.recipe.output, Path(job.recipe.data).resolve()
    if output is not None:
        check_target(output)
        if output.resolve() == data or job.run.resolve() in output.resolve().parents:
            raise SettingsError(f"{output} would overwrite what is there.", mend="Name another file with --output.")
    path = job.run / "recipe.yaml"
    if job.fresh or not path.is_file():
        return
    before = _recipe_before(path)
    if before is not None and Path(before.data).resolve() != data:
        raise SettingsError(
            f"The run {job.run} holds other data: {before.data}.",
            mend="Name another folder with --run, or start this one over with --fresh.",
        )


def _recipe_before(path: Path) -> Recipe | None:
    """The recipe that a run had; `None` where it has none that this version can read."""
    try:
        return Recipe.load(path) if path.is_file() else None
    except SettingsError:
        return None


def source_of(recipe: Recipe) -> Source:
    """The data that a recipe names, read as it says."""
    return open_source(recipe.data, mapping=parse_mapping(recipe.map) if recipe.map else None)


def address_of(recipe: Recipe) -> Address:
    """Where the recipe's oracle is."""
    return Address(
        base_url=recipe.base_url,
        key_env=recipe.key_env,
        timeout=recipe.timeout,
        connections=recipe.max_concurrency,
    )


def calm_collector() -> None:
    """Let Python look for reference cycles less often: a run makes few of them, and the search takes 8% of its time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _ask(
    run: RunDir, engine: Engine, recipe: Recipe, mark: str, note: Callable[[], None], *, quiet: bool
) -> None:
    """Ask for every row that is pending, with progress; the first Ctrl-C drains, the second stops."""
    noted = False
    counts = run.counts(STAGE, mark)
    finished, reasons = counts.rows - counts.pending, dict(counts.reasons)
    _stop_on_signals(engine)
    calm_collector()
    try:
        with Meter(counts.rows, finished, quiet=quiet) as meter:
            async for recycled in recycle(run.pending(STAGE, mark), engine, recipe.recycle):
                if not noted:  # only now it is known that this oracle answers
                    note()
                    noted = True
                finished += 1
                _count(recycled, reasons)
                state = "stopping" if engine.stopping else busy_note(engine.usage.busy)
                meter.show(Reading(finished, engine.usage.completion_tokens, reasons, state))
    finally:
        await engine.oracle.aclose()


def _count(recycled: Recycled, reasons: dict[str, int]) -> None:
    if recycled.failure:
        reasons[recycled.failure.reason] = reasons.get(recycled.failure.reason, 0) + 1


def _stop_on_signals(engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupt() -> None:
        if engine.stopping and task is not None:
            task.cancel()
            return
        err.print("Stopping: waiting for the replies in flight. Press Ctrl-C again to stop at once.")
        engine.stop()

    with suppress(NotImplementedError, RuntimeError):  # not on this platform, or not in the main thread
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)


def _say_what_changed(run: RunDir, recipe: Recipe, *, quiet: bool) -> None:
    """Say which settings differ from those that the run had before: rows may be asked again because of them."""
    earlier = _recipe_before(run.path / "recipe.yaml")
    if earlier is None:
        return
    before, now = earlier.model_dump(mode="json"), recipe.model_dump(mode="json")
    for name in now:
        if before[name] != now[name]:
            say(f"Since the last time {name} changed: {before[name]} → {now[name]}", quiet=quiet)


def _note(run: RunDir, recipe: Recipe, how: Export) -> None:
    """Note in the run what it does."""
    try:
        recipe.save(run.path / "recipe.yaml")
    except OSError as error:
        raise RunError(f"Cannot write {run.path / 'recipe.yaml'}: {error}.", mend="Free some disk space.") from error
    run.remember("mapping", how.mapping.model_dump_json())
    run.remember("fingerprint", how.fingerprint)


def _save(run: RunDir, oracle: Oracle, recipe: Recipe, how: Export) -> Path:
    """Write the run's files; returns the one that holds the data."""
    if (known := knowledge_of(oracle)) is not None:
        run.remember(_KNOWLEDGE + oracle.name, known)
    totals = {
        "reflectune": version("reflectune"),
        "oracle": oracle.name,
        "fingerprint": how.fingerprint.rstrip(":"),
        "prompts": Prompts(recipe.recycle.prompts).hash(""),
        "seed": recipe.recycle.seed,
        **asdict(run.counts(STAGE, how.fingerprint)),
        **run.spent(),
    }
    part = run.path / "run.part"
    try:
        part.write_bytes(orjson.dumps(totals, option=orjson.OPT_INDENT_2) + b"\n")
        part.replace(run.path / "run.json")
    except OSError as error:
        raise RunError(f"Cannot write {run.path / 'run.json'}: {error}.", mend="Free some disk space.") from error
    return export(run, how, recipe.output)
