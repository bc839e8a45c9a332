"""The curves of a training as pictures for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reflectune.page.charts import COLOURS, load_altair, picture
from reflectune.training.curves import Point

_LOSS, _HELD_OUT = COLOURS[:2]
_WIDTH, _HEIGHT = 380, 200
_MOST_POINTS = 400
_SMOOTHED_FROM = 60
_WINDOW = 20
"""A smooth line is the mean over this part of the curve."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """One figure over the steps.

    Attributes:
        field: Which field of a point.
        title: Its heading.
        digits: How the axis writes numbers, as d3 has it.
    """

    field: str
    title: str
    digits: str = ",~g"


_PANELS = (
    _Panel("learning_rate", "Learning rate", ".1~e"),
    _Panel("tokens_per_second", "Tokens with loss a second"),
    _Panel("grad_norm", "Norm of the gradients"),
)


def draw(points: Sequence[Point]) -> dict[str, str]:
    """The pictures as SVG, by their titles; a figure that was not measured has none.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair = load_altair()
    pictures = {}
    if losses := _losses(altair, points):
        pictures["Loss"] = picture(
            altair.layer(*losses).properties(width=2 * _WIDTH, height=240), symbolType="stroke", symbolStrokeWidth=3
        )
    for panel in _PANELS:
        if values := _values(points, panel.field):
            pictures[panel.title] = picture(_line(altair, panel, values))
    return pictures


def _losses(altair: Any, points: Sequence[Point]) -> list[Any]:
    """Layers of the loss, the loss smoothed, and the held-out loss."""
    loss, held_out = _values(points, "loss"), _values(points, "held_out_loss")
    names = [name for name, values in (("loss", loss), ("held-out loss", held_out)) if values]
    colours = altair.Scale(domain=names, range=[{"loss": _LOSS}.get(name, _HELD_OUT) for name in names])
    layers = []

    def layer(name: str, values: Sequence[tuple[float, float]], **mark: Any) -> None:
        rows = [{"set": name, "step": step, "value": value} for step, value in values]
        chart = altair.Chart(altair.InlineData(rows)).mark_line(clip=False, **mark)
        color = altair.Color("set:N", title=None, scale=colours)
        layers.append(
            chart.encode(x=_steps(altair), y=_height(altair, ",~g", zero=False, title="nats a token"), color=color)
        )

    if len(loss) >= _SMOOTHED_FROM:
        layer("loss", _thinned(loss), strokeWidth=1, opacity=0.3)
        layer("loss", _thinned(_smoothed(loss)), strokeWidth=2)
    elif loss:
        layer("loss", loss, strokeWidth=2, point={"size": 18, "filled": True})
    if held_out:
        layer("held-out loss", held_out, strokeWidth=2, strokeDash=[6, 3], point={"size": 45, "filled": True})
    return layers


def _line(altair: Any, panel: _Panel, values: Sequence[tuple[float, float]]) -> Any:
    rows = [{"step": step, "value": value} for step, value in _thinned(values)]
    chart = altair.Chart(altair.InlineData(rows)).mark_line(color=_LOSS, strokeWidth=1.5)
    height = _height(altair, panel.digits, zero=True, title=None)
    return chart.encode(x=_steps(altair), y=height).properties(width=_WIDTH - 80, height=_HEIGHT - 40)


def _steps(altair: Any) -> Any:
    axis = altair.Axis(grid=False, tickCount=6, format=",d", tickMinStep=1)
    return altair.X("step:Q", title="step", axis=axis, scale=altair.Scale(nice=False))


def _height(altair: Any, digits: str, *, zero: bool, title: str | None) -> Any:
    # By itself, a format with an exponent writes 0e+0.
    axis = altair.Axis(labelExpr=f"datum.value == 0 ? '0' : format(datum.value, '{digits}')", tickCount=5)
    return altair.Y("value:Q", title=title, axis=axis, scale=altair.Scale(zero=zero))


def _values(points: Sequence[Point], field: str) -> list[tuple[float, float]]:
    return [(point.step, value) for point in points if (value := getattr(point, field)) is not None]


def _smoothed(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value as the mean of those around it."""
    reach = max(1, len(values) // (2 * _WINDOW))
    smooth = []
    for place, (step, _) in enumerate(values):
        around = [value for _, value in values[max(0, place - reach) : place + reach + 1]]
        smooth.append((step, math.fsum(around) / len(around)))
    return smooth


def _thinned(values: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """So few points that a picture of a long run is small: each is the mean of its neighbours."""
    size = -(-len(values) // _MOST_POINTS)
    groups = [values[begin : begin + size] for begin in range(0, len(values), size)]
    return [tuple(math.fsum(column) / len(group) for column in zip(*group, strict=True)) for group in groups]  # type: ignore[misc]
