"""What judging came to: saved, shown, summed up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reflectune.cli.beside import agreement_on_same, is_of
from reflectune.cli.inquiry import Inquiry
from reflectune.cli.screen import err
from reflectune.errors import RunError
from reflectune.evaluate.intervals import Difference, Summary
from reflectune.evaluate.judge.agreement import Agreement
from reflectune.evaluate.judge.evaluation import ALL, Judged, Line, agreement_scores, agreements, lines, scores_of
from reflectune.evaluate.judge.figures import Tally
from reflectune.evaluate.judge.kept import FAILURES, VERDICTS, write_pairs
from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.evaluate.scores import FILE, Evaluation, Score
from reflectune.exports.kit import counted
from reflectune.formats import write_rows
from reflectune.recipe import JudgeSettings, Recipe

NOTE = "judge.yaml"
_FAILED = 3
_LIBRARIES = ("reflectune", "scipy", "scikit-learn", "numpy")
_COUNTS = ("requests", "cached", "prompt_tokens", "completion_tokens")
_REASONS_SHOWN = 3

_WIDE = 200
"""Columns that a table of many test sets may take: a terminal breaks its lines."""

_out = Console(stderr=True, width=_WIDE, highlight=False, markup=False, emoji=False)


@dataclass(slots=True)
class Finding:
    """What judging came to.

    Attributes:
        run: The run's folder.
        names: The models, A and B.
        settings: How it was judged.
        source: The files and the judges as they were named, for the record.
        items: How many questions there are, in pairs or not.
        alone: Which file has rows that the other has no answer to, and how many.
        pairs: What is judged.
        judged: What each judge said.
        inquiries: What each judge was asked; nothing for published reviews.
        before: What the folder held; what people said stays.
    """

    run: Path
    names: tuple[str, str]
    settings: JudgeSettings
    source: dict[str, object]
    items: int
    alone: str = ""
    pairs: tuple[Pair, ...] = ()
    judged: list[Judged] = field(default_factory=list)
    inquiries: list[Inquiry] = field(default_factory=list)
    before: tuple[Judged, ...] = ()

    def add(self, judged: Judged, inquiry: Inquiry | None = None) -> None:
        """Note what one more judge said."""
        self.judged.append(judged)
        if inquiry is not None:
            self.inquiries.append(inquiry)

    @property
    def asked(self) -> dict[str, object]:
        """What was asked for, for the record."""
        return {**self.source, **self.settings.model_dump(mode="json", exclude_none=True)}

    @property
    def stopped(self) -> str:
        """What stopped it before its end: `interrupt` or `budget`; nothing where it came to its end."""
        if any(self.pending(judged) for judged in self.judged):
            return next((inquiry.stopped for inquiry in self.inquiries if inquiry.stopped), "")
        return ""

    @property
    def people(self) -> tuple[Judged, ...]:
        """What people said before whose verdicts lie in the same folder."""
        return tuple(judged for judged in self.before if judged.people)

    def pending(self, judged: Judged) -> int:
        """How many questions a judge has still to judge."""
        return 0 if judged.published else self.items - len(judged.verdicts) - len(judged.lost)


def conclude(finding: Finding, recipe: Recipe, started: float, *, quiet: bool, as_json: bool) -> None:
    """Save what judging came to, show it, and end with the exit code that says so.

    Raises:
        MissingExtraError: A library that computes the figures is not installed; the verdicts are saved before.
        RunError: The run's folder cannot be written.
    """
    save_verdicts(finding, tuple(verdict for person in finding.people for verdict in person.verdicts))
    found = [line for judged in finding.judged for line in lines(judged)]
    between = agreements(*finding.judged) if len(finding.judged) == 2 else {}  # noqa: PLR2004 - one judge and another
    _evaluation(finding, found, between).save(finding.run)
    if not quiet:
        _show(finding, found, between)
    if as_json:
        summary = _summary(finding, found, between) | {"seconds": round(time.monotonic() - started, 3)}
        typer.echo(orjson.dumps(summary, option=orjson.OPT_SERIALIZE_DATACLASS).decode())
    if code := _exit_code(finding, recipe):
        raise typer.Exit(code)


def save_verdicts(finding: Finding, others: tuple[Verdict, ...] = ()) -> None:
    """Write what was said, what was not judged, and the pairs.

    Args:
        finding: What judging came to.
        others: Verdicts of other judges in the same folder, which stay.

    Raises:
        RunError: The folder cannot be written.
    """
    try:
        finding.run.mkdir(parents=True, exist_ok=True)
        finding.settings.save(finding.run / NOTE)
    except OSError as error:
        raise RunError(f"Cannot write into {finding.run}: {error}.", mend="Name another folder with --run.") from error
    own = (verdict for judged in finding.judged for verdict in judged.verdicts)
    write_rows(finding.run / VERDICTS, (verdict.model_dump(mode="json") for verdict in chain(others, own)))
    write_pairs(finding.run, finding.pairs)
    lost = {id(lost): lost.failure for judged in finding.judged for lost in judged.lost}  # a match is lost once
    write_rows(finding.run / FAILURES, (failure.model_dump() for failure in lost.values()))


def _evaluation(finding: Finding, found: list[Line], between: dict[str, Agreement]) -> Evaluation:
    model, against = finding.names
    scores = [*_of_people(finding), *(one for line in found for one in scores_of(line, model, against, VERDICTS))]
    if between:
        first, second = finding.judged
        scores += agreement_scores(between, (first.label, second.label), model, against)
    judges = [judged.label for judged in (*finding.people, *finding.judged)]
    return Evaluation(
        command="judge",
        versions=versions(),
        settings={**finding.asked, "judges": judges},
        scores=tuple(scores),
    )


def _of_people(finding: Finding) -> Iterator[Score]:
    """The figures of people in the same folder as they are, and how far they agree with who judged now."""
    if not finding.people:
        return
    people, file = {person.label for person in finding.people}, finding.run / FILE
    replaced = {judged.label for judged in (*finding.before, *finding.judged)} - people
    for score in Evaluation.load(file).scores if file.is_file() else ():
        if is_of(score, people) and not is_of(score, replaced):
            yield score
    for person in finding.people:
        for judged in finding.judged:
            yield from agreement_scores(agreement_on_same(person, judged), (person.label, judged.label), *finding.names)


def versions() -> dict[str, str]:
    """Of what computes the figures."""
    return {name: told for name in _LIBRARIES if (told := _version(name))}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _summary(finding: Finding, found: list[Line], between: dict[str, Agreement]) -> dict[str, Any]:
    asked = [inquiry.summary() for inquiry in finding.inquiries]
    judges = []
    for number, judged in enumerate(finding.judged):
        own = [line for line in found if line.judged is judged]
        judges.append(
            {
                "judge": judged.label,
                "verdicts": len(judged.verdicts),
                "failed": len(judged.lost),
                "pending": finding.pending(judged),
                "failures": dict(sorted(Counter(lost.failure.reason for lost in judged.lost).items())),
                **(asked[number] if asked else {}),
                "sets": {line.dataset: line.tally.plain() if line.tally else None for line in own},
            }
        )
    return {
        "run": str(finding.run),
        "a": finding.names[0],
        "b": finding.names[1],
        "items": finding.items,
        **{name: sum(int(str(one[name])) for one in asked) for name in _COUNTS},
        "judges": judges,
        "agreement": between,
    }


def _show(finding: Finding, found: list[Line], between: dict[str, Agreement]) -> None:
    for judged in finding.judged:
        show_judged(finding, judged, [line for line in found if line.judged is judged])
    show_agreement("both judges", between)
    err.print(f"{finding.run / VERDICTS} · {finding.run / 'evaluation.json'}")


def show_judged(finding: Finding, judged: Judged, own: list[Line]) -> None:
    """Show what one judge said, test set by test set."""
    err.print(Text(f"{finding.names[0]} against {finding.names[1]}, judged by {judged.label}", style="bold"))
    if own:
        _out.print(_table(own))
    if judged.lost:
        reasons = Counter(lost.failure.reason for lost in judged.lost).most_common(_REASONS_SHOWN)
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
        alone = f" ({finding.alone})" if finding.alone else ""
        told = f"No verdict, and no tie, on {counted(len(judged.lost), 'question')}: {listed}{alone}"
        err.print(Text(told, style="yellow"))
    if pending := finding.pending(judged):
        err.print(Text(f"Pending: {counted(pending, 'pair')}; the same command goes on.", style="yellow"))


def show_agreement(who: str, between: dict[str, Agreement]) -> None:
    """Show how far two judges agree, test set by test set; `who` are they."""
    for dataset, how_far in between.items():
        kappa = "not defined" if how_far.kappa is None else f"{how_far.kappa:.3f}"
        name = who if dataset == ALL else dataset
        told = f"the same verdict on {how_far.accuracy:.1f}% of {how_far.items:,}, Cohen's kappa {kappa}"
        err.print(Text(f"{name}: {told}"))


def _table(found: list[Line]) -> Table:
    """A column for each test set."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for line in found:
        table.add_column(Text(line.dataset), justify="right", no_wrap=True)
    for label, cell in _ROWS.items():
        table.add_row(label, *("-" if line.tally is None else cell(line.tally) for line in found))
    table.add_row("no verdict", *(f"{line.failed:,}" for line in found))
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}%"


def _ends(figure: Summary | Difference | None) -> str:
    interval = figure and figure.interval
    return f"{interval.low:.1f} to {interval.high:.1f}" if interval else "-"


_ROWS: dict[str, Callable[[Tally], str]] = {
    "wins / ties / losses": lambda told: f"{told.wins:,} / {told.ties:,} / {told.losses:,}",
    "winning score, 0 to 2": lambda told: f"{told.winning_score.mean:.4f}",
    "win rate, a tie is half": lambda told: _percent(told.win_rate.mean),
    "  95%": lambda told: _ends(told.win_rate),
    "  were A as often longer": lambda told: _percent(told.matched.mean if told.matched else None),
    "  95%  ": lambda told: _ends(told.matched),
    "sign test, p": lambda told: f"{told.sign_test:.2g}",
    "flips with the order": lambda told: _percent(told.flipped.percent),
    "prefers the first shown": lambda told: _percent(told.first.percent),
    "the longer answer wins": lambda told: _percent(told.longer.percent),
    "mean length A / B": lambda told: " / ".join(f"{length:,.0f}" for length in told.lengths),
}


def _exit_code(finding: Finding, recipe: Recipe) -> int:
    if finding.stopped:
        return 4 if finding.stopped == "budget" else 130
    most = max(len(judged.lost) for judged in finding.judged)
    return _FAILED if most > recipe.max_failed * finding.items else 0
