"""Judge blind: two answers side by side, nobody's name, one key for a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict

from reflectune.errors import InputError
from reflectune.evaluate.judge.desk import Card, Desk
from reflectune.page.text import visible
from reflectune.web.pages import show

__all__ = ["Sitting", "router"]

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Sitting:
    """A person's time at the desk, at `request.app.state.judging` of an app that was started for it.

    Attributes:
        desk: What they work on.
        end: Ends the app.
    """

    desk: Desk
    end: Callable[[], None]


class Numbered(BaseModel):
    """Which pair is meant."""

    model_config = ConfigDict(extra="forbid")

    number: int


class Said(Numbered):
    """A verdict on a pair."""

    said: str


class Nothing(BaseModel):
    """An empty object."""

    model_config = ConfigDict(extra="forbid")


@router.get("/judging")
async def page(request: Request) -> HTMLResponse:
    """The page; where the app was not started for it, how to do that."""
    return show(request, "judging.html", sitting=_sitting_or_none(request) is not None)


@router.get("/judging/state")
async def state(request: Request) -> dict[str, Any]:
    """What is to be judged next, and how far it is."""
    desk = _sitting(request).desk
    return _told(desk, desk.card)


@router.post("/judging/say")
async def say(request: Request, body: Said) -> dict[str, Any]:
    """Take a verdict."""
    desk = _sitting(request).desk
    try:
        await desk.say(body.number, body.said)
    except InputError as error:
        raise HTTPException(422, error.what) from error
    return _told(desk, desk.card)


@router.post("/judging/skip")
async def skip(request: Request, body: Numbered) -> dict[str, Any]:
    """Put a pair off."""
    desk = _sitting(request).desk
    try:
        desk.skip(body.number)
    except InputError as error:
        raise HTTPException(422, error.what) from error
    return _told(desk, desk.card)


@router.post("/judging/undo")
async def undo(request: Request, _: Nothing) -> dict[str, Any]:
    """Take the last verdict back, and show its pair again."""
    desk = _sitting(request).desk
    return _told(desk, await desk.undo() or desk.card)


@router.post("/judging/finish")
async def finish(request: Request, _: Nothing) -> dict[str, Any]:
    """End the app; the terminal tells what the verdicts come to."""
    sitting = _sitting(request)
    sitting.end()
    return _told(sitting.desk, None)


def _told(desk: Desk, card: Card | None) -> dict[str, Any]:
    pair = None
    if card is not None:
        pair = {name: visible(value) if isinstance(value, str) else value for name, value in asdict(card).items()}
        pair["before"] = [{"role": turn.role, "content": visible(turn.content)} for turn in card.before]
    return {"done": desk.done, "total": desk.total, "skipped": desk.skipped, "pair": pair}


def _sitting_or_none(request: Request) -> Sitting | None:
    found: Sitting | None = getattr(request.app.state, "judging", None)
    return found


def _sitting(request: Request) -> Sitting:
    found = _sitting_or_none(request)
    if found is None:
        raise HTTPException(404, "Nobody judges here: start the app with `reflectune judge A B --human`.")
    return found
