"""Recycle: an oracle criticises each pair and rewrites first the instruction, then the response.

Source: Reflection-Tuning (arXiv 2310.11716). The instruction reflection makes a new instruction with its answer
(version Q); the response reflection betters the answer of the pair as it then stands (QA), or of the original pair
where only responses are recycled (A). Selective Reflection-Tuning (arXiv 2402.10110) makes both, or the one whose
instruction the student learns more from.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from reflectune.ask import Manner
from reflectune.errors import SettingsError
from reflectune.language import prompt_language
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine, Rejected, Stopped
from reflectune.prompts import Language, Prompts
from reflectune.recipe import RecycleSettings
from reflectune.records import (
    Ballot,
    Example,
    Failure,
    Record,
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

__all__ = [
    "STAGE",
    "Chooser",
    "Way",
    "fingerprint",
    "prompts_hash",
    "recycle",
    "requests_at_once",
    "requests_per_row",
    "waves_per_row",
    "way_name",
    "way_of",
]

STAGE = "recycle"
_CHOICE = "choice"

T = TypeVar("T")


class Chooser(Protocol):
    """Says which instruction a student learns more from."""

    @property
    def fingerprint(self) -> str:
        """What its choices depend on besides the two versions."""
        ...

    async def takes_new(self, example: Example, old: Version, new: Version) -> bool | Rejected:
        """Whether the student takes the new instruction, or why that cannot be said."""
        ...


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
    examples: Iterable[Example],
    engine: Engine,
    settings: RecycleSettings | None = None,
    chooser: Chooser | None = None,
) -> AsyncGenerator[Recycled]:
    """Recycle examples, and yield what became of each as it lands.

    Every example comes out once, rewritten or with its failure. What the engine's store already has is not asked again.

    Args:
        examples: Taken one by one, so that there may be more than fit in memory.
        engine: Asks the oracle.
        settings: What to ask for.
        chooser: Chooses between the old instruction and the new one, where the settings say so.

    Raises:
        OracleError: The oracle cannot be used at all.
        SettingsError: A prompt file does not fit, or the chooser is missing.
    """
    method = _Method(engine, settings or RecycleSettings(), chooser)
    async with aclosing(engine.work(examples, method.recycle)) as results:
        async for recycled in results:
            yield recycled


def fingerprint(oracle: Oracle, settings: RecycleSettings, chooser: Chooser | None = None) -> str:
    """What a row's result depends on besides the row: the oracle, the settings, the prompts' wording, the chooser."""
    asked = settings.model_dump(mode="json", exclude={"prompts"})
    chosen = [chooser.fingerprint] if chooser and settings.versions == "chosen" else []
    return digest([oracle.name, asked, prompts_hash(oracle, settings), *chosen]) + ":"


def prompts_hash(oracle: Oracle, settings: RecycleSettings) -> str:
    """A hash of the wording of every prompt that rows are recycled with."""
    return Prompts(settings.prompts).hash(f"{way_name(oracle, settings)}_", "reasons")


def requests_per_row(settings: RecycleSettings, *, dialogue: bool) -> int:
    """How many requests a row takes when no reply is rejected.

    Where the student chooses, it is the most: in a dialogue the old instruction takes fewer.
    """
    way = Dialogue if dialogue else Structured
    reflections = [*settings.reflections, *(("beside",) if settings.versions == "all" else ())]
    ballot = way.REQUESTS["ballot"] if settings.candidates > 1 else 0
    asked = sum(way.REQUESTS[kind] * settings.candidates + ballot for kind in reflections)
    return asked + settings.score_after * way.REQUESTS["critique"]


def requests_at_once(settings: RecycleSettings) -> int:
    """How many requests a row begins with, in the structured way."""
    return settings.candidates * (2 if settings.versions == "all" else 1)


def waves_per_row(settings: RecycleSettings, *, dialogue: bool = False) -> int:
    """How many replies a row waits for, one after the other, when none is rejected.

    Candidates, and the better response to the old instruction where all versions are made, are asked for beside others.
    """
    way = Dialogue if dialogue else Structured
    ballot = way.REQUESTS["ballot"] if settings.candidates > 1 else 0
    reflections = sum(way.REQUESTS[kind] + ballot for kind in settings.reflections)
    return reflections + settings.score_after * way.REQUESTS["critique"]


@dataclass(frozen=True, slots=True)
class _Row:
    example: Example
    language: Language


class _Choice(Record):
    """What the student chose.

    Attributes:
        takes_new: Whether it takes the new instruction.
    """

    takes_new: bool


class _Method:
    def __init__(self, engine: Engine, settings: RecycleSettings, chooser: Chooser | None) -> None:
        if settings.versions == "chosen" and chooser is None:
            raise SettingsError(
                "There is no student that could choose between versions.",
                mend="Name one with --student, or let versions be reflected or all.",
            )
        self._engine = engine
        self._store = engine.store
        self._settings = settings
        self._chooser = chooser if settings.versions == "chosen" else None
        self._fingerprint = fingerprint(engine.oracle, settings, chooser)
        self._way = way_of(engine, settings)

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
        row = _Row(example, self._settings.lang or prompt_language(example.question))
        steps = await self._steps(row)
        rewrites = [step for step in steps if isinstance(step, Rewrite)]
        made: dict[VersionName, Version] = {rewrite.makes: rewrite.version for rewrite in rewrites}
        recycled = Recycled(
            id=example.id,
            language=row.language,
            versions={"original": example.version, **made},
            rewrites=tuple(rewrites),
            failure=next((step for step in steps if isinstance(step, Failure)), None),
        )
        if recycled.failure or not self._settings.score_after:
            return recycled
        critique = await self._way.criticise(example, recycled.best, row.language)
        if isinstance(critique, Rejected):  # a rewrite without it is a rewrite all the same
            return recycled
        return recycled.model_copy(update={"after": critique})

    async def _steps(self, row: _Row) -> list[Rewrite | Failure]:
        """What every reflection that was asked for came to: Q, then A, then QA."""
        if self._settings.versions == "all":
            (question, *better), [answer] = await _all_of(self._in_turn(row), self._only("response", row))
            return [question, answer, *better]
        if self._settings.reflect == "both":
            return await self._in_turn(row)
        return await self._only(self._settings.reflect, row)

    async def _in_turn(self, row: _Row) -> list[Rewrite | Failure]:
        """A new instruction, then a better response to it; to the old one, if that is what the student takes."""
        [made] = await self._only("instruction", row)
        if isinstance(made, Failure):
            return [made]
        takes_new = await self._choice(row.example, made.version)
        if isinstance(takes_new, Failure):
            return [made, takes_new]
        if not takes_new:
            return [made, *await self._only("response", row)]
        return [made, await self._reflect("response", row, made.makes, made.version)]

    async def _only(self, kind: Reflection, row: _Row) -> list[Rewrite | Failure]:
        """One reflection, on the original."""
        return [await self._reflect(kind, row, "original", row.example.version)]

    async def _choice(self, example: Example, new: Version) -> bool | Failure:
        """Whether the row goes on with its new instruction. The chooser is asked once, however often a row is begun."""
        if self._chooser is None:
            return True
        mark = digest([self._chooser.fingerprint, example.content_hash(), new.model_dump()])
        known = self._store.result(_CHOICE, example.id, mark)
        if known is not None:
            return _Choice.model_validate_json(known).takes_new
        if self._engine.stopping:  # it would take the student's time, and then need a reply that is not asked for
            raise Stopped
        takes_new = await self._chooser.takes_new(example, example.version, new)
        if isinstance(takes_new, Rejected):
            return _failure(example, _CHOICE, takes_new)
        body = _Choice(takes_new=takes_new).model_dump_json().encode()
        await self._store.keep_result(_CHOICE, example.id, mark, body, failed=None)
        return takes_new

    async def _reflect(self, kind: Reflection, row: _Row, of: VersionName, version: Version) -> Rewrite | Failure:
        """One reflection on a version of a row, or why there is none."""
        outcome = await self._best_reflection(kind, row, version)
        if isinstance(outcome, Rejected):
            return _failure(row.example, kind, outcome)
        return outcome.model_copy(update={"of": of})

    async def _best_reflection(self, kind: Reflection, row: _Row, current: Version) -> Rewrite | Rejected:
        """One reflection; the best of several where candidates are asked for."""
        example, language, count = row.example, row.language, self._settings.candidates
        if count == 1:
            return await self._way.reflect(kind, example, current, language, sample=0)
        asked = (self._way.reflect(kind, example, current, language, sample) for sample in range(count))
        outcomes = await _all_of(*asked)
        rewrites = [outcome for outcome in outcomes if isinstance(outcome, Rewrite)]
        if len(rewrites) < 2:  # noqa: PLR2004 - there is a choice from two on
            return rewrites[0] if rewrites else outcomes[0]
        candidates = tuple(rewrite.version for rewrite in rewrites)
        ballot = await self._way.choose(example, current, candidates, language)
        if isinstance(ballot, Rejected):
            return ballot
        return rewrites[ballot.choice].model_copy(update={"ballot": ballot})


async def _all_of(*asked: Awaitable[T]) -> list[T]:
    """What all of them came to. One that raises ends none of the others: what is in flight is paid for."""
    settled = await asyncio.gather(*asked, return_exceptions=True)
    problems = [problem for problem in settled if isinstance(problem, BaseException)]
    if problems:  # one that stops the run before one that only puts the row off
        raise next((problem for problem in problems if not isinstance(problem, Stopped)), problems[0])
    return [outcome for outcome in settled if not isinstance(outcome, BaseException)]


def way_name(oracle: Oracle, settings: RecycleSettings) -> Literal["structured", "dialogue"]:
    """The way in which an oracle is asked."""
    return settings.ask or ("dialogue" if oracle.dialogue else "structured")


def way_of(engine: Engine, settings: RecycleSettings) -> Way:
    """The way in which an engine's oracle is asked."""
    prompts = Prompts(settings.prompts)
    sampling = settings.sampling(engine.oracle.sampling)
    manner = Manner(engine, sampling, settings.retries)
    if way_name(engine.oracle, settings) == "dialogue":
        return Dialogue(manner, prompts)
    return Structured(manner, prompts)


def _failure(example: Example, stage: str, rejected: Rejected) -> Failure:
    raw = rejected.reply.text if rejected.reply else None
    return Failure(id=example.id, stage=stage, reason=rejected.reason, detail=rejected.detail, raw=raw)
