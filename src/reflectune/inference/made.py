"""Answers that we make a model reflect on: drafts, a vote, and rounds of critique and revision."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from reflectune.inference.critique import critique
from reflectune.inference.drafts import Draft, Lost, draw
from reflectune.inference.parts import Ended, Part
from reflectune.inference.talk import Talk
from reflectune.inference.vote import majority
from reflectune.oracles.engine import Rejected
from reflectune.oracles.stopping import stopped
from reflectune.recipe import RecycleSettings
from reflectune.records import Version
from reflectune.recycling import Way, way_of
from reflectune.tags import Runs

__all__ = ["made"]


async def made(talk: Talk) -> AsyncGenerator[Part | Ended]:
    """An answer in the tags of a model that reflects: what it drafts is thinking, what we say of it reflection.

    Raises:
        OracleError: The oracle cannot be used, or no draft came.
    """
    runs = Runs()
    yield runs.opens("thinking", "<thinking>\n")
    drafts: list[Draft] = []
    async with aclosing(_drafts(talk, runs)) as events:
        async for event in events:
            if isinstance(event, Draft):
                drafts.append(event)
            else:
                yield event
    way = _way(talk)
    best, why = await _best(talk, way, [draft for draft in drafts if draft.text])
    for part in _reflection(runs, why) if why else ():
        yield part
    if best is None:
        yield runs.closes("\n</thinking>", "text")
        yield Ended(drafts[0].ended.finish_reason)
        return
    text, reason = best.text, best.ended.finish_reason
    async with aclosing(_rounds(talk, way, runs, text)) as events_of_rounds:
        async for said in events_of_rounds:
            if isinstance(said, str):
                text, reason = said, "stop"
            else:
                yield said
    cut = stopped(text, talk.stop)
    for part in _output(runs, text if cut is None else cut):
        yield part
    yield Ended(reason if cut is None else "stop")


async def _rounds(talk: Talk, way: Way, runs: Runs, text: str) -> AsyncGenerator[Part | str]:
    """Each round's critique as reflection, then its revision as it is; all but the last one are thinking too."""
    for left in reversed(range(talk.settings.rounds)):
        yield runs.opens("reflection", "\n<reflection>\n")  # at once: what follows takes its time
        said = await critique(talk, way, text)
        for part in runs.say(said.text):
            yield part
        yield runs.closes("\n</reflection>\n", "thinking")
        if said.revision is None:
            return
        text = said.revision
        yield text
        for part in runs.say(text) if left else ():
            yield part


async def _drafts(talk: Talk, runs: Runs) -> AsyncGenerator[Part | Draft]:
    """The drafts as thinking, each with its number where there are several, and then as drafts."""
    several = talk.settings.best_of > 1
    shown = 0
    async with aclosing(draw(talk)) as events:
        async for event in events:
            if isinstance(event, Draft):
                yield event
                continue
            if isinstance(event, Lost):
                said = "\n\n" + talk.words("lost", number=str(event.number), reason=event.problem.what)
            elif event[0] == shown:  # what the model had in tags of its own is set off
                said = ("\n\n" if event[1].begins else "") + event[1].text
            else:
                if shown:
                    runs.turns("thinking")
                shown = event[0]
                heading = "\n\n" * (shown > 1) + talk.words("draft", number=str(shown)) + "\n"
                said = (heading if several else "") + event[1].text
            for part in runs.say(said):
                yield part


def _reflection(runs: Runs, text: str) -> list[Part]:
    opening = runs.opens("reflection", "\n<reflection>\n")
    return [opening, *runs.say(text), runs.closes("\n</reflection>\n", "thinking")]


def _output(runs: Runs, text: str) -> list[Part]:
    thought = runs.closes("\n</thinking>\n\n", "text")
    opening = runs.opens("output", "<output>\n")
    return [thought, opening, *runs.say(text), runs.closes("\n</output>", "text")]


async def _best(talk: Talk, way: Way, drafts: list[Draft]) -> tuple[Draft | None, str]:
    """The best draft, and why; no reason where there is but one."""
    if len(drafts) < 2:  # noqa: PLR2004 - there is a choice from two on
        several = talk.settings.best_of > 1 and drafts
        return (drafts[0] if drafts else None), talk.words("only", number=str(drafts[0].number)) if several else ""
    question = talk.example.question
    found = majority(question, [draft.text for draft in drafts])
    if found is not None:
        answer = talk.words("agree", count=str(found.count), all=str(len(drafts)), answer=found.answer)
        return drafts[found.place], answer
    different = list({draft.text: draft for draft in reversed(drafts)}.values())[::-1]
    if len(different) == 1:
        agree = talk.words("agree", count=str(len(drafts)), all=str(len(drafts)), answer=different[0].text)
        return different[0], agree
    candidates = tuple(Version(instruction=question, response=draft.text) for draft in different)
    ballot = await way.choose(talk.example, talk.example.version, candidates, talk.language)
    if isinstance(ballot, Rejected):
        return different[0], talk.words("first", reason=ballot.detail)
    best = different[ballot.choice]
    return best, talk.words("chosen", number=str(best.number), reason=ballot.reason)


def _way(talk: Talk) -> Way:
    """The way in which the model is asked for critiques and choices: as rows are recycled."""
    settings = RecycleSettings(prompts=talk.settings.prompts, lang=talk.language, retries=1, seed=talk.settings.seed)
    most = talk.settings.max_tokens
    if most is not None:
        sampling = talk.engine.oracle.sampling
        settings = settings.model_copy(update={"max_tokens": max(most, sampling.max_tokens)})
    return way_of(talk.engine, settings)
