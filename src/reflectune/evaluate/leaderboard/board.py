"""Evaluations in, tables out: a row for each model and way of asking, a column for each figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from reflectune.errors import RunError
from reflectune.evaluate.leaderboard.wording import metric_name, shown
from reflectune.evaluate.scores import FILE, Arm, Evaluation, Form, Score

__all__ = ["TITLES", "Board", "Cell", "Column", "Row", "boards", "find_evaluations"]

TITLES: dict[Form, str] = {
    "generative": "Benchmarks, answered in words",
    "logprob": "Benchmarks, by log-probabilities",
    "alpaca-eval": "AlpacaEval",
    "pairwise": "Judged in pairs",
}
_ALL = "all"
"""What judge calls all its test sets together."""
_SETTINGS = (
    *("model", "tuned", "form", "both_orders", "ask", "lang", "prompts", "without_output"),
    *("temperature", "top_p", "max_tokens", "wording"),
)
"""Settings that change what is measured, and not only how much of it."""
_MAIN: dict[Form, tuple[str, ...]] = {
    "pairwise": ("win-rate", "length-matched-win-rate", "winning-score"),
    "alpaca-eval": ("win-rate", "lc-win-rate"),
}
"""The figures that a table shows, where a form has more than people compare; the others are in `evaluation.json`."""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure.

    Attributes:
        benchmark: What it is measured on.
        metric: Which of its figures.
        shots: Worked examples in each prompt; `None` where there is no such thing.
    """

    benchmark: str
    metric: str
    shots: int | None

    @property
    def title(self) -> str:
        """What stands over it."""
        shots = f" ({self.shots}-shot)" if self.shots is not None else ""
        return f"{self.benchmark}{shots} {metric_name(self.metric)}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of a model.

    Attributes:
        score: The figure.
        run: The run that it comes from.
        others: How many more evaluations of the same there are, of fewer items or older.
    """

    score: Score
    run: Path
    others: int = 0

    @property
    def replies(self) -> Path | None:
        """The file of the raw replies."""
        return self.run / self.score.replies if self.score.replies else None

    @property
    def told(self) -> str:
        """What must be known to read the figure, in one line."""
        score = self.score
        parts = [f"{score.items:,} items"]
        if score.failed:
            parts.append(f"{score.failed:,} more without an answer")
        if score.low is not None and score.high is not None:
            parts.append(f"95%: {shown(score.metric, score.low)} to {shown(score.metric, score.high)}")
        if score.official is not None:
            parts.append("official" if score.official else "approximate")
        if score.note:
            parts.append(score.note)
        if self.others:
            parts.append(f"the fullest and newest of {self.others + 1} evaluations")
        return "; ".join(parts)

    def beside(self, another: Cell) -> Cell:
        """Which of two evaluations of the same counts: the one of more items, else the other, which is newer."""
        fuller = _asked(self.score) > _asked(another.score)
        return replace(self if fuller else another, others=self.others + another.others + 1)


@dataclass(frozen=True, slots=True)
class Row:
    """A model, asked in one way.

    Attributes:
        model: The model.
        arm: How it was asked; `None` where there is no such choice.
        against: What it was compared with.
        judge: Who judged.
        learnt_from: Rows that it was trained on, where that is known.
        settings: What it was asked with.
        cells: Its figures.
    """

    model: str
    arm: Arm | None
    against: str | None
    judge: str | None
    learnt_from: int | None
    settings: str = ""
    cells: dict[Column, Cell] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """How it was asked, and with what, where it was asked with different things."""
        return ", ".join(part for part in (self.arm or "", self.settings) if part)

    @property
    def name(self) -> str:
        """What it is called in a legend."""
        return ", ".join(part for part in (self.model, self.asked.removeprefix("plain").lstrip(", ")) if part)

    @property
    def mean_length(self) -> float | None:
        """Of its answers, in characters, on average over its figures."""
        return _mean(cell.score.mean_length for cell in self.cells.values())

    @property
    def tokens(self) -> float | None:
        """Of a reply, on average over its figures."""
        scores = [cell.score for cell in self.cells.values()]
        return _mean(score.tokens / score.items for score in scores if score.tokens is not None and score.items)

    @property
    def without_output(self) -> float | None:
        """The share of replies without an `<output>`, in percent, on average over its figures."""
        return _mean(cell.score.without_output for cell in self.cells.values())


@dataclass(frozen=True, slots=True)
class Board:
    """All figures of one form.

    Attributes:
        form: How they came about.
        columns: The figures that there are.
        rows: The models, in the order of their names; of one model the plain arm first.
    """

    form: Form
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Its heading."""
        return TITLES[self.form]


def find_evaluations(folder: Path) -> tuple[list[tuple[Path, Evaluation]], list[RunError]]:
    """The evaluations of the runs in a folder, the oldest first, and what is wrong with those that cannot be read.

    Args:
        folder: Its subfolders, at any depth, are runs; it may be one itself.

    Raises:
        RunError: There is no such folder.
    """
    if not folder.is_dir():
        raise RunError(f"There is no folder {folder}.", mend="Name the folder that holds your runs.")
    found: list[tuple[Path, Evaluation]] = []
    broken: list[RunError] = []
    for path in sorted(folder.rglob(FILE), key=lambda path: (path.stat().st_mtime_ns, str(path))):
        try:
            found.append((path.parent, Evaluation.load(path)))
        except RunError as error:
            broken.append(error)
    return found, broken


def boards(evaluations: Iterable[tuple[Path, Evaluation]]) -> list[Board]:
    """One table for each form. Of the same figure the one of most items counts, and of those the newest.

    Figures that were measured with different settings stand in different rows.

    Args:
        evaluations: What each run came to, the oldest first.
    """
    evaluations = list(evaluations)
    told = _what_differs(evaluations)
    rows: dict[Form, dict[tuple[str | None, ...], Row]] = {}
    columns: dict[Form, dict[Column, None]] = {}
    for run, evaluation in evaluations:
        for score in evaluation.scores:
            if score.metric not in _MAIN.get(score.form, (score.metric,)):
                continue
            settings = told(evaluation, score)
            column = Column(score.benchmark, score.metric, score.shots)
            columns.setdefault(score.form, {})[column] = None
            learnt_from = evaluation.learnt_from.get(score.model)
            row = Row(score.model, score.arm, score.against, score.judge, learnt_from, settings)
            row = rows.setdefault(score.form, {}).setdefault((*_who(score), settings), row)
            cell, before = Cell(score, run), row.cells.get(column)
            row.cells[column] = before.beside(cell) if before else cell
    return [
        Board(form, _in_order(columns[form]), tuple(sorted(rows[form].values(), key=_place)))
        for form in get_args(Form)
        if form in rows
    ]


def _in_order(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Columns with those of one benchmark side by side, the figure of all benchmarks together first."""
    found = list(columns)
    benchmarks = list(dict.fromkeys(column.benchmark for column in found))
    benchmarks.sort(key=lambda name: name != _ALL)
    return tuple(sorted(found, key=lambda column: benchmarks.index(column.benchmark)))


def _who(score: Score) -> tuple[str | None, ...]:
    return score.form, score.model, score.arm, score.against, score.judge


def _asked(score: Score) -> int:
    return score.items + score.failed


def _what_differs(evaluations: Iterable[tuple[Path, Evaluation]]) -> Callable[[Evaluation, Score], str]:
    """What tells of an evaluation with which settings a figure was measured, as far as they differ among its like."""
    found: dict[tuple[str | None, ...], dict[str, set[str]]] = {}
    for _, evaluation in evaluations:
        for who in {_who(score) for score in evaluation.scores}:
            seen = found.setdefault(who, {})
            for name in _SETTINGS:
                seen.setdefault(name, set()).add(str(evaluation.settings.get(name)))

    def told(evaluation: Evaluation, score: Score) -> str:
        differing = [name for name, values in found[_who(score)].items() if len(values) > 1]
        shown = ((name, evaluation.settings.get(name)) for name in differing)
        return ", ".join(f"{name.replace('_', ' ')} {'default' if value is None else value}" for name, value in shown)

    return told


def _place(row: Row) -> tuple[str, int, str, str, str]:
    arm = get_args(Arm).index(row.arm) if row.arm else 0
    return row.model, arm, row.against or "", row.judge or "", row.settings


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
