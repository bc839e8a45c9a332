"""Evaluations: the leaderboard of the folder, the raw replies behind each figure, and what judges said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from reflectune.errors import MissingExtraError, ReflectuneError, RunError
from reflectune.evaluate.judge.kept import PAIRS, VERDICTS, by_judge, read_pairs, read_verdicts
from reflectune.evaluate.judge.verdicts import CRITERIA, Verdict
from reflectune.evaluate.leaderboard import Board, Cell, Column, boards, find_evaluations
from reflectune.evaluate.leaderboard.charts import draw, left_out
from reflectune.evaluate.leaderboard.markdown import headings, sides
from reflectune.evaluate.leaderboard.wording import NAMES, said_of, shown
from reflectune.evaluate.scores import FILE, Evaluation
from reflectune.web.drawings import drawing
from reflectune.web.pages import show
from reflectune.web.replies import read_page
from reflectune.web.state import state_of

__all__ = ["router"]

router = APIRouter()

_EACH = 20
_OUTCOMES = ("win", "tie", "lose")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A run with verdicts.

    Attributes:
        run: Its folder, relative to that of the runs.
        judges: Who judged, and how many verdicts of theirs there are.
    """

    run: str
    judges: tuple[tuple[str, int], ...]


class Wanted(BaseModel):
    """Which verdicts are wanted; what is empty says nothing.

    Attributes:
        run: The run's folder, relative to that of the runs.
        judge: Whose.
        outcome: `win`, `tie` or `lose`.
        dataset: Of which test set.
        flipped: Anything for only those that flip with the order.
        page: Which page of them.
    """

    model_config = ConfigDict(extra="ignore")

    run: str
    judge: str = ""
    outcome: str = ""
    dataset: str = ""
    flipped: str = ""
    page: int = 1

    def fits(self, verdict: Verdict) -> bool:
        """Whether a verdict is wanted."""
        return (
            self.judge in {"", verdict.judge}
            and self.outcome in {"", verdict.outcome}
            and self.dataset in {"", verdict.dataset}
            and (not self.flipped or verdict.flipped)
        )


@router.get("/evaluation")
def page(request: Request) -> HTMLResponse:
    """The leaderboard, and the runs in which somebody judged."""
    runs = state_of(request).runs
    found, broken = find_evaluations(runs) if runs.is_dir() else ([], [])
    inside = [(run, evaluation) for run, evaluation in found if _is_inside(runs, run)]
    made = boards(inside)
    pictures = [_pictures(board, _mark(inside)) for board in made]
    return show(
        request,
        "evaluation.html",
        boards=[_plain(board, runs) for board in made],
        pictures=pictures,
        broken=[error.what for error in broken],
        reviewed=[_reviewed(runs, run) for run, _ in inside if (run / VERDICTS).is_file()],
    )


@router.get("/evaluation/replies")
def replies(request: Request, run: str, file: str, page: int = 1) -> HTMLResponse:
    """The raw replies that a figure was made of."""
    folder = _run(request, run)
    try:
        path = (folder / file).resolve()
        known = {score.replies for score in Evaluation.load(folder / FILE).scores}
        if file not in known or not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise HTTPException(404, "There is no such file.")
        found = read_page(path, page)
    except (RunError, OSError, ValueError) as error:
        raise HTTPException(404, "These replies cannot be read.") from error
    return show(request, "replies.html", run=run, file=file, found=found, link=_link("replies", run=run, file=file))


@router.get("/evaluation/verdicts")
def verdicts(request: Request, wanted: Annotated[Wanted, Query()]) -> HTMLResponse:
    """What judges said, verdict by verdict."""
    folder = _run(request, wanted.run)
    try:
        every = read_verdicts(folder)
        pairs = read_pairs(folder)
        names = _names(folder)
    except ReflectuneError as error:
        raise HTTPException(404, error.what) from error
    kept = [verdict for verdict in every if wanted.fits(verdict)]
    pages = max(1, -(-len(kept) // _EACH))
    number = min(max(wanted.page, 1), pages)
    some = kept[(number - 1) * _EACH : number * _EACH]
    query = wanted.model_dump(exclude={"page"}, exclude_defaults=True)
    return show(
        request,
        "verdicts.html",
        names=names,
        criteria=("overall", *CRITERIA),
        judges=[judged.judge for judged in by_judge(every)],
        datasets=list(dict.fromkeys(verdict.dataset for verdict in every if verdict.dataset)),
        outcomes=_OUTCOMES,
        wanted=wanted,
        total=len(every),
        kept=len(kept),
        verdicts=[(verdict, pairs.get((verdict.dataset, verdict.id))) for verdict in some],
        texts_kept=(folder / PAIRS).is_file(),
        number=number,
        pages=pages,
        link=_link("verdicts", **query),
    )


def _names(folder: Path) -> tuple[str, str]:
    """What the models are called whose answers were judged."""
    for score in Evaluation.load(folder / FILE).scores if (folder / FILE).is_file() else ():
        if score.form == "pairwise" and score.against:
            return score.model, score.against
    return "A", "B"


def _run(request: Request, name: str) -> Path:
    """A folder at any depth below that of the runs.

    Raises:
        HTTPException: 404: there is none, or the name leads elsewhere.
    """
    runs = state_of(request).runs
    try:
        folder = runs / name
        if folder.is_dir() and _is_inside(runs, folder):
            return folder
    except (OSError, ValueError):  # a name that the file system cannot hold
        pass
    raise HTTPException(404, "There is no such run.")


def _is_inside(runs: Path, folder: Path) -> bool:
    return folder.resolve().is_relative_to(runs.resolve())


def _reviewed(runs: Path, run: Path) -> Reviewed:
    try:
        judges = tuple((judged.judge, len(judged.verdicts)) for judged in by_judge(read_verdicts(run)))
    except RunError:
        judges = ()
    return Reviewed(run.relative_to(runs).as_posix(), judges)


def _plain(board: Board, runs: Path) -> dict[str, Any]:
    """A board as its template shows it."""
    named = headings(board)
    return {
        "form": board.form,
        "heads": named,
        "columns": [_column(column) for column in board.columns],
        "rows": [
            {
                "sides": sides(row, named),
                "cells": [_cell(row.cells.get(column), runs) for column in board.columns],
                "length": f"{row.mean_length:,.0f}" if row.mean_length is not None else "",
                "tokens": f"{row.tokens:,.0f}" if row.tokens is not None else "",
            }
            for row in board.rows
        ],
    }


def _column(column: Column) -> dict[str, Any]:
    """A column: what it is measured on, and its metric, by a name of the page's texts where it has one."""
    known = f"metric_{re.sub(r'[^a-z0-9]', '_', column.metric)}" if column.metric in NAMES else ""
    return {"benchmark": column.benchmark, "shots": column.shots, "metric": column.metric, "text": known}


def _cell(cell: Cell | None, runs: Path) -> dict[str, Any] | None:
    if cell is None:
        return None
    score, link = cell.score, ""
    if score.replies and cell.replies and cell.replies.is_file():
        run = cell.run.relative_to(runs).as_posix()
        link = (
            _link("verdicts", run=run) if score.replies == VERDICTS else _link("replies", run=run, file=score.replies)
        )
    return {"value": shown(score.metric, score.value), "said": said_of(score), "told": cell.told, "link": link}


def _link(view: str, **query: str) -> str:
    return f"/evaluation/{view}?{urlencode(query)}"


def _mark(found: list[tuple[Path, Evaluation]]) -> tuple[tuple[str, int], ...]:
    return tuple((str(run), (run / FILE).stat().st_mtime_ns) for run, _ in found)


def _pictures(board: Board, mark: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """The charts of a board: drawn once for a state of the folder."""
    key = (board.form, mark)
    if key not in _drawn():
        made: dict[str, Any] = {"drawn": {}, "left_out": "", "missing": "", "broken": False}
        try:
            made["drawn"] = {title: drawing(svg) for title, svg in draw(board).items()}
            made["left_out"] = left_out(board)
        except MissingExtraError as missing:
            made["missing"] = missing.mend
        except Exception:  # noqa: BLE001 - whatever fails in altair or vl-convert, the tables are shown
            made["broken"] = True
        _drawn()[key] = made
        while len(_drawn()) > _EACH:
            _drawn().pop(next(iter(_drawn())))
    return _drawn()[key]


@lru_cache(maxsize=1)
def _drawn() -> dict[Any, dict[str, Any]]:
    return {}
