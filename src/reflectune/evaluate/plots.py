"""Distributions before and after, as pictures: one for each group of figures.

Figures are counted into bins here, so that a picture of 52,002 rows is as small as one of ten. vl-convert draws it
without a browser and without the network. The two colours are told apart by people who are colour-blind (Okabe and
Ito), and in print: the first is a filled area, the second a line.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from statistics import median
from typing import Any, Literal

from reflectune.errors import MissingExtraError
from reflectune.evaluate.figures import Metric
from reflectune.evaluate.statistics import Statistics
from reflectune.page.charts import COLOURS, GRID, INK
from reflectune.page.text import visible

PictureFormat = Literal["svg", "png"]

_FONT = "DejaVu Sans, Helvetica, Arial, sans-serif"
_BINS = 40
_WIDTH, _HEIGHT = 380, 220
_SHARPNESS = 2
_SHARE, _PER_DOUBLING, _MEDIAN = "share of rows", "share of rows per doubling", "median (dashed)"


@dataclass(frozen=True, slots=True)
class _Panel:
    """One distribution of a picture.

    Attributes:
        metric: Whose.
        title: Its heading.
        axis: What its axis says, with the unit.
        logarithmic: Whether the axis goes by powers of ten, as suits lengths and perplexities. Then heights are shares
            per doubling, so that bins of different widths can be compared.
        whole: Whether the figures are whole numbers, each of which belongs into one bin.
    """

    metric: Metric
    title: str
    axis: str
    logarithmic: bool = False
    whole: bool = False


_PICTURES: dict[str, tuple[_Panel, ...]] = {
    "lengths": (
        _Panel("instruction_words", "Instruction", "words, input included (log scale)", logarithmic=True, whole=True),
        _Panel("response_words", "Response", "words (log scale)", logarithmic=True, whole=True),
    ),
    "tokens": (
        _Panel("instruction_tokens", "Instruction", "tokens, input included (log scale)", logarithmic=True, whole=True),
        _Panel("response_tokens", "Response", "tokens (log scale)", logarithmic=True, whole=True),
    ),
    "coherence": (_Panel("coherence", "Coherence", "cosine of instruction and response"),),
    "ifd": (
        _Panel("ifd_ppl", "IFD", "perplexity of the response given its instruction / alone"),
        _Panel("rifd_ppl", "r-IFD", "perplexity of the instruction given its response / alone"),
    ),
    "perplexity": (
        _Panel("instruction_ppl", "Instruction", "perplexity alone (log scale)", logarithmic=True),
        _Panel("response_ppl_alone", "Response", "perplexity alone (log scale)", logarithmic=True),
        _Panel(
            "response_ppl_conditioned", "Response", "perplexity given its instruction (log scale)", logarithmic=True
        ),
    ),
}

PICTURE_TEXTS = (_SHARE, _PER_DOUBLING, _MEDIAN, *dict.fromkeys(p.axis for each in _PICTURES.values() for p in each))
"""What stands in pictures besides names and figures."""


def draw(named: Mapping[str, Statistics], kind: PictureFormat = "svg") -> dict[str, bytes]:
    """The pictures of one data set, or of two on top of each other.

    Args:
        named: The statistics, by the name that the legend gives them.
        kind: The format.

    Returns:
        The content of each picture, by its name: `lengths`, and `tokens`, `coherence`, `ifd` and `perplexity` where
        those figures are there.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair, named = _altair(), _drawable(named)
    pictures = {}
    for name, panels in _PICTURES.items():
        drawn = [_drawn(altair, panel, named) for panel in panels if any(_values(panel, one) for one in named.values())]
        if drawn:
            pictures[name] = _picture(altair.hconcat(*drawn, spacing=90, bounds="flush"), kind)
    return pictures


def draw_each(named: Mapping[str, Statistics], say: Callable[[str], str] = str) -> dict[Metric, str]:
    """Each distribution as a picture of its own, for a page whose style gives it its colours, light or dark.

    Args:
        named: The statistics, by the name that the legend gives them.
        say: Says in another language what `PICTURE_TEXTS` say.

    Returns:
        The pictures as SVG, by the figure that they show.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair, named = _altair(), _drawable(named)
    return {
        panel.metric: _picture(_drawn(altair, panel, named, say, titled=False), "svg", inside=True).decode()
        for panels in _PICTURES.values()
        for panel in panels
        if any(_values(panel, one) for one in named.values())
    }


def _drawable(named: Mapping[str, Statistics]) -> dict[str, Statistics]:
    """The same under names without control characters, at which vl-convert ends the process."""
    return {visible(name): found for name, found in named.items()}


def _drawn(
    altair: Any, panel: _Panel, named: Mapping[str, Statistics], say: Callable[[str], str] = str, *, titled: bool = True
) -> Any:
    columns = {name: values for name, one in named.items() if (values := _values(panel, one))}
    bins = _bins(panel, [value for values in columns.values() for value in values])
    colours = altair.Scale(domain=list(named), range=list(COLOURS[: len(named)]))
    scale = altair.Scale(type="log" if panel.logarithmic else "linear", domain=[bins[0], bins[-1]], nice=False)
    heights = say(_PER_DOUBLING if panel.logarithmic else _SHARE)
    place = {
        "x": altair.X("value:Q", title=say(panel.axis), scale=scale, axis=altair.Axis(tickCount=6, grid=False)),
        "color": altair.Color("set:N", title=None, scale=colours),
    }
    height = altair.Y("share:Q", title=heights, axis=altair.Axis(format="%", tickCount=5, labelFlush=True))
    layers = []
    for name, values in columns.items():
        steps = altair.Chart(altair.InlineData(_steps(panel, name, values, bins)))
        if name == next(iter(named)):
            mark = steps.mark_area(interpolate="step-after", opacity=0.35, line={"strokeWidth": 1.5})
        else:
            mark = steps.mark_line(interpolate="step-after", strokeWidth=2)
        rule = altair.Chart(altair.InlineData([{"set": name, "value": min(median(values), bins[-1])}]))
        layers += [
            mark.encode(**place, y=height),
            rule.mark_rule(strokeWidth=1.5, strokeDash=[5, 3]).encode(**place),
        ]
    medians = " → ".join(format(median(values), ",g" if panel.whole else ",.2f") for values in columns.values())
    middle = f"{say(_MEDIAN)}: {medians}"
    small = {"fontSize": 12, "fontWeight": "normal"}
    title = altair.TitleParams(panel.title, subtitle=middle) if titled else altair.TitleParams(middle, **small)
    return altair.layer(*layers).properties(title=title, width=_WIDTH, height=_HEIGHT)


def _picture(chart: Any, kind: PictureFormat, *, inside: bool = False) -> bytes:
    grid, line, ink, soft = (GRID, INK, INK, INK) if inside else ("#e6e6e6", "#888888", "#444444", "#666666")
    dressed = (
        chart.configure(font=_FONT, background="transparent" if inside else "white", padding=4 if inside else 16)
        .configure_view(strokeWidth=0)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=8,
            gridColor=grid,
            domainColor=line,
            tickColor=line,
            labelColor=ink,
            titleColor=ink,
        )
        .configure_title(fontSize=15, anchor="start", frame="group", offset=14, subtitleFontSize=12, subtitleColor=soft)
        .configure_legend(labelFontSize=13, labelLimit=320, orient="top", symbolType="square", symbolOpacity=1)
    )
    if kind == "png":
        picture = BytesIO()
        dressed.save(picture, format="png", scale_factor=_SHARPNESS)
        return picture.getvalue()
    text = StringIO()
    dressed.save(text, format="svg")
    return text.getvalue().encode()


def _values(panel: _Panel, one: Statistics) -> list[float]:
    values = one.figures.present(panel.metric)
    return [value for value in values if value > 0] if panel.logarithmic else values


def _bins(panel: _Panel, values: Sequence[float]) -> list[float]:
    """The edges of the bins: over all values but the highest thousandth, which would leave the rest no room."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[round(0.999 * (len(ordered) - 1))]
    if not panel.logarithmic:
        high = max(high, low + 0.01)
        return [low + (high - low) * step / _BINS for step in range(_BINS + 1)]
    factor = (max(high, 2 * low) / low) ** (1 / _BINS)
    if not panel.whole:
        return [low * factor**step for step in range(_BINS + 1)]
    edges = [low - 0.5]
    while edges[-1] <= high:
        edges.append(edges[-1] + max(1, round(edges[-1] * (factor - 1))))
    return edges


def _steps(panel: _Panel, name: str, values: Sequence[float], bins: Sequence[float]) -> list[dict[str, Any]]:
    """The left end of each bin with its height; a last one of no height closes the figure."""
    import numpy as np

    counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
    heights = counts / len(values)
    if panel.logarithmic:
        heights /= np.diff(np.log2(bins))
    return [
        {"set": name, "value": edge, "share": float(share)} for edge, share in zip(bins, [*heights, 0.0], strict=True)
    ]


def _altair() -> Any:
    try:
        importlib.import_module("vl_convert")
        return importlib.import_module("altair")
    except ImportError as fault:
        raise MissingExtraError(
            "Plots: altair and vl-convert are not both installed.", mend="pip install 'reflectune[plots]'"
        ) from fault
