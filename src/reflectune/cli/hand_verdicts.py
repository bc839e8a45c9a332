"""What judging by hand came to: saved beside what others said, shown, and how far it agrees with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import typer

from reflectune.cli.beside import agreement_on_same, is_of, others_in
from reflectune.cli.judging import Asked
from reflectune.cli.screen import err
from reflectune.cli.verdicts import Finding, save_verdicts, show_agreement, show_judged, versions
from reflectune.evaluate.judge.agreement import Agreement
from reflectune.evaluate.judge.evaluation import Judged, Line, agreement_scores, lines, scores_of
from reflectune.evaluate.judge.kept import VERDICTS
from reflectune.evaluate.judge.pairs import Matched
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.evaluate.scores import FILE, Evaluation

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Sat:
    """What a person said.

    Attributes:
        run: The run's folder.
        names: The models, A and B.
        asked: What was asked for.
        judge: The person's name as a judge.
        found: The pairs.
        alone: Which file has rows that the other has no answer to, and how many.
        verdicts: What was said of them, in the order of the data.
        finished: Whether the person said that this is all.
    """

    run: Path
    names: tuple[str, str]
    asked: Asked
    judge: str
    found: Matched
    alone: str
    verdicts: tuple[Verdict, ...]
    finished: bool

    @property
    def judged(self) -> Judged:
        """The same as that of any judge."""
        left = len(self.found.pairs) - len(self.verdicts)
        note = f"{left:,} pairs are not judged" if left else ""
        return Judged(self.judge, self.verdicts, self.found.lost, people=True, note=note)


def conclude(sat: Sat, others: Mapping[str, Judged], *, as_json: bool) -> None:
    """Save what was said, show it, and end with the exit code that says so.

    Args:
        sat: What was said.
        others: Whom to compare it with, by what they are called.
        as_json: Whether to end with one JSON object.

    Raises:
        MissingExtraError: A library that computes the figures is not installed; the verdicts are saved before.
        RunError: The run's folder cannot be written.
    """
    judged = sat.judged
    source: dict[str, object] = {"files": list(sat.asked.files), "judge": [sat.judge]}
    items = len(sat.found.pairs) + len(sat.found.lost)
    finding = Finding(sat.run, sat.names, sat.asked.settings, source, items, sat.alone, sat.found.pairs, [judged])
    beside = tuple(verdict for other in others_in(sat.run, sat.judge) for verdict in other.verdicts)
    save_verdicts(finding, beside)
    found = lines(judged)
    between = {name: how_far for name, other in others.items() if (how_far := agreement_on_same(judged, other))}
    _evaluation(finding, sat, found, between).save(sat.run)
    if not sat.asked.quiet:
        _show(finding, found, between, others)
    if as_json:
        typer.echo(orjson.dumps(_plain(finding, found, between), option=orjson.OPT_SERIALIZE_DATACLASS).decode())
    if finding.pending(judged) and not sat.finished:
        raise typer.Exit(_INTERRUPTED)


Between = dict[str, dict[str, Agreement]]


def _evaluation(finding: Finding, sat: Sat, found: list[Line], between: Between) -> Evaluation:
    """The figures, beside those of other judges in the same folder."""
    model, against = finding.names
    before = Evaluation.load(sat.run / FILE) if (sat.run / FILE).is_file() else None
    scores = [score for score in before.scores if not is_of(score, {sat.judge})] if before else []
    scores += [score for line in found for score in scores_of(line, model, against, VERDICTS)]
    for name, how_far in between.items():
        scores += agreement_scores(how_far, (sat.judge, name), model, against)
    settings = before.settings if before and _of_others(before, sat.judge) else finding.asked
    judges = settings.get("judges")
    known = [name for name in judges if name != sat.judge] if isinstance(judges, list) else []
    return Evaluation(
        command="judge", versions=versions(), settings={**settings, "judges": [*known, sat.judge]}, scores=tuple(scores)
    )


def _of_others(evaluation: Evaluation, judge: str) -> bool:
    return any(not is_of(score, {judge}) for score in evaluation.scores)


def _show(finding: Finding, found: list[Line], between: Between, others: Mapping[str, Judged]) -> None:
    show_judged(finding, finding.judged[0], found)
    for label, how_far in between.items():
        show_agreement(f"{finding.judged[0].label} and {label}", how_far)
    for name in others:
        if name not in between:
            err.print(f"{name} has judged none of these answers.", style="yellow")
    err.print(f"{finding.run / VERDICTS} · {finding.run / FILE}")


def _plain(finding: Finding, found: list[Line], between: Between) -> dict[str, Any]:
    judged = finding.judged[0]
    return {
        "run": str(finding.run),
        "a": finding.names[0],
        "b": finding.names[1],
        "items": finding.items,
        "judges": [
            {
                "judge": judged.label,
                "verdicts": len(judged.verdicts),
                "failed": len(judged.lost),
                "pending": finding.pending(judged),
                "sets": {line.dataset: line.tally.plain() if line.tally else None for line in found},
            }
        ],
        "agreement": between,
    }
