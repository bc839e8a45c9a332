"""A critique of an answer and its revision, by the criteria that responses are recycled with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydantic import ValidationError

from reflectune.criteria import ResponseReflection
from reflectune.inference.talk import Talk
from reflectune.oracles.engine import Rejected
from reflectune.oracles.replies import json_text
from reflectune.records import Remark
from reflectune.recycling import Way

__all__ = ["Critique", "critique"]


@dataclass(frozen=True, slots=True)
class Critique:
    """What is said of an answer.

    Attributes:
        text: The critique in plain words, and what becomes of the revision where that is not kept.
        revision: The revised answer; `None` where the draft stays.
    """

    text: str
    revision: str | None


async def critique(talk: Talk, way: Way, draft: str) -> Critique:
    """Have the model criticise and revise an answer.

    Args:
        talk: The question.
        way: How it is asked.
        draft: The answer.

    Raises:
        OracleError: The oracle cannot be used at all.
    """
    example = replace(talk.example, response=draft)
    outcome = await way.reflect("response", example, example.version, talk.language, talk.sample)
    if not isinstance(outcome, Rejected):
        return Critique(_in_words(talk, outcome.remarks), outcome.version.response)
    fate = talk.words("same") if outcome.reason == "copy" else talk.words("kept", reason=outcome.detail)
    return Critique("\n\n".join(filter(None, (_in_words(talk, _remarks(outcome)), fate))), None)


def _in_words(talk: Talk, remarks: Iterable[Remark]) -> str:
    return "\n".join(
        talk.words(
            "remark", criterion=talk.words(remark.criterion), score=str(remark.score), remark=remark.remark.strip()
        )
        for remark in remarks
    )


def _remarks(rejected: Rejected) -> tuple[Remark, ...]:
    """The critique in a reply whose revision was turned down, where it can be read."""
    if rejected.reply is None:
        return ()
    try:
        return ResponseReflection.model_validate_json(json_text(rejected.reply.text)).remarks()
    except ValidationError:
        return ()
