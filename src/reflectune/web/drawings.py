"""Charts inside a page: SVG of ours, and nothing in it that could act."""

from __future__ import annotations

from xml.etree import ElementTree

from markupsafe import Markup

__all__ = ["drawing"]

_SVG = "{http://www.w3.org/2000/svg}"
_ELEMENTS = frozenset(
    f"{_SVG}{name}"
    for name in ("svg", "g", "path", "rect", "line", "circle", "text", "tspan", "title", "defs", "clipPath")
)
_REFUSED = ("on", "style", "href")


def drawing(svg: str) -> Markup:
    """A chart that goes into a page as it is.

    Args:
        svg: What drew it has escaped all texts; names of models are among them.

    Raises:
        ValueError: It is no SVG, or holds an element or an attribute that a chart has no need of.
    """
    try:
        root = ElementTree.fromstring(svg)  # noqa: S314 - drawn in this process
    except ElementTree.ParseError as error:
        raise ValueError(f"The chart is no SVG: {error}.") from error
    for part in root.iter():
        if part.tag not in _ELEMENTS:
            raise ValueError(f"The chart holds {part.tag}.")
        for name in part.attrib:
            if name.rpartition("}")[2].lower().startswith(_REFUSED):
                raise ValueError(f"The chart holds the attribute {name}.")
    return Markup(svg)  # noqa: S704 - nothing in it can act
