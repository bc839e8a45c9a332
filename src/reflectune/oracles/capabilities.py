"""What an endpoint takes, and how a request is put so that it takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from reflectune.oracles.faults import Complaint
from reflectune.records import Message, Record, Request, Schema

__all__ = ["WRAPPER_TOKENS", "Capabilities", "is_wrapped"]

SchemaMode = Literal["json_schema", "json_object", "prompt"]

_SCHEMA_WORDS = "response_format|json_schema|json_object|json schema|structured output|grammar"
_OUT_OF_RANGE = re.compile(
    r"too (large|big|high|many)|at (least|most)|(less|greater|more) than|exceed|between|<=|>=", re.IGNORECASE
)
"""A limit that is too high is no reason to call it by another name, which an endpoint may ignore."""
_STREAMING = ("stream_options", "stream")
_OPTIONAL = ("repetition_penalty", "seed", "top_p", "temperature", "top_logprobs", "logprobs", *_STREAMING)
"""Parameters that can be left out, the one that is missed least first: a refusal may name two of them."""
_LOGPROBS = ("top_logprobs", "logprobs")
WRAPPER_TOKENS = 32
"""What `{"value": ...}` or a code fence takes beside the value itself; small models indent generously."""
_ASK_FOR_JSON = (
    "Reply with one JSON value and nothing else: no comment, no code fence. It must satisfy this JSON schema:\n"
)


class Capabilities(Record):
    """What an endpoint was found to take; kept in a run so that a resumed one does not ask again.

    Attributes:
        schema_mode: How a schema is asked for: enforced, as a JSON object with the schema in the prompt, or in the
            prompt alone.
        token_limit: The name of the parameter that limits the reply's length.
        omitted: Parameters that are left out because the endpoint refuses them, sorted.
        accepted: Fields of a request that it has answered before, sorted; a request with no others needs no caution.
    """

    schema_mode: SchemaMode = "json_schema"
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # noqa: S105
    omitted: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether replies can be read while they are written, as far as that is known."""
        return "stream" not in self.omitted

    def can_stream(self, schema: Schema | None) -> bool:
        """Whether a reply of such a schema can be read while it is written: what comes is the value itself."""
        enforced = self.schema_mode == "json_schema" and "response_format" in self.accepted
        return self.streams and (schema is None or (enforced and not is_wrapped(schema)))

    def payload(self, model: str, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The body of a chat completion, as this endpoint takes it.

        Args:
            model: The model's name at the endpoint.
            request: What is asked.
            stream: Whether the reply is to be read while it is written.
        """
        sampling = request.sampling
        wrapper = WRAPPER_TOKENS if request.schema is not None and is_wrapped(request.schema) else 0
        payload: dict[str, Any] = {
            "model": model,
            "messages": request.messages,
            self.token_limit: sampling.max_tokens + wrapper,
        }
        if request.stop:
            payload["stop"] = request.stop
        wanted: dict[str, Any] = {}
        if request.top_logprobs:
            wanted |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if stream:
            wanted |= {"stream": True, "stream_options": {"include_usage": True}}
        for name in _OPTIONAL:
            value = wanted.get(name) if name in (*_LOGPROBS, *_STREAMING) else getattr(sampling, name)
            if name == "seed" and value is not None:
                value += request.sample
            if value is not None and name not in self.omitted:
                payload[name] = value
        if request.schema is None:
            return payload
        if self.schema_mode == "json_schema":
            schema = {"name": request.schema.name, "strict": True, "schema": _rooted(request.schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.schema_mode == "json_object":
            payload["response_format"] = {"type": "json_object"}
            payload["messages"] = _with_schema(request.messages, _rooted(request.schema))
        else:
            payload["messages"] = _with_schema(request.messages, request.schema.body)
        return payload

    def stepped_down(self, complaint: Complaint, sent: Mapping[str, Any]) -> Capabilities | None:
        """What to try after a refusal; `None` where it names nothing that can be put in another way.

        Args:
            complaint: What the endpoint said.
            sent: The body that it refused.
        """
        if "response_format" in sent and self._refuses_schema(complaint):
            return self.without_schema_mode()
        if complaint.names(self.token_limit) and not _OUT_OF_RANGE.search(complaint.message):
            other: Any = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
            return self.model_copy(update={"token_limit": other[self.token_limit]})
        for name in _OPTIONAL:
            if name in sent and complaint.names(name, surely=name in self.accepted):
                return self.model_copy(update={"omitted": tuple(sorted({*self.omitted, name}))})
        return None

    def _refuses_schema(self, complaint: Complaint) -> bool:
        words = "response_format" if "response_format" in self.accepted else _SCHEMA_WORDS
        return any(re.search(words, said, re.IGNORECASE) for said in (complaint.message, *complaint.parameters))

    def without_schema_mode(self) -> Capabilities:
        """These capabilities, one step down in how a schema is asked for."""
        lower: SchemaMode = "json_object" if self.schema_mode == "json_schema" else "prompt"
        return self.model_copy(update={"schema_mode": lower})

    def having_accepted(self, sent: Mapping[str, Any]) -> Capabilities:
        """These capabilities, with the fields of an answered request among those that are accepted."""
        return self.model_copy(update={"accepted": tuple(sorted({*self.accepted, *sent}))})


def is_wrapped(schema: Schema) -> bool:
    """Whether a schema has to be wrapped as `{"value": ...}`: endpoints take none but objects."""
    return schema.body.get("type") != "object"


def _rooted(schema: Schema) -> dict[str, Any]:
    """The schema with an object at its root."""
    if not is_wrapped(schema):
        return schema.body
    # References point at the root's definitions, so those stay there.
    shared: dict[str, Any] = {name: schema.body[name] for name in ("$defs", "definitions") if name in schema.body}
    value = {name: part for name, part in schema.body.items() if name not in shared}
    return {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
        **shared,
    }


def _with_schema(messages: tuple[Message, ...], schema: dict[str, Any]) -> tuple[Message, ...]:
    """The messages with the schema in the first of them, where it is part of the prefix that endpoints cache."""
    ask = _ASK_FOR_JSON + orjson.dumps(schema).decode()
    first, *rest = messages
    content = f"{first.content}\n\n{ask}" if first.role == "system" else f"{ask}\n\n{first.content}"
    return (Message(first.role, content), *rest)
