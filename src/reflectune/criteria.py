"""The criteria of a critique, and the types of a critique made of them.

The criteria are those of Reflection-Tuning (arXiv 2310.11716, section 3). The types state the order in which an
oracle reasons: it criticises first and rewrites last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reflectune.records import Reflection, Remark, Schema

_BETWEEN = 24
"""Tokens of a property's name, quotes and white space, at most."""

Score = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Note(_Typed):
    """A remark and a score for one criterion."""

    remark: str
    score: Score


class InstructionCritique(_Typed):
    """The five criteria for an instruction."""

    complexity: Note
    detail: Note
    knowledge: Note
    ambiguity: Note
    reasoning: Note


class ResponseCritique(_Typed):
    """The four criteria for a response."""

    helpfulness: Note
    relevance: Note
    accuracy: Note
    detail: Note


INSTRUCTION_CRITERIA = tuple(InstructionCritique.model_fields)
RESPONSE_CRITERIA = tuple(ResponseCritique.model_fields)


class PairCritique(_Typed):
    """What an oracle replies when it criticises an instruction and its response, and rewrites neither."""

    instruction_critique: InstructionCritique
    response_critique: ResponseCritique

    def remarks(self) -> tuple[Remark, ...]:
        """The critique, the instruction's criteria first."""
        return _remarks("instruction", self.instruction_critique) + _remarks("response", self.response_critique)


class InstructionReflection(PairCritique):
    """What an oracle replies when it reflects on an instruction."""

    link: str
    instruction: str
    response: str


class ResponseReflection(_Typed):
    """What an oracle replies when it reflects on a response."""

    response_critique: ResponseCritique
    response: str

    def remarks(self) -> tuple[Remark, ...]:
        """The critique, in the order of the criteria."""
        return _remarks("response", self.response_critique)


class Choice(_Typed):
    """Which of several candidates an oracle prefers, the first being number 1."""

    reason: str
    choice: Annotated[int, Field(ge=1)]


def _remarks(subject: Reflection, critique: BaseModel) -> tuple[Remark, ...]:
    return tuple(
        Remark(subject=subject, criterion=name, remark=note.remark, score=note.score) for name, note in critique
    )


@cache
def mean_score(remarks: Iterable[Remark]) -> float | None:
    """The mean score of a critique, 1 to 10; `None` of none."""
    scores = [remark.score for remark in remarks]
    return sum(scores) / len(scores) if scores else None


def schema_of(model: type[BaseModel], *, text_limit: int | None = None) -> Schema:
    """The JSON schema of a type, as endpoints and grammars take it.

    References are written out, titles and descriptions are left out, and every property is required, which is the part
    of JSON schema that strict endpoints share.

    Args:
        model: The type of the reply.
        text_limit: The most characters of a string. A rewritten instruction or response is given four times as many.
    """
    raw = model.model_json_schema()
    body = _plain(raw, raw.get("$defs", {}))
    if text_limit is not None:
        _limit(body, text_limit)
    return Schema(model.__name__, body)


def longest_reply(schema: Schema) -> int:
    """The most tokens of a reply whose every string is limited: one a character, and some for what is between."""
    return _size(schema.body)


def _size(node: dict[str, Any]) -> int:
    inner = sum(_BETWEEN + _size(value) for value in node.get("properties", {}).values())
    return int(node.get("maxLength", 0)) + inner


def _plain(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "properties" in node:
        properties = {name: _plain(value, definitions) for name, value in node["properties"].items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    return {name: _plain(value, definitions) for name, value in node.items() if name not in ("title", "description")}


def _limit(node: dict[str, Any], text_limit: int) -> None:
    for name, value in node.get("properties", {}).items():
        if value.get("type") == "string":
            value["maxLength"] = text_limit * (4 if name in ("instruction", "response") else 1)
        _limit(value, text_limit)
