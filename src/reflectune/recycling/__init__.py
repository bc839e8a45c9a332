"""Recycle: an oracle criticises each pair and rewrites first the instruction, then the response.

Source: Reflection-Tuning (arXiv 2310.11716). The instruction reflection makes a new instruction with its answer
(version Q); the response reflection betters the answer of the pair as it then stands (QA), or of the original pair
where only responses are recycled (A).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Literal, Protocol

from reflectune.ask import Manner
from reflectune.language import prompt_language
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Rejected, Stopped
from reflectune.prompts import Language, Prompts
from reflectune.recipe import RecycleSettings
from reflectune.records import (
    Ballot,
    Example,
    Failure,
    Recycled,
    Reflection,
    Remark,
    Rewrite,
    Version,
    VersionName,
    digest,
)
from reflectune.recycling.dialogue import Dialogue
from reflectune.recycling.structured import Structured

__all__ = ["STAGE", "fingerprint", "prompts_hash", "recycle", "requests_per_row", "waves_per_row", "way_name"]

STAGE = "recycle"


class Way(Protocol):
    """A way to ask for reflections; both give the same typed values."""

    async def reflect(
        self, kind: Reflection, example: Example, version: Version, language: Language, sample: int
    ) -> Rewrite | Rejected:
        """One reflection on a version of an example, or why there is none."""
        ...

    async def choose(
        self, example: Example, version: Version, candidates: tuple[Version, ...], language: Language
    ) -> Ballot | Rejected:
        """The oracle's choice between candidates."""
        ...

    async def criticise(self, example: Example, version: Version, language: Language) -> tuple[Remark, ...] | Rejected:
        """A critique of a version, without a rewrite."""
        ...


async def recycle(
    examples: Iterable[Example], engine: Engine, settings: RecycleSettings | None = None
) -> AsyncGenerator[Recycled]:
    """Recycle examples, and yield what became of each as it lands.

    Every example comes out once, rewritten or with its failure. What the engine's store already has is not asked again.

    Args:
        examples: Taken one by one, so that there may be more than fit in memory.
        engine: Asks the oracle.
        settings: What to ask for.

    Raises:
        OracleError: The oracle cannot be used at all.
        SettingsError: A prompt file does not fit.
    """
    method = _Method(engine, settings or RecycleSettings())
    async with aclosing(engine.work(examples, method.recycle)) as results:
        async for recycled in results:
            yield recycled


def fingerprint(oracle: Oracle, settings: RecycleSettings) -> str:
    """What a row's result depends on besides the row: the oracle, the settings and the prompts' wording."""
    asked = settings.model_dump(mode="json", exclude={"prompts"})
    return digest([oracle.name, asked, prompts_hash(oracle, settings)]) + ":"


def prompts_hash(oracle: Oracle, settings: RecycleSettings) -> str:
    """A hash of the wording of every prompt that rows are recycled with."""
    return Prompts(settings.prompts).hash(f"{way_name(oracle, settings)}_", "reasons")


def requests_per_row(settings: RecycleSettings, *, dialogue: bool) -> int:
    """How many requests a row takes when no reply is rejected."""
    way = Dialogue if dialogue else Structured
    reflections = sum(way.REQUESTS[kind] for kind in settings.reflections) * settings.candidates
    ballots = len(settings.reflections) * way.REQUESTS["ballot"] * (settings.candidates > 1)
    return reflections + ballots + settings.score_after * way.REQUESTS["critique"]


def waves_per_row(settings: RecycleSettings) -> int:
    """How many replies a row waits for, one after the other, in the structured way when none is rejected."""
    return len(settings.reflections) * (1 + (settings.candidates > 1)) + settings.score_after


class _Method:
    def __init__(self, engine: Engine, settings: RecycleSettings) -> None:
        self._store = engine.store
        self._settings = settings
        self._fingerprint = fingerprint(engine.oracle, settings)
        self._way = _make_way(engine, settings)

    async def recycle(self, example: Example) -> Recycled:
        """What becomes of one example."""
        mark = self._fingerprint + example.content_hash()
        known = self._store.result(STAGE, example.id, mark)
        if known is not None:
            return Recycled.model_validate_json(known)
        recycled = await self._make(example)
        failed = recycled.failure.reason if recycled.failure else None
        body = recycled.model_dump_json(exclude_defaults=True).encode()
        await self._store.keep_result(STAGE, example.id, mark, body, failed)
        return recycled

    async def _make(self, example: Example) -> Recycled:
        language = self._settings.lang or prompt_language(example.question)
        current = example.version
        versions: dict[VersionName, Version] = {"original": current}
        rewrites: list[Rewrite] = []
        after: tuple[Remark, ...] = ()
        failure = None
        for kind in self._settings.reflections:
            outcome = await self._reflect(kind, example, current, language)
            if isinstance(outcome, Rejected):
                failure = _failure(example, kind, outcome)
                break
            rewrites.append(outcome)
            current = outcome.version
            versions[_name_after(kind, versions)] = current
        if self._settings.score_after and not failure:
            critique = await self._way.criticise(example, current, language)
            after = () if isinstance(critique, Rejected) else critique  # a rewrite without it is a rewrite all the same
        return Recycled(
            id=example.id,
            language=language,
            versions=versions,
            rewrites=tuple(rewrites),
            after=after,
            failure=failure,
        )

    async def _reflect(
        self, kind: Reflection, example: Example, current: Version, language: Language
    ) -> Rewrite | Rejected:
        """One reflection; the best of several where candidates are asked for."""
        if self._settings.candidates == 1:
            return await self._way.reflect(kind, example, current, language, sample=0)
        asked = (
            self._way.reflect(kind, example, current, language, sample) for sample in range(self._settings.candidates)
        )
        settled = await asyncio.gather(*asked, return_exceptions=True)  # all of them: what is in flight is paid for
        outcomes = [outcome for outcome in settled if not isinstance(outcome, BaseException)]
        problems = [problem for problem in settled if isinstance(problem, BaseException)]
        if problems:  # one that stops the run before one that only puts the row off
            raise next((problem for problem in problems if not isinstance(problem, Stopped)), problems[0])
        rewrites = [outcome for outcome in outcomes if isinstance(outcome, Rewrite)]
        if len(rewrites) < 2:  # noqa: PLR2004 - there is a choice from two on
            return rewrites[0] if rewrites else outcomes[0]
        candidates = tuple(rewrite.version for rewrite in rewrites)
        ballot = await self._way.choose(example, current, candidates, language)
        if isinstance(ballot, Rejected):
            return ballot
        return rewrites[ballot.choice].model_copy(update={"ballot": ballot})


def way_name(oracle: Oracle, settings: RecycleSettings) -> Literal["structured", "dialogue"]:
    """The way in which an oracle is asked."""
    return settings.ask or ("dialogue" if oracle.dialogue else "structured")


def _make_way(engine: Engine, settings: RecycleSettings) -> Way:
    prompts = Prompts(settings.prompts)
    sampling = settings.sampling(engine.oracle.sampling)
    manner = Manner(engine, sampling, settings.retries)
    if way_name(engine.oracle, settings) == "dialogue":
        return Dialogue(manner, prompts)
    return Structured(manner, prompts)


def _name_after(kind: Reflection, versions: dict[VersionName, Version]) -> VersionName:
    if kind == "instruction":
        return "Q"
    return "QA" if "Q" in versions else "A"


def _failure(example: Example, stage: str, rejected: Rejected) -> Failure:
    raw = rejected.reply.text if rejected.reply else None
    return Failure(id=example.id, stage=stage, reason=rejected.reason, detail=rejected.detail, raw=raw)
