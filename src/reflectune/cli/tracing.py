"""Make traces: load, make, check, save."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.text import Text

from reflectune.cli.screen import Meter, Reading, err, say
from reflectune.errors import RunError, SettingsError
from reflectune.formats import check_target, write_rows
from reflectune.gates import Candidate, GateName, Mark, find_marks
from reflectune.oracles.engine import Usage
from reflectune.recipe import Recipe, TraceSettings
from reflectune.records import Failure, Version
from reflectune.traces import STAGE, Question, Questions, Trace, plant_traces, requests_per_question

Made = Trace | Failure

LEFT_OUT = frozenset({"duplicate", "contaminated", "no-mistake"})
"""Rows that are left out on purpose: they count as no failures of the command."""
_FAILED = 3
_MORE = 0.1
"""How far the share of clean traces may lie above what was asked for before it is told."""
_NOTE = "traces.yaml"
_GATES: tuple[GateName, ...] = ("contamination",)
_EVERY = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        recipe: The data, the model and its limits.
        settings: How traces are made.
        run: The run's folder.
        show: How many traces to show in the end.
        quiet: Whether to show only errors.
    """

    recipe: Recipe
    settings: TraceSettings
    run: Path
    show: int = 0
    quiet: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of the rows.

    Attributes:
        rows: How many rows there are.
        made: What became of each, by its id, as far as they were done.
        usage: What the oracle was asked for in this process.
        cost: US dollars that this process spent; `None` where the price is unknown.
        stopped: What stopped it before its end: `interrupt` or `budget`; nothing where it came to its end.
    """

    rows: int
    made: dict[str, Made] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    stopped: str = ""

    @property
    def traces(self) -> list[Trace]:
        """The traces."""
        return [made for made in self.made.values() if isinstance(made, Trace)]

    @property
    def failures(self) -> list[Failure]:
        """The rows that are no traces."""
        return [made for made in self.made.values() if isinstance(made, Failure)]

    def summary(self, run: Path, seconds: float) -> dict[str, Any]:
        """The object that `--json` prints."""
        traces = self.traces
        return {
            "run": str(run),
            "rows": self.rows,
            "traces": len(traces),
            "failed": len(self.failures),
            "pending": self.rows - len(self.made),
            "kinds": _counted(trace.trace.kind for trace in traces),
            "mistakes": _counted(trace.trace.mistake for trace in traces if trace.trace.mistake),
            "failures": _counted(failure.reason for failure in self.failures),
            "requests": self.usage.requests,
            "cached": self.usage.cached,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cost": None if self.cost is None else round(self.cost, 6),
            "seconds": round(seconds, 3),
        }


def carry_out(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    """Do what is asked, show what it came to, and end with the exit code that says so.

    Raises:
        InputError: The data cannot be read.
        OracleError: The oracle cannot be used; what was asked before is kept.
        RunError: The run's folder cannot be used.
        SettingsError: What is asked does not fit the data or the place.
    """
    started = time.monotonic()
    questions = Questions(asked.recipe.data, asked.settings.form)
    _check(asked, questions)
    rows = list(questions.rows(asked.recipe.limit))
    usable = sum(isinstance(row, Question) for row in rows)
    say(f"{asked.recipe.data}: {len(rows):,} rows as {questions.form}", quiet=asked.quiet)
    if dry_run:
        _show_estimate(asked, len(rows), usable, as_json=as_json)
        return
    outcome = Outcome(len(rows))
    marks = _marks(outcome, asked.settings)  # evaluation sets that cannot be read are told of before a model is asked
    _make(asked, rows, outcome)
    order = {row.id: place for place, row in enumerate(rows)}
    outcome.made = dict(sorted(outcome.made.items(), key=lambda item: order[item[0]]))
    for mark in marks:
        found = Failure(id=mark.id, stage=STAGE, reason="contaminated", detail=mark.detail, raw=mark.found)
        outcome.made[mark.id] = found
    _save(asked, outcome)
    summary = outcome.summary(asked.run, time.monotonic() - started)
    if not asked.quiet:
        _show(asked, outcome, summary)
    if as_json:
        typer.echo(orjson.dumps(summary).decode())
    if code := _exit_code(asked.recipe, outcome):
        raise typer.Exit(code)


def _check(asked: Asked, questions: Questions) -> None:
    """Refuse, before anything is made, what cannot be made or would overwrite data."""
    form, mistakes, output = questions.form, asked.settings.mistakes, asked.recipe.output
    if mistakes == "planted" and form in {"choice", "open"}:
        raise SettingsError(
            f"{questions.source}: mistakes are planted into worked solutions, and rows of the form {form} have none.",
            mend="Have a model make them: --mistakes oracle --oracle NAME"
            + (", or --mistakes own" if form == "choice" else ""),
        )
    if mistakes == "own" and form == "open":
        raise SettingsError(
            f"{questions.source}: nobody knows the answers, so that no sample is known to be wrong.",
            mend="Use --mistakes oracle, or say where the answers are: --from gsm8k, math or choice.",
        )
    if output is not None:
        check_target(output)
        if output.resolve() == Path(asked.recipe.data).resolve():
            raise SettingsError(f"{output} would overwrite the data.", mend="Name another file with --output.")
    if (asked.run / "state.sqlite").is_file() and not (asked.run / _NOTE).is_file():
        raise SettingsError(f"The run {asked.run} holds no traces.", mend="Name another folder with --run.")


def _make(asked: Asked, rows: list[Question | Failure], outcome: Outcome) -> None:
    with Meter(len(rows), 0, quiet=asked.quiet) as meter:
        if asked.settings.mistakes != "planted":
            from reflectune.cli.trace_asking import ask

            ask(asked.recipe, asked.settings, asked.run, rows, outcome, meter)
            return
        for made in plant_traces(rows, asked.settings):
            outcome.made[made.id] = made
            if len(outcome.made) % _EVERY == 0:
                meter.show(Reading(len(outcome.made), 0, {}))


def _marks(outcome: Outcome, settings: TraceSettings) -> Iterator[Mark]:
    """What evaluation sets have in common with the traces that will have been made."""
    if not settings.against:
        return iter(())
    return find_marks(_candidates(outcome), gates=_GATES, against=settings.against)


def _candidates(outcome: Outcome) -> Iterator[Candidate]:
    for trace in outcome.traces:
        asks, answers = trace.messages[-2:]
        pair = Version(instruction=asks.content, response=answers.content)
        yield Candidate(trace.id, Version(instruction="", response=""), pair)


def _save(asked: Asked, outcome: Outcome) -> None:
    try:
        asked.run.mkdir(parents=True, exist_ok=True)
        asked.settings.save(asked.run / _NOTE)
    except OSError as error:
        raise RunError(f"Cannot write into {asked.run}: {error}.", mend="Name another folder with --run.") from error
    for path in (asked.run / "traces.jsonl", *([asked.recipe.output] if asked.recipe.output else [])):
        write_rows(path, (trace.model_dump(mode="json") for trace in outcome.traces))
    write_rows(asked.run / "trace_failures.jsonl", (failure.model_dump() for failure in outcome.failures))


def _show(asked: Asked, outcome: Outcome, summary: dict[str, Any]) -> None:
    reflecting = [trace for trace in outcome.traces if trace.trace.corrections]
    for trace in reflecting[: asked.show]:
        err.print(Text(f"── {trace.trace.mistake or trace.trace.kind}: {trace.trace.source}", style="bold"))
        err.print(trace.messages[-2].content, style="dim")
        err.print(_coloured(trace))
        err.print()
    err.print(f"{summary['traces']:,} traces: {_listed(summary['kinds'])}")
    if summary["mistakes"]:
        err.print(f"planted: {_listed(summary['mistakes'])}")
    if outcome.failures:
        err.print(f"{summary['failed']:,} rows left out: {_listed(summary['failures'])}")
    if summary["pending"]:
        err.print(Text(f"{summary['pending']:,} rows are pending; the same command goes on.", style="yellow"))
    share = summary["kinds"].get("clean", 0) / max(summary["traces"], 1)
    if share > asked.settings.clean + _MORE:
        told = f"{share:.0%} of the traces make no mistake, and {asked.settings.clean:.0%} was asked for:"
        err.print(
            Text(f"{told} few solutions have a place for one. --mistakes own has a model make them.", style="yellow")
        )
    if _exit_code(asked.recipe, outcome) == _FAILED:
        err.print(f"More than {asked.recipe.max_failed:.0%} of the rows failed (--max-failed): exit code {_FAILED}.")
    err.print(f"{asked.recipe.output or asked.run / 'traces.jsonl'} · {asked.run / 'trace_failures.jsonl'}")


def _coloured(trace: Trace) -> Text:
    text = Text(trace.messages[-1].content)
    for style, spans in (("red", trace.trace.mistakes), ("green", trace.trace.corrections)):
        for span in spans:
            text.stylize(style, *span)
    return text


def _show_estimate(asked: Asked, rows: int, usable: int, *, as_json: bool) -> None:
    dialogue = asked.recipe.oracle.split(":")[0] == "local"
    requests = usable * requests_per_question(asked.settings, dialogue=dialogue)
    if as_json:
        typer.echo(orjson.dumps({"rows": rows, "usable": usable, "requests": requests}).decode())
        return
    if asked.quiet:
        return
    if usable < rows:
        err.print(f"  {rows - usable:,} cannot be used")
    told = f"at most {requests:,} requests to {asked.recipe.oracle}, and more for each reply that is rejected"
    err.print(told if requests else "no model is asked: mistakes are planted by rule")


def _exit_code(recipe: Recipe, outcome: Outcome) -> int:
    if outcome.stopped:
        return 4 if outcome.stopped == "budget" else 130
    failed = sum(failure.reason not in LEFT_OUT for failure in outcome.failures)
    return _FAILED if failed > recipe.max_failed * outcome.rows else 0


def _counted(names: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"
