"""Answer as a model that reflects: by itself, by prompt, or because we make it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from reflectune.inference.made import made
from reflectune.inference.parts import Answered, Ended, Part, Told
from reflectune.inference.replying import in_tags, plainly
from reflectune.inference.talk import Talk, talk_of
from reflectune.oracles.engine import Engine
from reflectune.recipe import ChatSettings
from reflectune.records import Message, Schema
from reflectune.tags import parse

__all__ = ["answer"]

_AS_IT_IS = {"reflect": "off", "rounds": 0, "best_of": 1}


async def answer(  # noqa: PLR0913 - what a client may say of one answer
    messages: Sequence[Message],
    engine: Engine,
    settings: ChatSettings | None = None,
    *,
    stop: tuple[str, ...] = (),
    schema: Schema | None = None,
    sample: int = 0,
) -> AsyncGenerator[Part | Answered]:
    """Answer a conversation; yields the parts of the answer as they come, and last the whole of it.

    A model that reflects, by prompt or because it learnt to, gives its parts itself. With rounds the draft is
    `thinking`, our critique `reflection` and the last revision `output`; with several drafts these are `thinking`, the
    vote is `reflection` and the winner `output`. A plain model's reply is `text`, and all of it the answer. What a
    reasoning model thinks is `thinking` in each case. Closing it cancels the work.

    Args:
        messages: The conversation, whose last turn is the user's. Of earlier answers only the answer is sent, without
            its thinking.
        engine: Asks the model. Its store may keep nothing: see `Forgetful`.
        settings: How the model is talked to, and who makes it reflect.
        stop: Texts before any of which the answer ends; that of a model that reflects is ended by us.
        schema: The JSON schema of the answer; the model then does not reflect.
        sample: Which draw of the same answer this is; several drafts are this draw and those after it.

    Raises:
        OracleBusy: The oracle was too busy for too long, or broke off.
        RequestRefused: It will never answer this.
        OracleError: It cannot be used at all.
        SettingsError: The conversation asks nothing, or a prompt file does not fit.
    """
    settings = settings or ChatSettings()
    if schema is not None:
        settings = settings.model_copy(update=_AS_IT_IS)
    own = engine.branch()
    talk = talk_of(messages, own, settings, stop, sample)
    ended, told = Ended(), Told("output" if talk.tagged or _is_made(settings) else "text")
    try:
        async with aclosing(_events(talk, schema)) as events:
            async for event in events:
                if isinstance(event, Ended):
                    ended = event
                else:
                    told.take(event)
                    yield event
        answered = told.answered(ended, own.usage)
        # What we put in tags may hold tags of its own: a draft is written as it came.
        yield replace(answered, faults=parse(answered.raw).faults) if _is_made(settings) else answered
    finally:
        engine.usage.add(own.usage)


def _events(talk: Talk, schema: Schema | None) -> AsyncGenerator[Part | Ended]:
    if _is_made(talk.settings):
        return made(talk)
    if talk.tagged:
        return in_tags(talk.engine, talk.request(), talk.stop)
    return plainly(talk.engine, replace(talk.request(stop=talk.stop), schema=schema))


def _is_made(settings: ChatSettings) -> bool:
    """Whether we make the model reflect."""
    return settings.rounds > 0 or settings.best_of > 1
