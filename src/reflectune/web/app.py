"""The app, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from reflectune.web import evaluation, judging, playground, rows, runs, statistics
from reflectune.web.pages import language_of, show, text
from reflectune.web.safety import Guard
from reflectune.web.state import WebState

__all__ = ["create_app"]

_STATIC = Path(__file__).parent / "static"


def create_app(state: WebState, *, key: str | None = None, hosts: frozenset[str] | None = frozenset()) -> FastAPI:
    """The app.

    Args:
        state: What the pages look at.
        key: The key that every request has to carry; `None` for none.
        hosts: The names by which it may be called besides this machine's own; `None` for any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(state.indexes.close)
        await run_in_threadpool(statistics.close, app)
        await state.models.aclose()

    app = _Guarded(title="reflectune", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.guard = partial(Guard, hosts=hosts, key=key)
    app.state.web = state
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(RequestValidationError, _misread)
    app.add_exception_handler(500, _problem)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.add_api_route("/favicon.ico", _no_icon)
    for area in (evaluation, judging, playground, rows, runs, statistics):
        app.include_router(area.router)
    return app


class _Guarded(FastAPI):
    """An app with a guard before everything else, also before what answers for faults of ours.

    Attributes:
        guard: Puts the guard before an app.
    """

    guard: Callable[[ASGIApp], Guard] = Guard

    def build_middleware_stack(self) -> ASGIApp:
        return self.guard(super().build_middleware_stack())


async def _no_icon() -> Response:
    return RedirectResponse("/static/icon.svg", 301)


async def _misread(request: Request, error: Exception) -> Response:
    """An address or a body that is not what it has to be; said as any other problem."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(step) for step in first["loc"][1:])
    address = first["loc"][0] == "path"
    problem = (
        HTTPException(404, "There is no such page.") if address else HTTPException(400, f"{where}: {first['msg']}.")
    )
    return await _problem(request, problem)


async def _problem(request: Request, error: Exception) -> Response:
    """What is said of what went wrong: JSON to scripts, a page to people; of a fault of ours nothing but that."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else text(language_of(request), "base.fault")
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"error": {"message": detail}}, status)
    return show(request, "problem.html", status=status, number=status, detail=detail)
