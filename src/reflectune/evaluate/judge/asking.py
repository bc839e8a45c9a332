"""Ask a judge: as one JSON value, or one field per turn of a conversation.

In both ways the judge criticises both answers first and scores them then, sees the input field, does not see the
models' names, and gives the same typed look. The answers are data: in the structured way they are strings of a JSON
value, in a dialogue every line of them is quoted with `>`, so that none can pretend to end, and they are put into the
prompt in one pass. Nothing is parsed out of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

from reflectune.ask import Manner, Messages, ask_number, ask_text, ask_value
from reflectune.criteria import Score
from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.verdicts import CRITERIA, Look, Marks, Order
from reflectune.oracles.engine import Answer, Rejected, Unacceptable
from reflectune.prompts import Language, Prompts
from reflectune.records import Message, Reply

T = TypeVar("T")

_HIGHEST = 10
_REMARK_TOKENS = 24
_HEAT_OF_A_RETRY = 0.25


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerScores(_Typed):
    """The scores of one answer."""

    helpfulness: Score
    relevance: Score
    accuracy: Score
    detail: Score
    overall: Score


class Judgement(_Typed):
    """What a judge replies: a critique of each answer, then the scores of each."""

    first_critique: str
    second_critique: str
    first: AnswerScores
    second: AnswerScores


class Structured:
    """Asks for a look as one JSON value.

    Args:
        manner: How to ask.
        prompts: The rubric.
    """

    REQUESTS: ClassVar[int] = 1

    def __init__(self, manner: Manner, prompts: Prompts) -> None:
        self._manner = manner
        self._prompts = prompts

    async def look(self, pair: Pair, order: Order, language: Language) -> Look | Rejected:
        """A look at a pair in one order, or why there is none."""

        def again(opening: Messages, rejected: Sequence[Rejected]) -> Messages:
            turns = list(opening)
            for refused in rejected:
                if refused.reply is not None and refused.reply.text.strip():
                    turns.append(Message("assistant", refused.reply.text))
                told = self._prompts.reason(language, refused.reason)
                turns.append(Message("user", self._prompts.render(language, "judge_retry.txt", reason=told)))
            return tuple(turns)

        rubric = Message("system", self._prompts.text(language, "judge_structured.txt"))
        opening = (rubric, Message("user", orjson.dumps(shown(pair, order)).decode()))
        outcome, _ = await ask_value(replace(self._manner, again=again), opening, Judgement, lambda _: None)
        if isinstance(outcome, Rejected):
            return outcome
        said = outcome.value
        marks = [
            Marks(remark=remark, **scores.model_dump())
            for remark, scores in ((said.first_critique, said.first), (said.second_critique, said.second))
        ]
        return _look(order, marks, [outcome.reply.text])


class Dialogue:
    """Asks for a look in one conversation: a short remark on each answer, then each score as a turn of its own.

    A score takes a token or two, and everything before it is in the model's prefix cache.

    Args:
        manner: How to ask.
        prompts: The questions.
    """

    REQUESTS: ClassVar[int] = 2 + 2 * (len(CRITERIA) + 1)

    def __init__(self, manner: Manner, prompts: Prompts) -> None:
        # A penalty on repetition would keep a judge from giving the same score twice.
        penalty = None if manner.sampling.repetition_penalty is None else 1.0
        sampling = replace(manner.sampling, repetition_penalty=penalty)
        self._manner = replace(manner, sampling=sampling, heat=_HEAT_OF_A_RETRY)
        self._prompts = prompts

    async def look(self, pair: Pair, order: Order, language: Language) -> Look | Rejected:
        """A look at a pair in one order, or the reply at which the conversation came to its end."""
        talk = _Talk(self._manner, self._prompts, language)
        try:
            remarks = [await talk.remark(number, pair, order) for number in (1, 2)]
            scores = [{name: await talk.score(number, name) for name in (*CRITERIA, "overall")} for number in (1, 2)]
        except _Stopped as stopped:
            return stopped.rejected
        marks = [Marks.model_validate({"remark": said, **given}) for said, given in zip(remarks, scores, strict=True)]
        return _look(order, marks, talk.said)


class _Stopped(Exception):  # noqa: N818 - carries a verdict out of a conversation
    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


@dataclass(slots=True)
class _Talk:
    """A conversation about one pair in one order.

    Attributes:
        manner: How to ask.
        prompts: The questions.
        language: Which of them.
        turns: What was said so far.
        said: The judge's part of it.
    """

    manner: Manner
    prompts: Prompts
    language: Language
    turns: list[Message] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def remark(self, number: int, pair: Pair, order: Order) -> str:
        """A sentence on one of the answers, which a limit on its length may break off."""
        question = self.prompts.table(self.language, "judge_dialogue.yaml")[f"remark_{number}"]
        if not self.turns:
            first, second = _in_order(pair, order)
            facts = {"task": _quoted(_task(pair)), "first": _quoted(first), "second": _quoted(second)}
            facts["question"] = question
            question = self.prompts.render(self.language, "judge_dialogue_task.txt", **facts)
            self.turns.append(Message("system", self.prompts.text(self.language, "judge_dialogue_system.txt")))
        self.turns.append(Message("user", question))

        def check(text: str, _: Reply) -> None:
            if not text:
                raise Unacceptable("empty", "The reply holds nothing to read.")

        sampling = replace(self.manner.sampling, max_tokens=min(_REMARK_TOKENS, self.manner.sampling.max_tokens))
        outcome, _ = await ask_text(replace(self.manner, again=self._again, sampling=sampling), self.turns, check)
        return self._taken(outcome)

    async def score(self, number: int, name: str) -> int:
        """A score of one of the answers."""
        question = self.prompts.table(self.language, "judge_dialogue.yaml")[name]
        facts = {"number": str(number), "question": question}
        self.turns.append(Message("user", self.prompts.render(self.language, "judge_dialogue_score.txt", **facts)))
        return self._taken(await ask_number(replace(self.manner, again=self._again), self.turns, _HIGHEST))

    def _taken(self, outcome: Answer[T] | Rejected) -> T:
        if isinstance(outcome, Rejected):
            raise _Stopped(outcome)
        self.said.append(outcome.reply.text)
        self.turns.append(Message("assistant", str(outcome.value)))
        return outcome.value

    def _again(self, opening: Messages, rejected: Sequence[Rejected]) -> Messages:
        """The same conversation with the last reason before its question; a small model would copy what was wrong."""
        told = self.prompts.reason(self.language, rejected[-1].reason)
        values = {"reason": told, "question": opening[-1].content}
        return (*opening[:-1], Message("user", self.prompts.render(self.language, "dialogue_retry.txt", **values)))


def shown(pair: Pair, order: Order) -> dict[str, Any]:
    """A pair as a judge sees it: what surrounds the question first, empty parts left out, and both answers."""
    question = pair.question
    parts = {
        "system": question.system,
        "history": question.history,
        "instruction": question.instruction,
        "input": question.input,
    }
    first, second = _in_order(pair, order)
    return {name: part for name, part in parts.items() if part} | {"first": first, "second": second}


def _in_order(pair: Pair, order: Order) -> tuple[str, str]:
    return (pair.a, pair.b) if order == "a-first" else (pair.b, pair.a)


def _task(pair: Pair) -> str:
    question = pair.question
    before = [question.system] if question.system else []
    before += [f"{turn.role}: {turn.content}" for turn in question.history]
    return "\n\n".join([*before, question.question])


def _quoted(text: str) -> str:
    """A text with a mark before each line, whatever ends a line in it."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines() or [""])


def _look(order: Order, marks: Sequence[Marks], raw: Sequence[str]) -> Look:
    first, second = marks
    a, b = (first, second) if order == "a-first" else (second, first)
    return Look(order=order, a=a, b=b, raw=tuple(raw))
