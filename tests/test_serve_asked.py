"""What a client may ask for, and what it is told where it may not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.recipe import ChatSettings
from reflectune.records import Message
from reflectune.web.api.asked import Asked, read_asked
from reflectune.web.api.problems import Problem

HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def read(tags: str = "", defaults: ChatSettings | None = None, /, **fields: Any) -> Asked:
    body = orjson.dumps({"messages": HI, **fields})
    return read_asked(body, tags, defaults or ChatSettings())


def test_a_silent_request_is_answered_as_the_server_is_set() -> None:
    defaults = ChatSettings(rounds=2, temperature=0.3, max_tokens=99, seed=4)
    asked = read("", defaults)
    assert asked == Asked("", (Message("user", "Hi"),), defaults)
    assert asked.settings.reflecting == "off"


def test_what_a_request_says_goes_before_what_the_server_is_set_to() -> None:
    asked = read(
        "raw",
        ChatSettings(temperature=0.3, max_tokens=99, seed=4),
        model="m",
        temperature=0,
        top_p=0.5,
        max_tokens=7,
        seed=12,
        n=3,
        stop=["a", "b", "a"],
        stream=True,
        stream_options={"include_usage": True},
        reflectune={"reflect": "trained", "best_of": 2},
        user="somebody",
        metadata={"any": "thing"},
    )
    assert asked.settings == ChatSettings(temperature=0, top_p=0.5, max_tokens=7, seed=12, reflect="trained", best_of=2)
    assert (asked.model, asked.choices, asked.stop, asked.tags) == ("m", 3, ("a", "b"), "raw")
    assert asked.stream
    assert asked.include_usage


def test_null_is_the_same_as_nothing() -> None:
    names = ("model", "n", "stop", "seed", "temperature", "top_p", "max_tokens", "response_format", "stream", "tools",
             "stream_options", "logit_bias", "logprobs", "reflectune", "presence_penalty")  # fmt: skip
    assert read("", None, **dict.fromkeys(names)) == read()


@pytest.mark.parametrize(
    ("field", "value", "neutral"),
    [
        ("presence_penalty", 0.5, 0),
        ("frequency_penalty", -1, 0.0),
        ("logit_bias", {"1": 5}, {}),
        ("logprobs", True, False),
        ("top_logprobs", 3, 0),
        ("tools", [{"type": "function"}], []),
        ("tool_choice", "required", "auto"),
        ("functions", [{}], []),
        ("modalities", ["text", "audio"], ["text"]),
    ],
)
def test_what_is_not_supported_is_refused_unless_it_changes_nothing(field: str, value: Any, neutral: Any) -> None:
    with pytest.raises(Problem, match=field) as caught:
        read("", None, **{field: value})
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, field, "unsupported_parameter")
    assert read("", None, **{field: neutral}) == read()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": 16, "reflectune": {"best_of": 3}}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"seed": 2**63}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": 7}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"model": 7}, "model"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": []}}},
         "response_format.json_schema.schema"),
        ({"reflectune": []}, "reflectune"),
        ({"reflectune": {"reflect": "hard"}}, "reflectune.reflect"),
        ({"reflectune": {"rounds": 9}}, "reflectune.rounds"),
        ({"reflectune": {"round": 1}}, "reflectune.round"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
        ({"messages": [*HI, {"role": "assistant", "content": "Hello"}]}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [*HI, {"role": "robot", "content": "Hi"}]}, "messages[1].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [*HI, {"role": "assistant", "content": None, "tool_calls": [{}]}, *HI]},
         "messages[1].tool_calls"),
    ],
)  # fmt: skip
def test_what_does_not_fit_names_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Problem) as caught:
        read("", None, **fields)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caught.value.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"7", b'{"temperature": NaN}', b'{"seed": 1e999}', b'{"a": "\xff"}', b'{"a": "\\ud800"}',
     b"[" * 5000 + b"]" * 5000, b'{"a": 1}{'],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Problem) as caught:
        read_asked(raw, "", ChatSettings())
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema = b'{"items":' * 500 + b"{}" + b"}" * 500
    form = b'{"type": "json_schema", "json_schema": {"name": "x", "schema": %b}}' % schema
    with pytest.raises(Problem, match="deep"):
        read_asked(
            b'{"messages": [{"role": "user", "content": "Hi"}], "response_format": %b}' % form, "", ChatSettings()
        )


def test_content_may_be_parts_and_roles_have_their_names() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    roles = ("developer", "system", "user", "assistant", "tool")
    asked = read("", None, messages=[{"role": role, "content": parts, "name": "x"} for role in roles])
    assert [message.role for message in asked.messages] == ["system", "system", "user", "assistant", "tool"]
    assert {message.content for message in asked.messages} == {"one\ntwo"}


def test_with_a_schema_the_model_does_not_reflect() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "number", "schema": SCHEMA, "strict": True}}
    asked = read("", ChatSettings(rounds=2, best_of=3), response_format=form)
    assert asked.schema is not None
    assert (asked.schema.name, asked.schema.body) == ("number", SCHEMA)
    assert (asked.settings.reflecting, asked.settings.rounds, asked.settings.best_of) == ("off", 0, 1)
    assert not asked.reflects
    anything = read("", None, response_format={"type": "json_object"}).schema
    assert anything is not None
    assert anything.body == {"type": "object"}
    assert read("", None, response_format={"type": "text"}) == read()


def test_numbers_that_providers_take_are_taken() -> None:
    asked = read("", None, top_p=0, seed=-3, max_tokens=5, max_completion_tokens=9, n=2.0)
    assert 0 < asked.settings.top_p < 1e-3
    assert asked.settings.seed == 2**31 - 3
    assert asked.settings.max_tokens == 9
    assert asked.choices == 2


def test_tags_are_told_in_one_of_two_ways() -> None:
    assert read("parts").tags == "parts"
    with pytest.raises(Problem, match="tags"):
        read("all")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "model", "n", "stop", "seed", "temperature", "top_p", "max_tokens", "response_format", "stream",
     "stream_options", "reflectune", "tools", "logprobs", "logit_bias"]
)  # fmt: skip


@given(st.dictionaries(FIELDS, JSON, max_size=4))
def test_whatever_comes_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        assert read("", None, **fields).messages
    except Problem as problem:
        assert (problem.status, bool(problem.message)) == (400, True)  # noqa: PT017 - either is well
