"""Compare: rows searched, sorted and filtered; the versions of one side by side; and decisions by hand."""

from __future__ import annotations

import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from reflectune.errors import InputError, ReflectuneError, SettingsError
from reflectune.page.text import visible
from reflectune.records import Version
from reflectune.recycling import STAGE
from reflectune.runs import RunDir
from reflectune.runs.deciding import Said, decide, deciding_in
from reflectune.web.index import COLUMNS, Keeper, Question
from reflectune.web.index.asking import FILTERS
from reflectune.web.pages import show
from reflectune.web.rowview import FIELDS, Shown, shown_row, sides_of
from reflectune.web.state import state_of

__all__ = ["router"]

router = APIRouter()
_PAGE = 50
_MOST = 500
_LONGEST_SEARCH = 1_000


class Decided(BaseModel):
    """What a person says of a row.

    Attributes:
        verdict: `undo` takes back what was said before.
        version: The text that stands for it from now on; for `edit` only.
        note: Why.
        seen: The `hash` of the row that the person looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["accept", "edit", "reject", "undo"]
    version: Version | None = None
    note: Annotated[str, Field(max_length=10_000)] = ""
    seen: str | None = None


@router.get("/runs/{name}/rows")
def rows_page(request: Request, name: str) -> HTMLResponse:
    """The rows of a run, in a list."""
    _keeper(request, name).refresh()
    return show(request, "rows.html", name=name, position="", columns=COLUMNS, filters=FILTERS)


@router.get("/runs/{name}/rows/{position}")
def row_page(request: Request, name: str, position: int) -> HTMLResponse:
    """One row, with the list to go back to."""
    _keeper(request, name).refresh()
    with _row(request, name, position):
        return show(request, "rows.html", name=name, position=position, columns=COLUMNS, filters=FILTERS)


@router.get("/runs/{name}/rows/{position}/part")
def row_part(request: Request, name: str, position: int) -> HTMLResponse:
    """What a row's page shows of it, as a part of a page."""
    with _row(request, name, position) as shown:
        folder = shlex.quote(str(state_of(request).run(name)))
        return show(request, "row.html", shown=shown, row=shown.row, folder=folder)


@router.get("/api/runs/{name}/rows")
def rows(request: Request, name: str) -> dict[str, Any]:
    """The rows that are asked for, with how many there are and how far the index is."""
    keeper = _keeper(request, name)
    question = _question(request)
    try:
        answer = keeper.ask(question)
    except SettingsError as problem:
        raise HTTPException(400, f"{problem.what} {problem.mend}") from problem
    except sqlite3.Error as problem:
        raise HTTPException(503, f"The index cannot be read: {problem}") from problem
    lines = [asdict(line) | {"id": visible(line.id), "title": visible(line.title)} for line in answer.lines]
    return {"total": answer.total, "offset": answer.offset, "rows": lines, "index": asdict(keeper.state)}


@router.get("/api/runs/{name}/facets")
def facets(request: Request, name: str) -> dict[str, dict[str, int]]:
    """How many rows have which value, for everything that rows can be filtered by."""
    try:
        return _keeper(request, name).facets()
    except sqlite3.Error as problem:
        raise HTTPException(503, f"The index cannot be read: {problem}") from problem


@router.get("/api/runs/{name}/rows/{position}")
def row(request: Request, name: str, position: int) -> dict[str, Any]:
    """One row, as JSON."""
    with _row(request, name, position) as shown:
        stored = shown.row
        return {
            "position": position,
            "id": stored.id,
            "hash": stored.hash,
            "result": stored.result.model_dump(mode="json") if stored.result else None,
            "failure": stored.failure.model_dump(mode="json") if stored.failure else None,
            "gates": stored.gates,
            "decision": stored.decision.model_dump(mode="json") if stored.decision else None,
            "stale": stored.stale.model_dump(mode="json") if stored.stale else None,
            "standing": stored.standing.name if stored.standing else None,
            "selected": shown.selected.model_dump(mode="json") if shown.selected else None,
        }


@router.get("/api/runs/{name}/rows/{position}/text")
def text(request: Request, name: str, position: int, version: str, field: str) -> dict[str, str]:
    """A text of a row, whole."""
    with _row(request, name, position) as shown:
        found = sides_of(shown.row).get(version)
        if found is None or field not in FIELDS:
            raise HTTPException(404, "There is no such text.")
        return {"text": visible(getattr(found, field))}


@router.post("/api/runs/{name}/rows/{position}/decision")
def decision(request: Request, name: str, position: int, said: Decided) -> dict[str, Any]:
    """Accept, edit or reject a row, or take that back."""
    with _row(request, name, position) as shown:
        known = shown.row
    try:
        with deciding_in(state_of(request).run(name)) as run:
            if said.verdict == "undo":
                run.decisions.undo(known.id)
            else:
                decide(run, known.id, Said(said.verdict, said.version, said.note), said.seen)
    except (InputError, SettingsError) as problem:
        raise HTTPException(409, f"{problem.what} {problem.mend}") from problem
    except ReflectuneError as problem:
        raise HTTPException(503, f"{problem.what} {problem.mend}") from problem
    _keeper(request, name).take_in(known.id)
    return row(request, name, position)


def _keeper(request: Request, name: str) -> Keeper:
    folder = state_of(request).run(name)
    if not (folder / "state.sqlite").is_file():
        raise HTTPException(404, "There is no such run.")
    return state_of(request).indexes.of(folder)


@contextmanager
def _row(request: Request, name: str, position: int) -> Iterator[Shown]:
    folder: Path = state_of(request).run(name)
    try:
        with RunDir(folder, look=True) as run:
            named = run.tracks.at(position)
            stored = next(run.rows(STAGE, row=named), None) if named is not None else None
            if stored is None:
                raise HTTPException(404, "There is no such row.")
            scores = next(run.scores(row=stored.id), None)
            selected = run.selected(stored.example) if stored.example else None
            yield shown_row(position, stored, scores, selected)
    except (ReflectuneError, sqlite3.Error) as problem:
        raise HTTPException(404, str(problem).partition("\n")[0]) from problem


def _question(request: Request) -> Question:
    asked = request.query_params
    around = _number(asked.get("around"))
    filters = {name: tuple(value[:200] for value in asked.getlist(name)[:50]) for name in FILTERS if name in asked}
    return Question(
        search=asked.get("search", "")[:_LONGEST_SEARCH],
        filters=filters,
        low=_number(asked.get("low")),
        high=_number(asked.get("high")),
        sort=asked.get("sort", "position"),
        descending=asked.get("order") == "desc",
        offset=max(int(_number(asked.get("offset")) or 0), 0),
        limit=min(max(int(_number(asked.get("limit")) or _PAGE), 1), _MOST),
        around=None if around is None else int(around),
    )


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 1e15 else None  # noqa: PLR2004 - neither infinite nor NaN
