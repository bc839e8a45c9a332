"""Charts as pictures for a page, drawn without a browser and without the network.

The colours are told apart by people who are colour-blind (Okabe and Ito). The page replaces those of ink, grid and
the first two by its own, light or dark.
"""

from __future__ import annotations

from io import StringIO
from typing import Any

from reflectune.optional import load_optional

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
INK, GRID = "#555555", "#dddddd"


def load_altair() -> Any:
    """altair, where what draws its charts is there too.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    load_optional("vl_convert", "Charts", "plots")
    return load_optional("altair", "Charts", "plots")


def picture(chart: Any, **legend: Any) -> str:
    """A chart as SVG.

    Args:
        chart: The chart.
        legend: What altair takes of a legend besides.
    """
    dressed = (
        chart.configure(background="transparent", padding=4, font="sans-serif")
        .configure_view(strokeWidth=0)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=GRID,
            domainColor=INK,
            tickColor=INK,
            labelColor=INK,
            titleColor=INK,
        )
        .configure_legend(labelFontSize=13, labelColor=INK, orient="top", symbolOpacity=1, **legend)
    )
    text = StringIO()
    dressed.save(text, format="svg")
    return text.getvalue()
