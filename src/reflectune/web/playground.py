"""The playground: talk to a model that reflects, or to two side by side."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from reflectune.web.api.completion import Completion
from reflectune.web.pages import language_of, show, text
from reflectune.web.shared import shared_page
from reflectune.web.state import state_of

__all__ = ["Conversation", "router"]

router = APIRouter()

EXAMPLES = ("cup", "letters", "clock")
"""Questions to begin with, by the name of their texts. The first is the one that Reflection 70B is known for."""


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Piece(_Typed):
    """A part of an answer."""

    kind: Literal["thinking", "reflection", "output", "text"]
    text: str


class Turn(_Typed):
    """A question, or an answer in its parts."""

    role: Literal["user", "assistant"]
    parts: Annotated[list[Piece], Field(max_length=2_000)]
    note: str = ""


class Column(_Typed):
    """A conversation with one model."""

    model: str
    settings: dict[str, str | int | float | None]
    turns: Annotated[list[Turn], Field(max_length=2_000)]


class Conversation(_Typed):
    """What is shared: one conversation, or two side by side."""

    columns: Annotated[list[Column], Field(min_length=1, max_length=2)]


@router.get("/playground")
async def playground(request: Request) -> HTMLResponse:
    """The page."""
    return show(request, "playground.html", models=state_of(request).models.shown, examples=EXAMPLES)


@router.post("/api/playground/share")
async def share(request: Request, conversation: Conversation) -> Response:
    """The conversation as a page that needs nothing but itself, to be kept or sent."""
    language = language_of(request)
    html = shared_page(conversation.model_dump(), lambda name: text(language, name), language)
    name = 'attachment; filename="reflectune-conversation.html"'
    return HTMLResponse(html, headers={"Content-Disposition": name})


@router.post("/api/playground/{place}/chat")
async def chat(request: Request, place: int) -> Any:
    """Answer as `/v1/chat/completions` does, by one of the models."""
    return Completion(await state_of(request).models.service(place))
