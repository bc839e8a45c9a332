"""What the server answers to, for `serve` and for any other app that it is part of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from reflectune.web.api.completion import Completion
from reflectune.web.api.guard import KeyGuard
from reflectune.web.api.metrics import CONTENT_TYPE
from reflectune.web.api.outlet import packed
from reflectune.web.api.problems import Problem
from reflectune.web.api.service import Service

__all__ = ["create_api", "router_of"]

_READ = ["GET", "HEAD"]


def router_of(service: Service) -> APIRouter:
    """The routes of a server, `/v1/...`, `/health` and `/metrics`, to be part of any app.

    Args:
        service: Who answers. Whoever makes it closes it.
    """
    router = APIRouter()

    async def chat_completions(_: Request) -> Response:
        return Completion(service)

    async def models(_: Request) -> Response:
        return _json({"object": "list", "data": [_model(service)]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name == service.name:
            return _json(_model(service))
        message = f"There is no model {name[:100]!r} here: it is {service.name}."
        return _problem(Problem(404, message, param="model", code="model_not_found"))

    async def health(_: Request) -> Response:
        if service.ending:
            return _json({"status": "ending"}, 503, {"connection": "close"})
        return _json({"status": "ready", "model": service.name})

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.written(), media_type=CONTENT_TYPE)

    def add(path: str, do: Callable[[Request], Awaitable[Response]], methods: list[str]) -> None:
        router.add_route(path, do, methods=methods, include_in_schema=False)

    add("/v1/chat/completions", chat_completions, ["POST"])
    add("/v1/models", models, _READ)
    add("/v1/models/{name:path}", model, _READ)
    add("/health", health, _READ)
    add("/metrics", metrics, _READ)
    return router


def create_api(service: Service, *, key: str | None = None) -> FastAPI:
    """The server as an app of its own, which closes the model at its end.

    Args:
        service: Who answers.
        key: The key that every request but those for `/health` has to carry; `None` serves this machine alone.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.aclose()

    api = FastAPI(title="reflectune", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    api.include_router(router_of(service))
    api.add_middleware(KeyGuard, key=key)
    api.add_exception_handler(HTTPException, _no_such_thing)
    return api


async def _no_such_thing(request: Request, error: Exception) -> Response:
    """A path or a method that there is not, in the shape that clients read."""
    if not isinstance(error, HTTPException):
        raise error
    what = {404: f"There is nothing at {request.url.path[:200]}.", 405: f"{request.method} is not for this address."}
    problem = Problem(error.status_code, what.get(error.status_code, str(error.detail)), code="unknown_url")
    return _problem(problem, dict(error.headers or {}))


def _model(service: Service) -> dict[str, Any]:
    return {"id": service.name, "object": "model", "created": service.created, "owned_by": "reflectune"}


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    sealed = {"x-content-type-options": "nosniff", **(headers or {})}
    return Response(packed(value), status, sealed, media_type="application/json")


def _problem(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    return _json(problem.body, problem.status, {**problem.headers, **(headers or {})})
