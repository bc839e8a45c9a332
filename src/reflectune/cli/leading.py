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
from reflectune.evaluate.leaderboard.board import Row
from reflectune.evaluate.leaderboard.markdown import measured
from reflectune.evaluate.leaderboard.wording import shown


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
    """A line for each figure: there may be more figures than a terminal has room for side by side."""
    table = Table(title=board.title, title_justify="left", title_style="bold")
    for name in ("figure", "model"):
        table.add_column(name, overflow="fold")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for column in board.columns:
        for row in board.rows:
            if (cell := row.cells.get(column)) is not None:
                value = shown(cell.score.metric, cell.score.value)
                table.add_row(*(Text(text) for text in (column.title, _who(row), value, measured(cell))))
    return table


def _who(row: Row) -> str:
    """A model, how it was asked, and what it was compared with."""
    against = f" against {row.against}" if row.against else ""
    judge = f", judged by {row.judge.partition('@')[0]}" if row.judge else ""
    return f"{row.name}{against}{judge}"
