"""The criteria of a critique, and the types of a critique made of them.

The five criteria for an instruction and the four for a response are those of Reflection-Tuning (arXiv 2310.11716, section 3).
The types state the order in which an oracle reasons: it criticises first and rewrites last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from reflectune.records import Reflection, Remark, Schema

INSTRUCTION_CRITERIA = ("complexity", "detail", "knowledge", "ambiguity", "reasoning")
RESPONSE_CRITERIA = ("helpfulness", "relevance", "accuracy", "detail")

Score = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


class _Typed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Note(_Typed):
    """A remark and a score for one criterion."""

    remark: str
    score: Score


def _critique(name: str, criteria: tuple[str, ...]) -> type[_Typed]:
    fields: dict[str, Any] = dict.fromkeys(criteria, (Note, ...))
    return create_model(name, __base__=_Typed, **fields)


InstructionCritique = _critique("InstructionCritique", INSTRUCTION_CRITERIA)
ResponseCritique = _critique("ResponseCritique", RESPONSE_CRITERIA)



class PairCritique(_Typed):
    """What an oracle replies when it criticises an instruction and its response, and rewrites neither."""

    instruction_critique: InstructionCritique  # type: ignore[valid-type]
    response_critique: ResponseCritique  # type: ignore[valid-type]

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

    response_critique: ResponseCritique  # type: ignore[valid-type]
    response: str

    def remarks(self) -> tuple[Remark, ...]:
        """The critique, in the order of the criteria."""
        return _remarks("response", self.response_critique)


class Choice(_Typed):
    """Which of several candidates an oracle prefers, the first being number 1."""

    reason: str
    choice: Annotated[int, Field(ge=1)]


def _remarks(subject: Reflection, critique: Any) -> tuple[Remark, ...]:
    return tuple(
        Remark(subject=subject, criterion=name, remark=note.remark, score=note.score) for name, note in critique
    )


def schema_of(model: type[BaseModel], *, text_limit: int | None = None) -> Schema:
    """The JSON schema of a type, as endpoints and grammars take it.

    References are written out, titles and descriptions are left out, and every property is required, which is the part
    of JSON schema that strict endpoints share.

    Args:
        model: The type of the reply.
        text_limit: The most characters that any string may have. A rewrite (the last strings of the value) is given four
            times as many as a remark.
    """
    raw = model.model_json_schema()
    body = _plain(raw, raw.get("$defs", {}))
    if text_limit is not None:
        _limit(body, text_limit)
    return Schema(model.__name__, body)


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
