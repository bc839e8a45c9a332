"""Scores against what they cost: the length of answers, tokens, data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reflectune.evaluate.leaderboard.board import Board, Row
from reflectune.evaluate.leaderboard.wording import is_percent
from reflectune.evaluate.scores import Score
from reflectune.page.charts import COLOURS, INK, load_altair, picture
from reflectune.page.text import visible

__all__ = ["draw", "left_out"]

_WIDTH, _HEIGHT = 330, 240
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_AXES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("mean length of answers, in characters", lambda row: row.mean_length),
    ("tokens a reply", lambda row: row.tokens),
    ("rows trained on", lambda row: row.learnt_from),
)


def draw(board: Board) -> dict[str, str]:
    """Pictures of a board as SVG, by what lies on their horizontal axis; an axis along which models are alike has none.

    Each point is a figure in percent of a model, each line its interval. Colours tell figures apart, and shapes models;
    of more than there are colours and shapes the first are drawn, and `left_out` says so.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair = load_altair()
    figures = [column for column in board.columns if is_percent(column.metric)][: len(COLOURS)]
    rows = board.rows[: len(_SHAPES)]
    pictures = {}
    for title, place in _AXES:
        points = [
            _point(row, visible(column.title), float(x), row.cells[column].score)
            for row in rows
            if (x := place(row)) is not None
            for column in figures
            if column in row.cells
        ]
        if len({point["x"] for point in points}) > 1:
            pictures[title] = picture(_chart(altair, title, points))
    return pictures


def left_out(board: Board) -> str:
    """What the pictures leave out; nothing where they show everything."""
    figures = sum(is_percent(column.metric) for column in board.columns) - len(COLOURS)
    models = len(board.rows) - len(_SHAPES)
    parts = [f"{count} {name}" for count, name in ((figures, "figures"), (models, "models")) if count > 0]
    return f"The charts leave out {' and '.join(parts)} that the table has." if parts else ""


def _point(row: Row, figure: str, x: float, score: Score) -> dict[str, Any]:
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    # vl-convert ends the process at a control character
    return {"model": visible(row.name), "figure": figure, "x": x, "value": score.value, "low": low, "high": high}


def _chart(altair: Any, title: str, points: list[dict[str, Any]]) -> Any:
    figures, models = (list(dict.fromkeys(point[name] for point in points)) for name in ("figure", "model"))
    legend = altair.Legend(columns=1, labelLimit=_WIDTH, symbolType="circle")
    below = altair.Legend(columns=1, labelLimit=_WIDTH, orient="bottom", symbolFillColor=INK, symbolStrokeColor=INK)
    base = altair.Chart(altair.InlineData(points)).encode(
        x=altair.X("x:Q", title=title, scale=altair.Scale(zero=False, padding=20), axis=altair.Axis(tickCount=5)),
        color=altair.Color(
            "figure:N",
            title=None,
            scale=altair.Scale(domain=figures, range=list(COLOURS[: len(figures)])),
            legend=legend,
        ),
    )
    height = altair.Y("value:Q", title="percent", scale=altair.Scale(zero=False), axis=altair.Axis(tickCount=5))
    shapes = altair.Scale(domain=models, range=list(_SHAPES[: len(models)]))
    shape = altair.Shape("model:N", title=None, scale=shapes, legend=below)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(y=height, shape=shape)
    spans = base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(y=altair.Y("low:Q"), y2="high:Q")
    return altair.layer(spans, dots).properties(width=_WIDTH, height=_HEIGHT)
