"""Scores against what they cost: the length of answers, tokens, data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reflectune.evaluate.leaderboard.board import Board, Row
from reflectune.page.charts import COLOURS, load_altair, picture

__all__ = ["draw"]

_WIDTH, _HEIGHT = 300, 240
_MOST_COLOURS = len(COLOURS)
_AXES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("mean length of answers, characters", lambda row: row.mean_length),
    ("tokens a reply", lambda row: row.tokens),
    ("rows trained on", lambda row: row.learnt_from),
)


def draw(board: Board) -> dict[str, str]:
    """Pictures of a board as SVG, by what lies on their horizontal axis; an axis that no model has is left out.

    Each point is a figure of a model, each line its interval.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair = load_altair()
    names = [column.title for column in board.columns if any(column in row.cells for row in board.rows)]
    pictures = {}
    for title, place in _AXES:
        points = [
            _point(row, column.title, float(x), cell.score)
            for row in board.rows
            if (x := place(row)) is not None
            for column, cell in row.cells.items()
            if column.title in names[:_MOST_COLOURS]
        ]
        if points:
            pictures[title] = picture(_chart(altair, title, names[:_MOST_COLOURS], points))
    return pictures


def _point(row: Row, figure: str, x: float, score: Any) -> dict[str, Any]:
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    return {"model": row.name, "figure": figure, "x": x, "value": score.value, "low": low, "high": high}


def _chart(altair: Any, title: str, names: list[str], points: list[dict[str, Any]]) -> Any:
    base = altair.Chart(altair.InlineData(points)).encode(
        x=altair.X("x:Q", title=title, scale=altair.Scale(zero=False, padding=30), axis=altair.Axis(tickCount=5)),
        color=altair.Color(
            "figure:N",
            title=None,
            scale=altair.Scale(domain=names, range=list(COLOURS[: len(names)])),
            legend=altair.Legend(columns=2, labelLimit=260),
        ),
    )
    height = altair.Y("value:Q", title="score", scale=altair.Scale(zero=False), axis=altair.Axis(tickCount=5))
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(y=height)
    spans = base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(y=altair.Y("low:Q"), y2="high:Q")
    labels = base.mark_text(dy=-10, fontSize=11).encode(y=height, text="model:N")
    return altair.layer(spans, dots, labels).properties(width=_WIDTH, height=_HEIGHT)
