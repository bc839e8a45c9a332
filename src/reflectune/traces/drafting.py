"""An oracle's own mistakes: it drafts an answer, criticises the draft, corrects it, and checks the correction."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from pydantic import Field

from reflectune.oracles.engine import Unacceptable
from reflectune.records import Failure, Record
from reflectune.traces.asker import Asker
from reflectune.traces.questions import Question
from reflectune.traces.trace import Draft, Piece, failed

REQUESTS = 4
"""A draft, a critique, a correction and a check."""


class Answered(Record):
    """A first answer.

    Attributes:
        reasoning: What leads to it.
        answer: The answer alone.
    """

    reasoning: str = Field(min_length=1)
    answer: str = Field(min_length=1)


class Critique(Record):
    """What is wrong with a draft.

    Attributes:
        remark: What the oracle thinks of it.
        sound: Whether nothing in it is wrong.
        passage: The first passage of the reasoning that is wrong, word by word; empty where it is sound.
    """

    remark: str
    sound: bool
    passage: str


class Correction(Record):
    """A draft as it should have gone on.

    Attributes:
        reflection: What was wrong with the passage, and what is right in its place.
        rest: The rest of the reasoning, from there on; may be empty.
        answer: The answer alone.
    """

    reflection: str = Field(min_length=1)
    rest: str
    answer: str = Field(min_length=1)


class Verdict(Record):
    """What a check finds.

    Attributes:
        remark: What the oracle thinks.
        passage_is_wrong: Whether the passage that was corrected was wrong at all; true where there is none.
        answer_is_right: Whether the answer is right and complete.
    """

    remark: str
    passage_is_wrong: bool
    answer_is_right: bool


@dataclass(frozen=True, slots=True)
class Drafting:
    """Makes drafts that an oracle wrote and corrected.

    Attributes:
        asker: Asks the oracle.
    """

    asker: Asker

    async def draft(self, question: Question, rng: Random, *, clean: bool) -> Draft | Failure:  # noqa: ARG002
        """A draft of a question: with a reflection where the oracle found something wrong, else clean.

        Args:
            question: What is asked.
            rng: Not needed: the words are the oracle's.
            clean: Whether a sound draft is kept, without a mistake.
        """
        first = await self.asker.value(question, "trace_draft.txt", Answered)
        if isinstance(first, Failure):
            return first
        critique = await self._critique(question, first)
        if isinstance(critique, Failure):
            return critique
        if critique.sound and not clean:
            detail = "its draft is sound, and it is not among those that stay clean"
            return failed(question, "no-mistake", detail, raw=first.reasoning)
        if critique.sound:
            pieces = (Piece(first.reasoning),)
            return await self._checked(Draft(question, pieces, first.answer, "clean", checked=_checks(question)))
        correction = await self.asker.value(
            question, "trace_correction.txt", Correction, draft=first.model_dump(), critique=critique.model_dump()
        )
        return (
            correction
            if isinstance(correction, Failure)
            else await self._checked(_corrected(question, first, critique, correction))
        )

    async def _critique(self, question: Question, first: Answered) -> Critique | Failure:
        def check(critique: Critique) -> None:
            passage = critique.passage.strip()
            if not critique.sound and not (passage and passage in first.reasoning):
                raise Unacceptable("passage", "The passage does not stand in the reasoning word by word.")

        return await self.asker.value(question, "trace_critique.txt", Critique, check, draft=first.model_dump())

    async def _checked(self, draft: Draft) -> Draft | Failure:
        """The draft, unless a last look finds that its mistake was none or that its answer is wrong."""
        reasoning = [{"part": piece.role, "text": piece.text} for piece in draft.pieces]
        verdict = await self.asker.value(
            draft.question, "trace_check.txt", Verdict, reasoning=reasoning, answer=draft.answer
        )
        if isinstance(verdict, Failure):
            return verdict
        if draft.kind == "oracle" and not verdict.passage_is_wrong:
            return failed(draft.question, "right-step", f"what it corrects was right: {verdict.remark}", draft)
        if not verdict.answer_is_right:
            return failed(draft.question, "wrong-answer", f"its answer is not right: {verdict.remark}", draft)
        return draft


def _corrected(question: Question, first: Answered, critique: Critique, correction: Correction) -> Draft:
    """The draft up to the wrong passage, and what follows from its correction."""
    passage = critique.passage.strip()
    before = first.reasoning.partition(passage)[0].strip()
    pieces = (
        Piece(before),
        Piece(passage, "mistake"),
        Piece(correction.reflection, "correction"),
        Piece(correction.rest.strip()),
    )
    return Draft(
        question,
        tuple(piece for piece in pieces if piece.text),
        correction.answer,
        "oracle",
        checked=_checks(question),
    )


def _checks(question: Question) -> Literal["rule", "oracle"]:
    return "oracle" if question.answer is None else "rule"
