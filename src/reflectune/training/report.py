"""A training on one page: its figures, its curves, its settings. The page needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from reflectune.errors import MissingExtraError
from reflectune.files import write_whole
from reflectune.page import page
from reflectune.training.curves import Point
from reflectune.training.facts import Facts
from reflectune.training.pictures import draw

PAGE = "report.html"


def write_report(folder: Path, points: Sequence[Point], facts: Facts) -> Path:
    """Write `report.html`. Without the extra `plots` it has tables only, and says so.

    Args:
        folder: Where it is written.
        points: The curves.
        facts: What there is to say.

    Returns:
        The page.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / PAGE
    write_whole(path, _page(points, facts))
    return path


def _page(points: Sequence[Point], facts: Facts) -> str:
    body = "\n".join([_head(facts), _cards(facts.told_figures()), _charts(points), _tables(facts)])
    return page(f"{facts.name}: training", body)


def _head(facts: Facts) -> str:
    hashed = f"<p class=soft>SHA-256 of the data: <code>{escape(facts.data_sha256)}</code></p>"
    return f"""\
<h1>{escape(facts.name)}</h1>
<p>{escape(facts.base)}, fine-tuned on {escape(facts.data)}.</p>
{hashed if facts.data_sha256 else ""}"""


def _cards(figures: Iterable[tuple[str, str]]) -> str:
    cards = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f"<dl class=figures>\n{cards}\n</dl>"


def _charts(points: Sequence[Point]) -> str:
    try:
        pictures = draw(points)
    except MissingExtraError as missing:
        return f"<p class=soft>The extra plots draws the curves here: <code>{escape(missing.mend)}</code></p>"
    if not pictures:
        return ""
    figures = [f"<figure><h3>{escape(title)}</h3>{picture}</figure>" for title, picture in pictures.items()]
    rest = f"<div class=charts>\n{chr(10).join(figures[1:])}\n</div>" if figures[1:] else ""
    return f"<h2>Curves</h2>\n<div class=wide>{figures[0]}</div>\n{rest}"


def _tables(facts: Facts) -> str:
    template = f"{facts.template} ({facts.template_hash})" if facts.template_hash else facts.template
    machine = [("device", device) for device in facts.devices] + list(facts.versions.items())
    tables = [
        _table("Rows", facts.told_rows()),
        _table("Evaluation", facts.told_evaluation()),
        _table("Settings", [("template", template), *facts.told_settings()]),
        _table("Made with", machine) if machine else "",
    ]
    return f"<div class=tables>\n{chr(10).join(table for table in tables if table)}\n</div>"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<section><h2>{title}</h2><table>\n{lines}\n</table></section>"
