"""Evaluations in, tables out: a row for each model and way of asking, a column for each figure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from reflectune.errors import RunError
from reflectune.evaluate.scores import FILE, Arm, Evaluation, Form, Score

__all__ = ["TITLES", "Board", "Cell", "Column", "Row", "boards", "find_evaluations", "is_percent", "shown"]

TITLES: dict[Form, str] = {
    "generative": "Benchmarks, answered in words",
    "logprob": "Benchmarks, by log-probabilities",
    "alpaca-eval": "AlpacaEval",
    "pairwise": "Judged in pairs, both orders",
}
_PLAIN_COUNTS = frozenset({"wins", "ties", "losses"})
_NOT_PERCENT = frozenset({"winning-score", "kappa", "sign-test-p"}) | _PLAIN_COUNTS


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
        return f"{self.benchmark}{shots} {self.metric}"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of a model.

    Attributes:
        score: The figure.
        run: The run that it comes from.
        earlier: How many older evaluations of the same there are.
    """

    score: Score
    run: Path
    earlier: int = 0

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
        if self.earlier:
            parts.append(f"the newest of {self.earlier + 1} evaluations")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Row:
    """A model, asked in one way.

    Attributes:
        model: The model.
        arm: How it was asked; `None` where there is no such choice.
        against: What it was compared with.
        judge: Who judged.
        learnt_from: Rows that it was trained on, where that is known.
        cells: Its figures.
    """

    model: str
    arm: Arm | None
    against: str | None
    judge: str | None
    learnt_from: int | None
    cells: dict[Column, Cell] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in a legend."""
        return self.model if self.arm in (None, "plain") else f"{self.model}, {self.arm}"

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
    """One table for each form; where the same figure was measured more than once the last one counts.

    Args:
        evaluations: What each run came to, the oldest first.
    """
    rows: dict[Form, dict[tuple[str | None, ...], Row]] = {}
    columns: dict[Form, dict[Column, None]] = {}
    for run, evaluation in evaluations:
        for score in evaluation.scores:
            column = Column(score.benchmark, score.metric, score.shots)
            columns.setdefault(score.form, {})[column] = None
            key = (score.model, score.arm, score.against, score.judge)
            learnt_from = evaluation.learnt_from.get(score.model)
            row = Row(score.model, score.arm, score.against, score.judge, learnt_from)
            row = rows.setdefault(score.form, {}).setdefault(key, row)
            before = row.cells.get(column)
            row.cells[column] = Cell(score, run, before.earlier + 1 if before else 0)
    return [
        Board(form, tuple(columns[form]), tuple(sorted(rows[form].values(), key=_place)))
        for form in get_args(Form)
        if form in rows
    ]


def is_percent(metric: str) -> bool:
    """Whether a figure is in percent."""
    return metric not in _NOT_PERCENT


def shown(metric: str, value: float) -> str:
    """A figure as it is written."""
    if metric in _PLAIN_COUNTS:
        return f"{value:,.0f}"
    return f"{value:.1f}" if is_percent(metric) else f"{value:.4f}"


def _place(row: Row) -> tuple[str, int, str, str]:
    arm = get_args(Arm).index(row.arm) if row.arm else 0
    return row.model, arm, row.against or "", row.judge or ""


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
