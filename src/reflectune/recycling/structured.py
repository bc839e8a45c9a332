"""The structured way: one request per reflection, one JSON value per reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import orjson

from reflectune.ask import Manner, Messages, ask_value
from reflectune.criteria import Choice, InstructionReflection, PairCritique, ResponseReflection
from reflectune.oracles.engine import Rejected, Unacceptable
from reflectune.prompts import Language, Prompts
from reflectune.quality import Rejection, check_instruction, check_response
from reflectune.records import Ballot, Example, Message, Reflection, Remark, Rewrite, Version


class Structured:
    """Asks for each reflection as one JSON value.

    Args:
        manner: How to ask.
        prompts: The rubrics.
    """

    REQUESTS: ClassVar[dict[str, int]] = {"instruction": 1, "response": 1, "beside": 1, "ballot": 1, "critique": 1}

    def __init__(self, manner: Manner, prompts: Prompts) -> None:
        self._manner = manner
        self._prompts = prompts

    async def reflect(
        self, kind: Reflection, example: Example, version: Version, language: Language, sample: int
    ) -> Rewrite | Rejected:
        """One reflection on a version of an example, or why there is none."""
        opening = self._opening(language, f"structured_{kind}.txt", shown(example, version))
        manner = self._manner_in(language, sample)
        if kind == "instruction":
            return await self._reflect_on_instruction(manner, opening, version)
        return await self._reflect_on_response(manner, opening, version)

    async def choose(
        self, example: Example, version: Version, candidates: tuple[Version, ...], language: Language
    ) -> Ballot | Rejected:
        """The oracle's choice between candidates."""
        numbered = [
            {"number": number, **candidate.model_dump(exclude_defaults=True)}
            for number, candidate in enumerate(candidates, 1)
        ]
        material = {"example": shown(example, version), "candidates": numbered}

        def check(choice: Choice) -> None:
            if choice.choice > len(candidates):
                raise Unacceptable("invalid", f"There is no candidate {choice.choice}.")

        opening = self._opening(language, "structured_ballot.txt", material)
        outcome, _ = await ask_value(self._manner_in(language), opening, Choice, check)
        if isinstance(outcome, Rejected):
            return outcome
        return Ballot(candidates=candidates, choice=outcome.value.choice - 1, reason=outcome.value.reason)

    async def criticise(self, example: Example, version: Version, language: Language) -> tuple[Remark, ...] | Rejected:
        """A critique of a version, without a rewrite."""
        opening = self._opening(language, "structured_critique.txt", shown(example, version))
        outcome, _ = await ask_value(self._manner_in(language), opening, PairCritique, lambda _: None)
        return outcome if isinstance(outcome, Rejected) else outcome.value.remarks()

    async def _reflect_on_instruction(self, manner: Manner, opening: Messages, old: Version) -> Rewrite | Rejected:
        def check(value: InstructionReflection) -> None:
            raise_if(check_instruction(value.instruction, old))
            raise_if(check_response(value.response, old, instruction=value.instruction))

        outcome, attempts = await ask_value(manner, opening, InstructionReflection, check)
        if isinstance(outcome, Rejected):
            return outcome
        value = outcome.value
        new = Version(instruction=value.instruction.strip(), response=value.response.strip())
        return Rewrite(kind="instruction", remarks=value.remarks(), link=value.link, version=new, attempts=attempts)

    async def _reflect_on_response(self, manner: Manner, opening: Messages, old: Version) -> Rewrite | Rejected:
        def check(value: ResponseReflection) -> None:
            raise_if(check_response(value.response, old))

        outcome, attempts = await ask_value(manner, opening, ResponseReflection, check)
        if isinstance(outcome, Rejected):
            return outcome
        new = old.model_copy(update={"response": outcome.value.response.strip()})
        return Rewrite(kind="response", remarks=outcome.value.remarks(), version=new, attempts=attempts)

    def _manner_in(self, language: Language, sample: int = 0) -> Manner:
        def again(opening: Messages, rejected: Sequence[Rejected]) -> Messages:
            """Each rejected reply stands in the conversation, and the reason after it."""
            turns = list(opening)
            for refused in rejected:
                if refused.reply is not None and refused.reply.text.strip():
                    turns.append(Message("assistant", refused.reply.text))
                told = self._prompts.reason(language, refused.reason)
                turns.append(Message("user", self._prompts.render(language, "structured_retry.txt", reason=told)))
            return tuple(turns)

        return replace(self._manner, again=again, sample=sample)

    def _opening(self, language: Language, rubric: str, material: dict[str, Any]) -> Messages:
        """The fixed rubric first and the row last, so that endpoints can cache the prefix."""
        row = orjson.dumps(material).decode()
        return Message("system", self._prompts.text(language, rubric)), Message("user", row)


def raise_if(rejection: Rejection | None) -> None:
    """Refuse a reply for what the quality rules found.

    Raises:
        Unacceptable: They found something.
    """
    if rejection is not None:
        raise Unacceptable(rejection.reason, rejection.detail)


def shown(example: Example, version: Version) -> dict[str, Any]:
    """A version of an example as the oracle sees it: what surrounds it first, empty parts left out."""
    parts = {
        "system": example.system,
        "history": example.history,
        "instruction": version.instruction,
        "input": version.input,
        "response": version.response,
    }
    return {name: part for name, part in parts.items() if part}
