"""Every comparison as dots with their intervals, and the line at 50% that says that neither is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from reflectune.page.charts import COLOURS, INK, load_altair, picture
from reflectune.page.text import visible
from reflectune.verdict.conclusion import main_of
from reflectune.verdict.records import Comparison, Figures, Rate
from reflectune.verdict.wording import Words

__all__ = ["forest"]

_WIDTH, _STEP = 330, 46
_EVEN = 50.0
_MARGIN = 3.0
_ALWAYS = (40.0, 60.0)
"""What the axis shows at least, lest a small difference looks like a large one."""
_ROOM = 0.12
"""What the figures beside the lines take, of the width."""
_LETTER, _WIDE_LETTER = 7.6, 13
"""What a page's font may take: it is not the one that the picture was measured with."""
_SHARE = (0.0, 100.0)


def forest(comparisons: Sequence[Comparison], say: Words) -> str:
    """The picture as SVG: the win rates of all comparisons, and of the main one test set by test set.

    Raises:
        MissingExtraError: altair or vl-convert is not installed.
    """
    altair = load_altair()
    points = [point for label, found in _lines(comparisons, say) for point in _points(label, found, say)]
    kinds = [say("picture.raw"), say("picture.level")]
    order = list(dict.fromkeys(point["label"] for point in points))
    ends = [value for point in points for value in (point["low"], point["high"])] + [*_ALWAYS]
    domain = [
        max(_SHARE[0], min(ends) - _MARGIN),
        min(_SHARE[1], max(ends) + _MARGIN) + _ROOM * (max(ends) - min(ends)),
    ]
    base = altair.Chart(altair.InlineData(points)).encode(
        y=altair.Y("label:N", sort=order, title=None, axis=_names(altair, order)),
        yOffset=altair.YOffset("kind:N", sort=kinds, scale=altair.Scale(paddingOuter=0.35)),
        color=altair.Color("kind:N", title=None, scale=altair.Scale(domain=kinds, range=list(COLOURS[:2]))),
    )
    axis = altair.X(
        "value:Q",
        title=say("picture.axis", ours=say.named(comparisons[0].ours)),
        scale=altair.Scale(domain=domain, nice=False),
        axis=altair.Axis(tickCount=5),
    )
    shape = altair.Shape("kind:N", title=None, scale=altair.Scale(domain=kinds, range=["circle", "diamond"]))
    spans = base.mark_rule(strokeWidth=2).encode(x=altair.X("low:Q", scale=altair.Scale(domain=domain)), x2="high:Q")
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(x=axis, shape=shape)
    told = base.mark_text(align="left", dx=5, fontSize=12).encode(x="high:Q", text=altair.Text("value:Q", format=".1f"))
    even = altair.Chart(altair.InlineData([{"value": _EVEN}])).mark_rule(color=INK, strokeDash=[4, 3])
    chart = altair.layer(even.encode(x=axis), spans, dots, told)
    return picture(chart.properties(width=_WIDTH, height=_STEP * len(order)), columns=1, symbolType="circle")


def _names(altair: Any, labels: Sequence[str]) -> Any:
    longest = max(sum(_LETTER if letter < "\u2e80" else _WIDE_LETTER for letter in label) for label in labels)
    return altair.Axis(labelLimit=0, minExtent=longest, ticks=False, domain=False)


def _lines(comparisons: Sequence[Comparison], say: Words) -> Iterator[tuple[str, Figures]]:
    main, judges = main_of(comparisons), {one.judge for one in comparisons}
    for comparison in comparisons:
        label = say.named(comparison.other)
        by = f", {comparison.judge.partition('@')[0]}" if len(judges) > 1 else ""
        yield f"{label}{by}", comparison.pooled
        if comparison is main and len(comparison.sets) > 1:
            yield from ((f"{label}{by}: {found.dataset}", found) for found in comparison.sets)


def _points(label: str, found: Figures, say: Words) -> Iterator[dict[str, Any]]:
    rates = ((say("picture.raw"), found.win_rate), (say("picture.level"), found.level.rate))
    for kind, rate in rates:
        if rate is not None:
            # vl-convert ends the process at a control character
            yield {"label": visible(label), "kind": kind, **_ends(rate)}


def _ends(rate: Rate) -> dict[str, float]:
    low, high = (rate.value if end is None else end for end in (rate.low, rate.high))
    return {"value": rate.value, "low": low, "high": high}
