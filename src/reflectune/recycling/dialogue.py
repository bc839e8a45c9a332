"""The dialogue way: one field per turn of short conversations in plain text, with worked examples as earlier turns.

A small model that loses its way in one large JSON value answers a short question well when it has seen three to six
answers to questions of the same kind. So each criterion, the link between the weaknesses, the new instruction and the
new response are asked for in conversations of their own. The worked examples are the same for every row, so that
prefix is cached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from reflectune.ask import Manner, Messages, ask_number, ask_text
from reflectune.criteria import INSTRUCTION_CRITERIA, RESPONSE_CRITERIA
from reflectune.oracles.engine import Answer, Rejected, Unacceptable
from reflectune.prompts import Language, Prompts
from reflectune.quality import Rejection, check_instruction, check_response
from reflectune.records import Ballot, Example, Message, Reflection, Remark, Reply, Rewrite, Version
from reflectune.recycling.structured import raise_if
from reflectune.recycling.worked import Bettered, leaked, worked_examples

T = TypeVar("T")

_HIGHEST_SCORE = 10
_HEAT_OF_A_RETRY = 0.25
_CRITERIA: dict[Reflection, tuple[str, ...]] = {"instruction": INSTRUCTION_CRITERIA, "response": RESPONSE_CRITERIA}
_BOTH: tuple[Reflection, ...] = ("instruction", "response")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of text that is asked for.

    Attributes:
        needs: The placeholders of its prompt.
        tokens: The most tokens, as a share of the oracle's.
        penalty: The repetition penalty, where the oracle has one; `None` for the oracle's own. A remark, and to a
            degree an instruction, has to use the words of the row again.
    """

    needs: tuple[str, ...]
    tokens: float = 1.0
    penalty: float | None = None


_KINDS = {
    "instruction_critique": _Kind(("task", "question"), 0.1, 1.0),
    "response_critique": _Kind(("task", "answer", "question"), 0.1, 1.0),
    "link": _Kind(("task", "answer"), 0.1, 1.0),
    "instruction": _Kind(("task", "weakness"), 0.25, 1.03),
    "answer": _Kind(("task",)),
    "response": _Kind(("task", "answer")),
    "ballot": _Kind(("task", "candidates"), 0.1, 1.0),
}


class _Stopped(Exception):  # noqa: N818 - carries a verdict out of a conversation
    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason)
        self.rejected = rejected


class Dialogue:
    """Asks for each reflection in short conversations.

    Args:
        manner: How to ask.
        prompts: The questions and the worked examples.
    """

    # A remark and a score for each criterion; then the link, the instruction and its answer, or the response. Beside an
    # instruction reflection on the same pair the remarks on the response are there: they are asked for once.
    REQUESTS: ClassVar[dict[str, int]] = {
        "instruction": 2 * len(INSTRUCTION_CRITERIA) + 2 * len(RESPONSE_CRITERIA) + 3,
        "response": 2 * len(RESPONSE_CRITERIA) + 1,
        "beside": 1,
        "ballot": 2,
        "critique": 2 * len(INSTRUCTION_CRITERIA) + 2 * len(RESPONSE_CRITERIA),
    }

    def __init__(self, manner: Manner, prompts: Prompts) -> None:
        self._manner = manner
        self._prompts = prompts

    async def reflect(
        self, kind: Reflection, example: Example, version: Version, language: Language, sample: int
    ) -> Rewrite | Rejected:
        """One reflection on a version of an example, or why there is none."""
        talk = _Talk(replace(self._manner, sample=sample), self._prompts, language, example, version)
        return await _or_rejected(talk.new_instruction() if kind == "instruction" else talk.new_response())

    async def choose(
        self, example: Example, version: Version, candidates: tuple[Version, ...], language: Language
    ) -> Ballot | Rejected:
        """The oracle's choice between candidates."""
        talk = _Talk(self._manner, self._prompts, language, example, version)
        return await _or_rejected(talk.choose(candidates))

    async def criticise(self, example: Example, version: Version, language: Language) -> tuple[Remark, ...] | Rejected:
        """A critique of a version, without a rewrite."""
        talk = _Talk(self._manner, self._prompts, language, example, version)
        return await _or_rejected(talk.criticise(_BOTH))


class _Talk:
    """The conversations about one version of one example."""

    def __init__(
        self, manner: Manner, prompts: Prompts, language: Language, example: Example, version: Version
    ) -> None:
        self._prompts = prompts
        self._language: Language = language
        self._version = version
        self._manner = replace(manner, again=self._again, heat=_HEAT_OF_A_RETRY)
        self._worked = worked_examples(prompts, language)
        self._earlier = _last_exchange(example)
        self._before = _conversation(example)
        self._facts = {"task": self._task(), "answer": version.response}

    async def new_instruction(self) -> Rewrite:
        """Criticise both halves, say how they hang together, write a new instruction and answer it."""
        remarks = await self.criticise(_BOTH)
        shown = self._worked.instruction + (self._worked.instruction_context if self._earlier else ())
        link, _ = await self._text("link", self._facts, [(example, example.weakness) for example in shown])
        better = [(example, example.better) for example in shown]
        facts = self._facts | {"weakness": link}
        short, tries = await self._text("instruction", facts, better, self._judge_instruction)
        instruction = self._with_input(short)
        judge = partial(self._judge_response, instruction=instruction)
        response, more_tries = await self._text("answer", {"task": instruction}, judge=judge)
        new = Version(instruction=instruction, response=response)
        return Rewrite(kind="instruction", remarks=remarks, link=link, version=new, attempts=max(tries, more_tries))

    async def new_response(self) -> Rewrite:
        """Criticise the response and write a better one."""
        remarks = await self.criticise(("response",))
        response, tries = await self._text("response", self._facts, judge=self._judge_response)
        new = self._version.model_copy(update={"response": response})
        return Rewrite(kind="response", remarks=remarks, version=new, attempts=tries)

    async def criticise(self, subjects: Iterable[Reflection]) -> tuple[Remark, ...]:
        """A remark and a score for each criterion of the subjects, one after the other."""
        return tuple([await self._remark(subject, name) for subject in subjects for name in _CRITERIA[subject]])

    async def choose(self, candidates: tuple[Version, ...]) -> Ballot:
        """Say which candidate is best: the reason first, then its number."""
        listed = "\n\n".join(
            f"{number}. {version.instruction}\n{version.response}" for number, version in enumerate(candidates, 1)
        )
        opening = (self._system("ballot"), self._user("ballot", self._facts | {"candidates": listed}))
        reason = await self._sentence("ballot", opening)
        asked = (*opening, Message("assistant", reason), self._plain("choice"))
        choice = _taken(await ask_number(self._manner, asked, len(candidates)))
        return Ballot(candidates=candidates, choice=choice - 1, reason=reason)

    async def _remark(self, subject: Reflection, criterion: str) -> Remark:
        """One sentence on a criterion, then its score."""
        name = f"{subject}_critique"
        shown = self._worked.instruction_critique if subject == "instruction" else self._worked.response_critique
        turns = [self._system(name)]
        for judged in shown:
            facts = judged.model_dump() | {"question": self._question(subject, judged.criterion)}
            turns += [self._user(name, facts), Message("assistant", judged.remark)]
            turns += [self._plain("score"), Message("assistant", str(judged.score))]
        turns.append(self._user(name, self._facts | {"question": self._question(subject, criterion)}))
        remark = await self._sentence(name, turns)
        turns += [Message("assistant", remark), self._plain("score")]
        score = _taken(await ask_number(self._manner_for(name), turns, _HIGHEST_SCORE))
        return Remark(subject=subject, criterion=criterion, remark=remark, score=score)

    async def _sentence(self, name: str, turns: Sequence[Message]) -> str:
        """One sentence, which a limit on its length may break off."""

        def check(text: str, _: Reply) -> None:
            if not text:
                raise Unacceptable("empty", "The reply holds nothing to read.")

        outcome, _ = await ask_text(self._manner_for(name), turns, check)
        return _taken(outcome)

    async def _text(
        self,
        name: str,
        facts: Mapping[str, str],
        shown: Sequence[tuple[Bettered, str]] = (),
        judge: Callable[[str, Reply], Rejection | None] | None = None,
    ) -> tuple[str, int]:
        """One text, after worked examples of its kind where there are any, and how many replies it took."""
        turns = [self._system(name)] if shown else list(self._before)
        for example, reply in shown:
            turns += [self._user(name, example.model_dump()), Message("assistant", reply)]
        turns.append(self._user(name, facts))
        if judge is None:
            return await self._sentence(name, turns), 1

        def check(text: str, reply: Reply) -> None:
            raise_if(judge(text, reply))

        outcome, tries = await ask_text(self._manner_for(name), turns, check)
        return _taken(outcome), tries

    def _judge_instruction(self, text: str, reply: Reply) -> Rejection | None:
        found = check_instruction(text, self._version, finish_reason=reply.finish_reason)
        return found or leaked(text, self._worked, row="\n".join(self._facts.values()))

    def _judge_response(self, text: str, reply: Reply, instruction: str | None = None) -> Rejection | None:
        return check_response(text, self._version, instruction=instruction, finish_reason=reply.finish_reason)

    def _manner_for(self, name: str) -> Manner:
        kind, own = _KINDS[name], self._manner.sampling
        has_penalty = own.repetition_penalty is not None and kind.penalty is not None
        sampling = replace(
            own,
            max_tokens=max(1, round(own.max_tokens * kind.tokens)),
            repetition_penalty=kind.penalty if has_penalty else own.repetition_penalty,
        )
        return replace(self._manner, sampling=sampling)

    def _again(self, opening: Messages, rejected: Sequence[Rejected]) -> Messages:
        """The same conversation with the last reason before its question.

        The rejected text is left out: a small model would go on in its vein.
        """
        told = self._prompts.reason(self._language, rejected[-1].reason)
        values = {"reason": told, "question": opening[-1].content}
        return (*opening[:-1], Message("user", self._prompts.render(self._language, "dialogue_retry.txt", **values)))

    def _system(self, name: str) -> Message:
        return Message("system", self._prompts.text(self._language, f"dialogue_{name}_system.txt"))

    def _user(self, name: str, facts: Mapping[str, Any]) -> Message:
        values = {need: facts[need] for need in _KINDS[name].needs}
        return Message("user", self._prompts.render(self._language, f"dialogue_{name}_ask.txt", **values))

    def _plain(self, name: str) -> Message:
        return Message("user", self._prompts.text(self._language, f"dialogue_{name}_ask.txt"))

    def _question(self, subject: Reflection, criterion: str) -> str:
        return self._prompts.table(self._language, "dialogue_questions.yaml")[f"{subject}_{criterion}"]

    def _task(self) -> str:
        """The instruction with its input, after the exchange that led to it."""
        version = self._version
        task = f"{version.instruction}\n{version.input}" if version.input else version.instruction
        if self._earlier is None:
            return task
        question, answer = self._earlier
        context = self._prompts.render(self._language, "dialogue_context.txt", question=question, answer=answer)
        return f"{context}\n{task}"

    def _with_input(self, instruction: str) -> str:
        """A new instruction with the input that it works on, where that did not find its way into it."""
        given = self._version.input.strip()
        missing = given and given.casefold() not in instruction.casefold()
        return f"{instruction}\n\n{given}" if missing else instruction


def _conversation(example: Example) -> list[Message]:
    """The system prompt and the earlier turns of a row: a response is asked for as their continuation."""
    system = [Message("system", example.system)] if example.system else []
    return [*system, *(turn for turn in example.history if turn.role in ("user", "assistant"))]


def _last_exchange(example: Example) -> tuple[str, str] | None:
    """The question and the answer before this one; a small model is not shown more."""
    said = [turn for turn in example.history if turn.role in ("user", "assistant")]
    if len(said) < 2 or (said[-2].role, said[-1].role) != ("user", "assistant"):  # noqa: PLR2004 - a pair
        return None
    return said[-2].content, said[-1].content


async def _or_rejected(talk: Awaitable[T]) -> T | Rejected:
    """What a conversation came to, or the reply at which it stopped."""
    try:
        return await talk
    except _Stopped as stopped:
        return stopped.rejected


def _taken(outcome: Answer[T] | Rejected) -> T:
    if isinstance(outcome, Rejected):
        raise _Stopped(outcome)
    return outcome.value
