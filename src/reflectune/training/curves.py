"""The curves of a training: written a line at a time while it runs, read again, and drawn on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError, field_validator

from reflectune.errors import RunError
from reflectune.files import write_whole
from reflectune.records import Record

_ROWS = 8
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The dots of a braille character by column and row, as Unicode counts them."""
_HELD_OUT = "●"
_LEAST_WIDTH = 24


class Point(Record):
    """What was measured at a step. A figure that is no finite number is left out.

    Attributes:
        step: The optimiser steps done so far; 0 before the first.
        epoch: How often each row was seen.
        loss: The mean loss of the step's tokens, in nats.
        held_out_loss: That of the held-out rows.
        learning_rate: The learning rate of the step.
        grad_norm: The norm of the gradients, before they were scaled down.
        tokens: Tokens that carried loss, since the first step.
        tokens_per_second: How many of them in a second of this step.
        seconds: Time since training began, or went on.
    """

    step: int
    epoch: float | None = None
    loss: float | None = None
    held_out_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None
    seconds: float | None = None

    @field_validator("*", mode="after")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        return value if value is None or math.isfinite(value) else None


def append(path: Path, point: Point) -> None:
    """Add a point to the file; it is there for whoever reads it next.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(point.model_dump_json(exclude_none=True) + "\n")


def read(path: Path) -> list[Point]:
    """The points of a file, in their order; none where there is no file.

    A last line that a kill left half written is no point.

    Raises:
        RunError: Another line holds no point.
    """
    if not path.is_file():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    points = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            points.append(Point.model_validate_json(line))
        except ValidationError as error:
            raise RunError(f"{path}, line {number}: this is no point of a curve.", mend="Remove the line.") from error
    return points


def cut(path: Path, after_step: int) -> None:
    """Forget the points after a step from which training goes on, and a line that is half written.

    Raises:
        OSError: The file cannot be written.
        RunError: A line holds no point.
    """
    if not path.is_file():
        return
    kept = [point for point in read(path) if point.step <= after_step]
    write_whole(path, "".join(point.model_dump_json(exclude_none=True) + "\n" for point in kept))


def drawn(points: Sequence[Point], width: int = 80) -> str:
    """Loss as a line and held-out loss as dots, as text for a terminal; empty where nothing was measured.

    Args:
        points: The points.
        width: The most columns of a line.
    """
    losses = [(point.step, point.loss) for point in points if point.loss is not None]
    held_out = [(point.step, point.held_out_loss) for point in points if point.held_out_loss is not None]
    everything = losses + held_out
    if not everything:
        return ""
    low, high = min(loss for _, loss in everything), max(loss for _, loss in everything)
    first, last = min(step for step, _ in everything), max(step for step, _ in everything)
    labels = [f"{high - (high - low) * row / (_ROWS - 1):.2f}" for row in range(_ROWS)]
    margin = max(map(len, labels))
    columns = max(width, _LEAST_WIDTH) - margin - 2
    canvas = _Canvas(columns, (first, max(last, first + 1)), (low, max(high, low + 1e-6)))
    canvas.line(losses)
    for step, loss in held_out:
        canvas.mark(step, loss)
    rows = [
        f"{label if row in {0, _ROWS - 1} else '':>{margin}} {'┤' if row in {0, _ROWS - 1} else '│'}{text}"
        for row, (label, text) in enumerate(zip(labels, canvas.lines(), strict=True))
    ]
    titles = _titles(losses, held_out)
    if sum(map(len, titles)) + 3 <= columns:
        titles = ["   ".join(titles)]
    ends = f"step {first}", f"{last}"
    axis = f"{'':{margin}} └{'─' * columns}"
    steps = f"{ends[0]}{ends[1]:>{columns - len(ends[0])}}"
    return "\n".join([*(f"{'':{margin}}  {title}" for title in titles), *rows, axis, f"{'':{margin}}  {steps}"])


def _titles(losses: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]]) -> list[str]:
    named = (("─ loss", losses), (f"{_HELD_OUT} held-out loss", held_out))
    return [f"{name} {values[0][1]:.3f} → {values[-1][1]:.3f}" for name, values in named if values]


class _Canvas:
    """Dots in braille characters, two by four in each.

    Args:
        columns: How many characters wide.
        steps: What lies at the left and the right edge.
        losses: What lies at the lower and the upper edge.
    """

    def __init__(self, columns: int, steps: tuple[int, int], losses: tuple[float, float]) -> None:
        self._columns = columns
        self._steps = steps
        self._losses = losses
        self._cells = [[0] * columns for _ in range(_ROWS)]
        self._marks: dict[tuple[int, int], str] = {}

    def line(self, points: Iterable[tuple[int, float]]) -> None:
        """Draw a line through the points; of those that share a column of dots, through their mean."""
        shared: dict[int, list[float]] = {}
        for step, loss in points:
            shared.setdefault(self._across(step), []).append(loss)
        means = [(place, self._down(math.fsum(losses) / len(losses))) for place, losses in sorted(shared.items())]
        for (left, begin), (right, end) in zip(means, means[1:] or means, strict=False):
            reach = max(right - left, abs(end - begin), 1)
            for part in range(reach + 1):
                self._dot(left + (right - left) * part // reach, begin + round((end - begin) * part / reach))

    def mark(self, step: int, loss: float) -> None:
        """Set a mark in place of the dots there."""
        self._marks[self._down(loss) // 4, self._across(step) // 2] = _HELD_OUT

    def lines(self) -> list[str]:
        """The rows, from the top."""
        return [
            "".join(self._marks.get((row, place)) or (chr(0x2800 + dots) if dots else " ") for place, dots in line)
            for row, line in ((row, list(enumerate(cells))) for row, cells in enumerate(self._cells))
        ]

    def _dot(self, across: int, down: int) -> None:
        self._cells[down // 4][across // 2] |= _DOTS[across % 2][down % 4]

    def _across(self, step: int) -> int:
        left, right = self._steps
        return round((step - left) / (right - left) * (2 * self._columns - 1))

    def _down(self, loss: float) -> int:
        low, high = self._losses
        return round((high - loss) / (high - low) * (4 * _ROWS - 1))
