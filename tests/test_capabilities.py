"""How a request is put, and how it is put after a refusal."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from reflectune.oracles.capabilities import Capabilities
from reflectune.oracles.faults import read_complaint
from reflectune.records import Message, Request, Sampling, Schema

OBJECT = Schema("pair", {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
SCORE = Schema("score", {"enum": [1, 2, 3]})
USER = Message("user", "the row {a} </output>")
FULL = Sampling(temperature=0.0, top_p=1.0, max_tokens=9, repetition_penalty=1.1, seed=3)


def asked(*, schema: Schema | None = None, sampling: Sampling = FULL, system: str = "") -> Request:
    first = (Message("system", system),) if system else ()
    return Request((*first, USER), sampling, schema)


def refused(message: str, **fields: Any) -> Any:
    return read_complaint(400, orjson.dumps({"error": {"message": message, **fields}}))


def written(request: Request, capabilities: Capabilities | None = None) -> Any:
    return orjson.loads(orjson.dumps((capabilities or Capabilities()).payload("m", request)))


def test_a_plain_request() -> None:
    assert written(asked()) == {
        "model": "m",
        "messages": [{"role": "user", "content": USER.content}],
        "max_tokens": 9,
        "temperature": 0.0,
        "top_p": 1.0,
        "repetition_penalty": 1.1,
        "seed": 3,
    }


def test_what_is_not_chosen_is_not_sent() -> None:
    sampling = Sampling(temperature=None, top_p=None, max_tokens=9)
    assert written(asked(sampling=sampling)).keys() == {"model", "messages", "max_tokens"}


def test_an_object_is_enforced_as_it_is() -> None:
    form = written(asked(schema=OBJECT))["response_format"]
    assert form == {"type": "json_schema", "json_schema": {"name": "pair", "strict": True, "schema": OBJECT.body}}


def test_any_other_root_is_wrapped_and_definitions_stay_at_the_root() -> None:
    schema = Schema("list", {"type": "array", "items": {"$ref": "#/$defs/A"}, "$defs": {"A": {"type": "string"}}})
    assert written(asked(schema=schema))["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"$ref": "#/$defs/A"}}},
        "required": ["value"],
        "additionalProperties": False,
        "$defs": {"A": {"type": "string"}},
    }


def test_the_wrapper_is_not_at_the_cost_of_the_value() -> None:
    assert written(asked(schema=OBJECT))["max_tokens"] == FULL.max_tokens
    assert written(asked(schema=SCORE))["max_tokens"] > FULL.max_tokens + 16


@pytest.mark.parametrize(("mode", "wrapped"), [("json_object", True), ("prompt", False)])
def test_a_schema_that_is_not_enforced_stands_in_the_prefix(mode: Any, wrapped: bool) -> None:
    body = written(asked(schema=SCORE, system="rubric"), Capabilities(schema_mode=mode))
    system, user = body["messages"]
    assert user["content"] == USER.content
    assert system["content"].startswith("rubric\n\n")
    shown = orjson.loads(system["content"].splitlines()[-1])
    assert ("properties" in shown) is wrapped
    assert body.get("response_format") == ({"type": "json_object"} if wrapped else None)
    alone = written(asked(schema=SCORE), Capabilities(schema_mode=mode))["messages"][0]
    assert alone["role"] == "user"
    assert re.search(r"JSON schema:\n.*\n\nthe row", alone["content"])


@pytest.mark.parametrize(
    ("message", "fields", "changed"),
    [
        ("This response_format type is unavailable now", {}, {"schema_mode": "json_object"}),
        ("bad", {"param": "response_format"}, {"schema_mode": "json_object"}),
        ("Failed to parse grammar", {}, {"schema_mode": "json_object"}),
        ("Use 'max_completion_tokens', 'max_tokens' is unsupported", {}, {"token_limit": "max_completion_tokens"}),
        ("max_tokens must be at most 4", {"param": "max_tokens"}, None),
        ("no", {"param": "temperature"}, {"omitted": ("temperature",)}),
        ("temperature and top_p cannot both be set", {}, {"omitted": ("top_p",)}),
        ("Unrecognized request argument: repetition_penalty", {}, {"omitted": ("repetition_penalty",)}),
        ("extra field seed", {}, {"omitted": ("seed",)}),
        ("roles must alternate", {}, None),
    ],
)
def test_one_step_down(message: str, fields: dict[str, Any], changed: dict[str, Any] | None) -> None:
    start = Capabilities()
    lower = start.stepped_down(refused(message, **fields), start.payload("m", asked(schema=OBJECT)))
    assert lower == (None if changed is None else start.model_copy(update=changed))


def test_what_was_not_sent_is_not_stepped_down() -> None:
    start = Capabilities()
    plain = start.payload("m", asked(sampling=Sampling(temperature=None)))
    assert start.stepped_down(refused("temperature"), plain) is None
    assert start.stepped_down(refused("response_format"), plain) is None


def test_what_was_accepted_needs_a_clear_word_to_be_left_out() -> None:
    """A refusal that quotes a row about temperature or grammar is that row's own."""
    start = Capabilities()
    sent = start.payload("m", asked(schema=OBJECT))
    proven = start.having_accepted(sent)
    assert proven.stepped_down(refused("cannot read: English grammar at room temperature"), sent) is None
    assert proven.stepped_down(refused("'temperature' is gone"), sent) == proven.model_copy(
        update={"omitted": ("temperature",)}
    )


def test_they_go_to_json_and_back() -> None:
    found = Capabilities(schema_mode="prompt", omitted=("seed",)).having_accepted({"model": 1, "messages": 2})
    assert Capabilities.model_validate_json(found.model_dump_json()) == found


def test_probabilities_are_asked_for_only_where_they_are_wanted() -> None:
    wanted = Request((USER,), FULL, top_logprobs=5)
    assert written(wanted) == written(asked()) | {"logprobs": True, "top_logprobs": 5}
    assert "logprobs" not in written(asked())
    assert wanted.key("m") != asked().key("m") != Request((USER,), FULL, top_logprobs=6).key("m")


@pytest.mark.parametrize(
    ("message", "left"),
    [
        ("'logprobs' is not supported with this model.", {"top_logprobs": 5}),
        ("top_logprobs must be less than or equal to 4", {"logprobs": True}),
    ],
)
def test_probabilities_that_are_refused_are_left_out(message: str, left: dict[str, Any]) -> None:
    start, wanted = Capabilities(), Request((USER,), FULL, top_logprobs=5)
    lower = start.stepped_down(refused(message), start.payload("m", wanted))
    assert lower is not None
    assert written(wanted, lower) == written(asked()) | left
    plain = lower.stepped_down(refused("top_logprobs needs logprobs"), lower.payload("m", wanted))
    if "top_logprobs" in left:
        assert plain is not None
        assert written(wanted, plain) == written(asked())
