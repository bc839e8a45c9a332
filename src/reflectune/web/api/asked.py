"""What a client asks for: a body in, a typed value out, or an error that names the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from reflectune.recipe import ChatSettings
from reflectune.records import Message, Schema
from reflectune.web.api.fields import Fields, refuse, refuse_unsupported
from reflectune.web.api.messages import read_messages
from reflectune.web.api.problems import Problem

__all__ = ["Asked", "Tags", "read_asked"]

Tags = Literal["", "raw", "parts"]
"""How tags are told: not at all, as the model wrote them, or as the names of parts beside the text."""

_MOST_STOPS = 4
_MOST_CHOICES = 16
_MOST_DRAWS = 32
_MOST_TOKENS = 2**31 - 1
_SEEDS = 2**31
_LARGEST_SEED = 2**63
_LEAST_TOP_P = 1e-6
"""In place of 0, which says the same: nothing but the likeliest token."""
_TAGS = ("", "raw", "parts")
_OWN = ("reflect", "rounds", "best_of")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for.

    Attributes:
        model: The model that it names; empty where it names none.
        messages: The conversation, oldest turn first.
        settings: How the model is talked to.
        choices: How many answers are wanted.
        stop: Texts before any of which the answer ends.
        schema: The JSON schema of the answer; `None` for free text.
        tags: How tags are told.
        stream: Whether the answer is sent while it is written.
        include_usage: Whether the tokens are told at the end of a stream.
        seeded: Whether the client gave a seed of its own.
    """

    model: str
    messages: tuple[Message, ...]
    settings: ChatSettings
    choices: int = 1
    stop: tuple[str, ...] = ()
    schema: Schema | None = None
    tags: Tags = ""
    stream: bool = False
    include_usage: bool = False

    @property
    def reflects(self) -> bool:
        """Whether the answer is to come in tags, so that what stands in none is no part of it."""
        return self.schema is None and self.settings.reflecting != "off"


def read_asked(raw: bytes, tags: str, defaults: ChatSettings) -> Asked:
    """Read the body of a request for a chat completion.

    Unknown fields are ignored, as providers do.

    Args:
        raw: The body.
        tags: The query's word on tags.
        defaults: The settings where the request is silent.

    Raises:
        Problem: Something in it cannot be done, or is not what it has to be.
    """
    if tags not in _TAGS:
        raise Problem(400, f"tags: it has to be raw or parts, and it is {tags[:20]!r}.", param="tags")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise Problem(400, "The body has to be a JSON object.", code="invalid_json")
    fields = Fields(body)
    refuse_unsupported(body)
    stream = fields.flag("stream")
    schema = _schema(fields)
    settings = _settings(fields, defaults, plain=schema is not None)
    choices = fields.whole("n", 1, _MOST_CHOICES) or 1
    if choices * settings.best_of > _MOST_DRAWS:
        raise refuse("n", f"n times best_of may be {_MOST_DRAWS} at the most, and it is {choices * settings.best_of}.")
    return Asked(
        model=fields.text("model"),
        messages=read_messages(fields.get("messages")),
        settings=settings,
        choices=choices,
        stop=_stop(fields),
        schema=schema,
        tags=tags,  # type: ignore[arg-type]  # one of _TAGS
        stream=stream,
        include_usage=_include_usage(fields, stream=stream),
    )


def _settings(fields: Fields, defaults: ChatSettings, *, plain: bool) -> ChatSettings:
    """The settings of one request: its own fields, and the server's where it is silent."""
    top_p = fields.number("top_p", 0, 1)
    seed = fields.whole("seed", -_LARGEST_SEED, _LARGEST_SEED - 1)
    longest = fields.whole("max_completion_tokens", 1, _MOST_TOKENS) or fields.whole("max_tokens", 1, _MOST_TOKENS)
    wanted: dict[str, Any] = {
        "temperature": fields.number("temperature", 0, 2),
        "top_p": None if top_p is None else max(top_p, _LEAST_TOP_P),
        "max_tokens": longest,
        "seed": None if seed is None else seed % _SEEDS,
        **_own(fields),
    }
    if plain:
        wanted |= {"reflect": "off", "rounds": 0, "best_of": 1}
    values = {name: value for name, value in wanted.items() if value is not None}
    try:
        return ChatSettings.model_validate(defaults.model_dump() | values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(step) for step in first["loc"])
        raise refuse(f"reflectune.{name}" if name in _OWN else name, f"{first['msg']}.") from None


def _own(fields: Fields) -> dict[str, Any]:
    """What a request says about reflecting, in the field that only this server knows."""
    own = fields.object("reflectune")
    if own is None:
        return {}
    if others := own.others(*_OWN):
        raise refuse(others[0], f"there is no such field; there are {', '.join(_OWN)}.")
    reflect = own.text("reflect") or None
    if reflect not in {None, "prompt", "trained", "off"}:
        raise refuse(own.path("reflect"), "it has to be prompt, trained or off.", code="invalid_value")
    return {"reflect": reflect, "rounds": own.whole("rounds", 0, 8), "best_of": own.whole("best_of", 1, _MOST_DRAWS)}


def _stop(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    texts = [] if value is None else value if isinstance(value, list) else [value]
    if len(texts) > _MOST_STOPS:
        raise refuse("stop", f"there may be {_MOST_STOPS} texts at the most.", code="array_above_max_length")
    if not all(isinstance(text, str) and text for text in texts):
        raise refuse("stop", "it has to be a text or a list of texts, none of them empty.", code="invalid_type")
    return tuple(dict.fromkeys(texts))


def _include_usage(fields: Fields, *, stream: bool) -> bool:
    options = fields.object("stream_options")
    if options is None:
        return False
    if not stream:
        raise refuse("stream_options", "it goes with stream: true.")
    return options.flag("include_usage")


def _schema(fields: Fields) -> Schema | None:
    """The JSON schema that is asked for: any object where none is given."""
    wanted = fields.object("response_format")
    kind = wanted.text("type") if wanted else "text"
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return Schema("reply", {"type": "object"})
    if kind != "json_schema":
        raise refuse("response_format.type", "it has to be text, json_object or json_schema.", code="invalid_value")
    form = wanted.object("json_schema")
    body = form.object("schema") if form else None
    if form is None or body is None:
        raise refuse("response_format.json_schema.schema", "a JSON schema has to be here.")
    try:
        return Schema(form.text("name") or "reply", form.get("schema"))
    except TypeError:
        raise refuse("response_format.json_schema.schema", "it is nested too deeply.") from None
