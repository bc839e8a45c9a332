"""A model's own mistakes: several samples of each question, of which the wrong ones are corrected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from pydantic import Field

from reflectune.answers.rules import is_answer, is_right
from reflectune.ask import ask_text, refuse_unfinished
from reflectune.oracles.engine import Rejected, Stopped, Unacceptable
from reflectune.records import Failure, Message, Record, Reply
from reflectune.traces.asker import Asker, refused
from reflectune.traces.questions import Question
from reflectune.traces.trace import Draft, Piece, failed
from reflectune.traces.wording import corrected

T = TypeVar("T")

_NO_ANSWER = "The answer is more than the answer alone, so that it cannot be checked."


class Sample(Record):
    """A model's answer to a question.

    Attributes:
        reasoning: What leads to the answer.
        answer: The answer alone.
    """

    reasoning: str = Field(min_length=1)
    answer: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Makes drafts of a model's own samples.

    Attributes:
        asker: Asks the model.
    """

    asker: Asker

    async def draft(self, question: Question, rng: Random, *, clean: bool) -> Draft | Failure:
        """A draft of a question.

        A wrong sample is corrected by the worked solution, or by a right sample where there is none. Where no sample is
        wrong, or the question is to stay clean and one is right, that stands by itself.

        Args:
            question: What is asked.
            rng: What draws the words of the correction.
            clean: Whether the question is to be answered without a mistake.
        """
        if question.answer is None:
            return failed(question, "no-answer", "nobody knows its answer, so that no sample is known to be wrong")
        outcomes = await all_of(self._sample(question, number) for number in range(self.asker.settings.samples))
        samples = [outcome for outcome in outcomes if isinstance(outcome, Sample)]
        if not samples:
            return next(outcome for outcome in outcomes if isinstance(outcome, Failure))
        right = [sample for sample in samples if is_right(question.form, question.answer, sample.answer)]
        wrong = [sample for sample in samples if sample not in right]
        if right and (clean or not wrong):
            if not clean:
                detail = f"all of {len(samples)} samples are right, and it is not among those that stay clean"
                return failed(question, "no-mistake", detail, raw=right[0].reasoning)
            return Draft(question, (Piece(right[0].reasoning),), question.answer, "clean")
        return _corrected(question, wrong[0], _solution(question, right), rng)

    async def _sample(self, question: Question, number: int) -> Sample | Failure:
        def check(sample: Sample) -> None:
            if not is_answer(question.form, sample.answer):
                raise Unacceptable("no-answer", _NO_ANSWER)

        if not self.asker.engine.oracle.dialogue:
            return await self.asker.value(question, "trace_sample.txt", Sample, check, sample=number)
        return await self._talk(question, number)

    async def _talk(self, question: Question, number: int) -> Sample | Failure:
        """A sample in two turns of plain text: the reasoning, then the answer alone."""
        language, prompts = self.asker.language(question), self.asker.prompts
        form = prompts.table(language, "trace_answers.yaml")[question.form]
        manner = self.asker.plainly(language, number)
        turns = [Message("system", prompts.text(language, "trace_talk_system.txt")), Message("user", question.text)]
        reasoning, _ = await ask_text(manner, turns, _whole)
        if isinstance(reasoning, Rejected):
            return refused(question, reasoning)
        told = prompts.render(language, "trace_talk_answer.txt", answer=form)
        turns += [Message("assistant", reasoning.value), Message("user", told)]

        def check(text: str, reply: Reply) -> None:
            _whole(text, reply)
            if not is_answer(question.form, text):
                raise Unacceptable("no-answer", _NO_ANSWER)

        answer, _ = await ask_text(manner, turns, check)
        if isinstance(answer, Rejected):
            return refused(question, answer)
        return Sample(reasoning=reasoning.value, answer=answer.value)


async def all_of(asked: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them came to. One that raises ends none of the others: what is in flight is paid for."""
    settled = await asyncio.gather(*asked, return_exceptions=True)
    problems = [problem for problem in settled if isinstance(problem, BaseException)]
    if problems:  # one that stops the run before one that only puts the row off
        raise next((problem for problem in problems if not isinstance(problem, Stopped)), problems[0])
    return [outcome for outcome in settled if not isinstance(outcome, BaseException)]


def _solution(question: Question, right: list[Sample]) -> str:
    """What corrects a wrong sample; nothing where nobody knows."""
    if question.steps:
        return "\n".join(step.text for step in question.steps)
    return right[0].reasoning if right else ""


def _corrected(question: Question, wrong: Sample, solution: str, rng: Random) -> Draft | Failure:
    if not solution:
        detail = "it has no worked solution, and no sample is right that could correct the wrong ones"
        return failed(question, "no-solution", detail, raw=wrong.reasoning)
    reflection = corrected("own", rng, wrong=wrong.answer.strip(), step=solution)
    pieces = (Piece(wrong.reasoning, "mistake"), Piece(reflection, "correction"))
    return Draft(question, pieces, question.answer or "", "own")


def _whole(text: str, reply: Reply) -> None:
    """Refuse a reply that is empty or cut off.

    Raises:
        Unacceptable: It is.
    """
    refuse_unfinished(reply)
    if not text:
        raise Unacceptable("empty", "The reply was empty.")
