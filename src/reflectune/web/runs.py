"""Runs: what each has come to, live; try failed rows again, fetch the data as decisions now stand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from reflectune.errors import ReflectuneError
from reflectune.formats import ShapeTo, to_json
from reflectune.page.text import visible
from reflectune.runs import RunDir
from reflectune.runs.export import export_of, written_rows
from reflectune.web.overview import DATA_FILES, run_names
from reflectune.web.pages import show
from reflectune.web.state import state_of

__all__ = ["router"]

router = APIRouter()


class Again(BaseModel):
    """Which failed rows are tried again: those that failed for one of these reasons, or all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=100)] = []


@router.get("/")
def overview(request: Request) -> HTMLResponse:
    """All runs."""
    return show(request, "runs.html", runs=_all(request), folder=state_of(request).runs.name)


@router.get("/api/runs")
def all_runs(request: Request) -> list[dict[str, Any]]:
    """All runs, as JSON."""
    return _all(request)


@router.get("/runs/{name}")
def run_page(request: Request, name: str) -> HTMLResponse:
    """One run."""
    return show(request, "run.html", run=_one(request, name), name=name, shapes=("messages", "sharegpt", "alpaca"))


@router.get("/api/runs/{name}")
def one_run(request: Request, name: str) -> dict[str, Any]:
    """One run, as JSON."""
    return _one(request, name)


@router.post("/api/runs/{name}/retry")
def retry(request: Request, name: str, again: Again) -> dict[str, Any]:
    """Try failed rows again."""
    known = _one(request, name)
    if unknown := set(again.reasons) - set(known.get("reasons", {})):
        raise HTTPException(400, f"No row failed for {min(unknown)}.")
    return _started(request, name, "retry", *(f"--reason={reason}" for reason in again.reasons))


@router.post("/api/runs/{name}/write")
def write(request: Request, name: str) -> dict[str, Any]:
    """Write the data files anew, as decisions now stand."""
    return _started(request, name, "write")


@router.get("/runs/{name}/export")
def exported(
    request: Request,
    name: str,
    to: Annotated[ShapeTo | None, Query()] = None,
    fill: bool = False,
    provenance: bool = True,
) -> StreamingResponse:
    """The recycled rows as decisions now stand, to be saved; nothing is written into the folder."""
    folder = state_of(request).run(name)
    lines = _lines(folder, to, fill=fill, provenance=provenance)
    try:
        first = next(lines, b"")
    except (ReflectuneError, sqlite3.Error) as problem:
        raise HTTPException(409, str(problem).partition("\n")[0]) from problem

    def every() -> Iterator[bytes]:
        yield first
        yield from lines

    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}-recycled.jsonl"}
    return StreamingResponse(every(), media_type="application/jsonl", headers=headers)


@router.get("/runs/{name}/files/{file}")
def file(request: Request, name: str, file: str) -> FileResponse:
    """A file of a run, to be saved."""
    if file not in DATA_FILES:
        raise HTTPException(404, "There is no such file.")
    path = state_of(request).file(name, file)
    return FileResponse(path, media_type="application/octet-stream", filename=f"{name}-{file}")


def _all(request: Request) -> list[dict[str, Any]]:
    state = state_of(request)
    found: list[dict[str, Any]] = []
    for name in run_names(state.runs):
        if not name.isprintable() and visible(name) != name:
            found.append({"name": visible(name), "error": "Its name holds what cannot be written."})
            continue
        with suppress(HTTPException):  # it has gone in between
            found.append(state.overviews.of(state.run(name)))
    return found


def _one(request: Request, name: str) -> dict[str, Any]:
    state = state_of(request)
    folder = state.run(name)
    if name not in run_names(folder.parent):
        raise HTTPException(404, "There is no such run.")
    return state.overviews.of(folder) | {"job": state.jobs.state(folder)}


def _started(request: Request, name: str, command: Literal["retry", "write"], *flags: str) -> dict[str, Any]:
    state = state_of(request)
    try:
        state.jobs.start(state.run(name), command, *flags)
    except ReflectuneError as problem:
        raise HTTPException(409, problem.what) from problem
    return _one(request, name)


def _lines(folder: Path, to: ShapeTo | None, *, fill: bool, provenance: bool) -> Iterator[bytes]:
    with RunDir(folder, look=True) as run:
        for row in written_rows(run, export_of(run, to=to, fill=fill, provenance=provenance)):
            yield to_json(row) + b"\n"
