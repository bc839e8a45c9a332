"""The leaderboard as a page that needs nothing but itself and the runs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from reflectune.errors import MissingExtraError, RunError
from reflectune.evaluate.leaderboard.board import Board, Cell, Row
from reflectune.evaluate.leaderboard.charts import draw, left_out
from reflectune.evaluate.leaderboard.markdown import headings, link_of, measured, sides
from reflectune.evaluate.leaderboard.wording import shown
from reflectune.files import write_whole
from reflectune.page import page

__all__ = ["board_html", "write_html"]

_ENDS = ("mean length", "tokens a reply", "no output")


def write_html(path: Path, boards: Sequence[Board], title: str) -> None:
    """Write the page. Without the extra `plots` it has tables only, and says so.

    Args:
        path: Where it is written; links to raw replies are relative to it.
        boards: The tables.
        title: Its heading.

    Raises:
        RunError: It cannot be written.
    """
    body = "\n".join([f"<h1>{escape(title)}</h1>", *(board_html(board, path.parent) for board in boards)])
    try:
        write_whole(path, page(title, body))
    except OSError as error:
        raise RunError(f"Cannot write {path}: {error}.", mend="Name another place with --output.") from error


def board_html(board: Board, folder: Path | None, level: int = 2) -> str:
    """A board as a table, with its charts.

    Args:
        board: The board.
        folder: Where the page will lie, so that figures can be linked to their raw replies; `None` for no links.
        level: Of its heading.
    """
    named = headings(board)
    header = [*named, *(column.title for column in board.columns), *_ENDS]
    heads = "".join(
        f"<th scope=col{'' if place < len(named) else ' class=figure'}>{escape(name)}</th>"
        for place, name in enumerate(header)
    )
    rows = "\n".join(_row(board, row, named, folder) for row in board.rows)
    return f"""\
<h{level}>{escape(board.title)}</h{level}>
<div class=wide><table class=board>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
{_charts(board)}"""


def _row(board: Board, row: Row, named: Sequence[str], folder: Path | None) -> str:
    first, *rest = sides(row, named)
    figures = [_figure(column.title, row.cells.get(column), folder) for column in board.columns]
    ends = (
        f"{row.mean_length:,.0f}" if row.mean_length is not None else "",
        f"{row.tokens:,.0f}" if row.tokens is not None else "",
        f"{row.without_output:.0f}%" if row.without_output is not None else "",
    )
    return (
        f"<tr><th scope=row>{escape(first)}</th>"
        + "".join(_cell(name, escape(text), " class=text") for name, text in zip(named[1:], rest, strict=True))
        + "".join(figures)
        + "".join(_cell(name, text) for name, text in zip(_ENDS, ends, strict=True))
        + "</tr>"
    )


def _figure(name: str, cell: Cell | None, folder: Path | None) -> str:
    if cell is None:
        return "<td></td>"
    score, link = cell.score, link_of(cell, folder) if folder else None
    value = shown(score.metric, score.value)
    text = f'<a href="{escape(link)}">{value}</a>' if link else value
    text += f"<br><small>{escape(measured(cell))}</small>"
    return _cell(name, f"<span>{text}</span>", f' title="{escape(cell.told)}"')


def _cell(name: str, content: str, more: str = "") -> str:
    """A cell, which names its column for a screen that has room for one column only."""
    return f'<td{more} data-name="{escape(name)}">{content}</td>'


def _charts(board: Board) -> str:
    try:
        pictures = draw(board)
    except MissingExtraError as missing:
        return f"<p class=soft>The extra plots draws charts here: <code>{escape(missing.mend)}</code></p>"
    figures = "\n".join(
        f"<figure><h3>Score against {escape(title)}</h3>{picture}</figure>" for title, picture in pictures.items()
    )
    note = f"<p class=soft>{left_out(board)}</p>\n" if figures and left_out(board) else ""
    return f"{note}<div class=charts>\n{figures}\n</div>" if figures else ""
