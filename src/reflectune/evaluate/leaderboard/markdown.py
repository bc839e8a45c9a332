"""The tables as Markdown, for a README or a model card."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from reflectune.evaluate.leaderboard.board import Board, Cell, Column, Row
from reflectune.evaluate.leaderboard.wording import said_of, shown, told

__all__ = ["as_markdown", "headings", "link_of", "measured", "plain", "sides"]


def as_markdown(boards: Iterable[Board], folder: Path) -> str:
    """The tables, each figure with its interval and linked to its raw replies.

    Args:
        boards: The tables.
        folder: Where the text will lie, so that links can be relative.
    """
    return "\n\n".join(_table(board, folder) for board in boards) + "\n"


def headings(board: Board) -> list[str]:
    """What stands over the columns that are no figures."""
    named = ["model"]
    if any(row.asked for row in board.rows):
        named.append("asked")
    if any(row.against for row in board.rows):
        named.append("against")
    if any(row.judge for row in board.rows):
        named.append("judge")
    if any(row.learnt_from is not None for row in board.rows):
        named.append("trained on")
    return named


def sides(row: Row, named: Sequence[str]) -> list[str]:
    """What a row says in those columns."""
    said = {
        "model": row.model,
        "asked": row.asked,
        "against": row.against or "",
        "judge": row.judge or "",
        "trained on": "" if row.learnt_from is None else f"{row.learnt_from:,} rows",
    }
    return [said[name] for name in named]


def link_of(cell: Cell, folder: Path) -> str | None:
    """The raw replies, as an address relative to a folder."""
    if cell.replies is None:
        return None
    return quote(Path(os.path.relpath(cell.replies.resolve(), folder.resolve())).as_posix())


def _table(board: Board, folder: Path) -> str:
    named = headings(board)
    header = [*named, *(column.title for column in board.columns), "mean length", "tokens a reply"]
    align = ["---"] * len(named) + ["---:"] * (len(header) - len(named))
    lines = [
        f"## {board.title}",
        "",
        f"| {' | '.join(map(plain, header))} |",
        f"| {' | '.join(align)} |",
        *(f"| {' | '.join(_cells(row, named, board.columns, folder))} |" for row in board.rows),
    ]
    notes = list(dict.fromkeys(_note(row, column) for row in board.rows for column in row.cells))
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in notes if note)]).rstrip()


def _cells(row: Row, named: Sequence[str], columns: Sequence[Column], folder: Path) -> list[str]:
    figures = [_figure(row.cells[column], folder) if column in row.cells else "" for column in columns]
    ends = [f"{value:,.0f}" if value is not None else "" for value in (row.mean_length, row.tokens)]
    return [*map(plain, sides(row, named)), *figures, *ends]


def _figure(cell: Cell, folder: Path) -> str:
    score, link = cell.score, link_of(cell, folder)
    value = shown(score.metric, score.value)
    return f"[{value}]({link}) ({measured(cell)})" if link else f"{value} ({measured(cell)})"


def measured(cell: Cell) -> str:
    """How sure a figure is, and what it is made of."""
    return ", ".join(map(told, said_of(cell.score)))


def _note(row: Row, column: Column) -> str:
    note = row.cells[column].score.note
    return f"{row.name}, {column.title}: {note}" if note else ""


def plain(text: str) -> str:
    """A text that ends no cell and begins no markup."""
    kept = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return kept.replace("[", "\\[").replace("*", "\\*").replace("`", "\\`")
