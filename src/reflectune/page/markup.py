"""Small pieces of a page: tables, figures, texts that fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from reflectune.page.text import cut, shown

__all__ = ["cards", "facts_table", "folded", "section", "soft", "table", "text"]

MOST = 20_000
"""Characters of a text that a page shows; a note stands in place of the rest."""
_UNFOLDED = 900
_LINES_UNFOLDED = 14


def section(name: str, title: str, *parts: str) -> str:
    """A section with its heading; nothing where there is nothing in it."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n{body}\n</section>' if body else ""


def soft(told: str) -> str:
    """A remark of ours beside what it is on."""
    return f"<p class=soft>{shown(told)}</p>"


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """The main figures, each in a box of its own."""
    boxes = "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return f"<dl class=figures>\n{boxes}\n</dl>"


def facts_table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what belongs to them."""
    lines = "\n".join(f"<tr><th scope=row>{escape(name)}</th><td>{shown(value)}</td></tr>" for name, value in rows)
    return f"<table class=facts>\n{lines}\n</table>" if lines else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1) -> str:
    """A table; where there is no room for it, its rows stand below each other, and each cell names its column.

    Args:
        heads: What stands over the columns.
        rows: The cells, as HTML; the first of each row names it.
        texts: How many columns are text, and no figures.
    """
    over = "".join(
        f"<th scope=col{'' if place < texts else ' class=figure'}>{escape(name)}</th>"
        for place, name in enumerate(heads)
    )
    lines = "\n".join(
        f"<tr><th scope=row>{first}</th>"
        + "".join(
            f'<td{" class=text" if place < texts else ""} data-name="{escape(heads[place].strip())}">{cell}</td>'
            for place, cell in enumerate(rest, start=1)
        )
        + "</tr>"
        for first, *rest in rows
    )
    body = f"<thead><tr>{over}</tr></thead>\n<tbody>\n{lines}\n</tbody>"
    return f"<div class=wide><table class=board>\n{body}\n</table></div>"


def text(content: str) -> str:
    """A text of the data; a long one shows its beginning and folds the whole."""
    if len(content) <= _UNFOLDED and content.count("\n") <= _LINES_UNFOLDED:
        return f"<div class=said dir=auto>{shown(content)}</div>"
    lines = content[:_UNFOLDED].split("\n")[:_LINES_UNFOLDED]
    start = "\n".join(lines)
    told = f"the whole text, {len(content):,} characters"
    return f"<div class=said dir=auto>{shown(start)} …</div>\n{folded(told, content)}"


def folded(title: str, content: str) -> str:
    """A text that is folded until somebody asks for it."""
    return (
        f"<details><summary>{escape(title)}</summary>"
        f"<div class=said dir=auto>{shown(cut(content, MOST))}</div></details>"
    )
