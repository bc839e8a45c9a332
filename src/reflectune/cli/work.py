"""Run the recycle stage on a run folder: load, build, run, save."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from reflectune.cli.screen import Meter, Reading, busy_note, err, say
from reflectune.errors import ReflectuneError, RunError
from reflectune.formats import Mapping, check_target, open_source, parse_mapping
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Usage
from reflectune.oracles.naming import Address, knowledge_of, open_oracle
from reflectune.oracles.pacing import Pace
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
    recipe = job.recipe
    if recipe.output is not None:
        check_target(recipe.output)
    with RunDir(job.run) as run:
        mapping = take_in(run, recipe, quiet=job.quiet)
        oracle = open_oracle(recipe.oracle, address_of(recipe), lambda name: run.remembered(_KNOWLEDGE + name))
        mark = fingerprint(oracle, recipe.recycle)
        _say_what_changed(run, recipe, quiet=job.quiet)
        recipe.save(run.path / "recipe.yaml")
        run.remember("mapping", mapping.model_dump_json())
        run.remember("fingerprint", mark)
        if job.retry or job.fresh:
            again = run.forget(STAGE, failures_only=not job.fresh)
            say(f"{again:,} rows are done again.", quiet=job.quiet)
        ceiling = min(recipe.max_concurrency, oracle.concurrency or recipe.max_concurrency)
        engine = Engine(oracle, run.store, Pace(ceiling))
        save = partial(_save, run, oracle, recipe, Export(mapping, mark, recipe.to, recipe.fill == "original"))
        try:
            with suppress(asyncio.CancelledError):  # the second Ctrl-C
                asyncio.run(_ask(run, engine, recipe, mark, quiet=job.quiet))
        except ReflectuneError:
            with suppress(ReflectuneError):  # the first error is the one to tell
                save()
                done = run.counts(STAGE, mark).done
                say(f"{done:,} rows are done and kept in {run.path}; the same command goes on.", quiet=job.quiet)
            raise
        data = save()
        seconds = time.monotonic() - started
        return Outcome(run.counts(STAGE, mark), engine.usage, seconds, data, engine.stopping, mark)


def take_in(run: RunDir, recipe: Recipe, *, quiet: bool) -> Mapping:
    """Read the recipe's data into the run, and say how it was understood."""
    source = open_source(recipe.data, mapping=parse_mapping(recipe.map) if recipe.map else None)
    count = run.ingest(islice(source.rows(), recipe.limit))
    say(f"{recipe.data}: {count:,} rows, {source.describe()}", quiet=quiet)
    return source.mapping


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


async def _ask(run: RunDir, engine: Engine, recipe: Recipe, mark: str, *, quiet: bool) -> None:
    """Ask for every row that is pending, with progress; the first Ctrl-C drains, the second stops."""
    counts = run.counts(STAGE, mark)
    finished, reasons = counts.rows - counts.pending, dict(counts.reasons)
    _stop_on_signals(engine)
    calm_collector()
    try:
        with Meter(counts.rows, finished, quiet=quiet) as meter:
            async for recycled in recycle(run.pending(STAGE, mark), engine, recipe.recycle):
                finished += 1
                _count(recycled, reasons)
                note = "stopping" if engine.stopping else busy_note(engine.usage.busy)
                meter.show(Reading(finished, engine.usage.completion_tokens, reasons, note))
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
    path = run.path / "recipe.yaml"
    if not path.is_file():
        return
    before, now = Recipe.load(path).model_dump(mode="json"), recipe.model_dump(mode="json")
    for name in now:
        if before[name] != now[name]:
            say(f"Since the last time {name} changed: {before[name]} → {now[name]}", quiet=quiet)


def _save(run: RunDir, oracle: Oracle, recipe: Recipe, how: Export) -> Path:
    """Write the run's files; returns the one that holds the data."""
    if (known := knowledge_of(oracle)) is not None:
        run.remember(_KNOWLEDGE + oracle.name, known)
    data = export(run, how, recipe.output)
    totals = {
        "reflectune": version("reflectune"),
        "oracle": oracle.name,
        "fingerprint": how.fingerprint.rstrip(":"),
        "seed": recipe.recycle.seed,
        **asdict(run.counts(STAGE, how.fingerprint)),
        **run.spent(),
    }
    try:
        (run.path / "run.json").write_bytes(orjson.dumps(totals, option=orjson.OPT_INDENT_2) + b"\n")
    except OSError as error:
        raise RunError(f"Cannot write {run.path / 'run.json'}: {error}.", mend="Free some disk space.") from error
    return data
