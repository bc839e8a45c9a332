"""Make the leaderboard: find, arrange, write, show."""

from __future__ import annotations

from pathlib import Path

import orjson
import typer
from rich.table import Table
from rich.text import Text

from reflectune.cli.screen import complain, err
from reflectune.errors import RunError, SettingsError
from reflectune.evaluate.leaderboard import Board, as_markdown, boards, find_evaluations, write_html
from reflectune.evaluate.leaderboard.board import shown
from reflectune.evaluate.leaderboard.markdown import headings, sides


def lead(runs: Path, path: Path, title: str, *, as_json: bool, quiet: bool) -> None:
    """Write the page and the Markdown beside it, and show the tables.

    Raises:
        RunError: There is no evaluation, or the page cannot be written.
        SettingsError: The page's name does not end in .html.
    """
    if path.suffix != ".html":
        raise SettingsError(f"{path} is no page.", mend="Let --output end in .html.")
    found, broken = find_evaluations(runs)
    for error in broken:
        complain(error)
    if not found:
        raise RunError(
            f"No run in {runs} was evaluated.", mend="Run `reflectune benchmark`, `judge` or `alpaca-eval` first."
        )
    made = boards(found)
    markdown = path.with_suffix(".md")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        markdown.write_text(f"# {title}\n\n{as_markdown(made, path.parent)}", encoding="utf-8")
    except OSError as error:
        raise RunError(f"Cannot write {markdown}: {error}.", mend="Name another place with --output.") from error
    write_html(path, made, title)
    if not quiet:
        for board in made:
            err.print(_table(board))
        err.print(f"{path} · {markdown}")
    if as_json:
        models = sorted({row.model for board in made for row in board.rows})
        figures = sum(len(row.cells) for board in made for row in board.rows)
        told = {"evaluations": len(found), "broken": len(broken), "models": models, "figures": figures}
        typer.echo(orjson.dumps(told | {"page": str(path), "markdown": str(markdown)}).decode())
    if broken:
        raise typer.Exit(1)


def _table(board: Board) -> Table:
    table = Table(title=board.title, title_justify="left", title_style="bold")
    named = headings(board)
    for name in named:
        table.add_column(name, overflow="fold")
    for column in board.columns:
        table.add_column(column.title, justify="right", overflow="fold")
    for row in board.rows:
        cells = (row.cells.get(column) for column in board.columns)
        figures = (shown(cell.score.metric, cell.score.value) if cell else "" for cell in cells)
        table.add_row(*(Text(text) for text in (*sides(row, named), *figures)))
    return table
