"""What is taken for a reply, and for its JSON."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.oracles.replies import json_text, read_reply, top_logprobs, unwrapped

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PROSE = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters='`{}[]"'), max_size=40)


def completion(content: Any = "hello", *, finish: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}], "usage": usage}


@given(JSON, st.booleans())
def test_a_value_alone_is_the_json(value: Any, indented: bool) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else None).decode()
    assert orjson.loads(json_text(f"\n {text}\n")) == value


@given(JSON, st.booleans(), PROSE, PROSE, st.sampled_from(["", "json", "JSON"]))
def test_the_only_fence_holds_the_json(value: Any, indented: bool, before: str, after: str, label: str) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else None).decode()
    fenced = f"So {before}\n```{label}\n{text}\n```\n{after}"
    assert orjson.loads(json_text(fenced)) == value


@given(JSON.filter(lambda value: isinstance(value, dict | list)))
def test_a_fence_may_close_on_the_last_line_of_the_value(value: Any) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    assert orjson.loads(json_text(f"```json\n{text}```")) == value


@pytest.mark.parametrize(
    "text",
    [
        'The answer is {"a": 1}.',
        '{"a": 1} and then some',
        '```json\n{"a": 1}\n```\nor\n```json\n{"a": 2}\n```',
        '```json\n{"a": 1',
        "[1, 2",
        "no JSON at all",
        "",
    ],
)
def test_nothing_is_fished_out_of_free_text(text: str) -> None:
    assert json_text(text) == text


def test_a_fence_inside_a_string_is_part_of_the_string() -> None:
    value = {"response": "Run:\n```python\nprint('{}')\n```\nDone </output>"}
    assert orjson.loads(json_text(f"```json\n{orjson.dumps(value).decode()}\n```")) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"value": 7}', "7"),
        ('{"value": [1, "a"]}', '[1,"a"]'),
        ('{"value": 7, "more": 1}', '{"value": 7, "more": 1}'),
        ("7", "7"),
        ("broken", "broken"),
    ],
)
def test_unwrapping(text: str, expected: str) -> None:
    assert unwrapped(text) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion(), {"text": "hello", "reasoning": None, "finish_reason": "stop"}),
        (completion(None), {"text": ""}),
        (completion([{"type": "text", "text": "a"}, {"type": "image"}, "b"]), {"text": "ab"}),
        (completion("x", reasoning_content="why"), {"text": "x", "reasoning": "why"}),
        (completion("x", reasoning="why", reasoning_content=None), {"text": "x", "reasoning": "why"}),
        (completion("<think>b</think>x", reasoning_content="a"), {"text": "x", "reasoning": "a\nb"}),
        (
            completion("<think>for ever", finish="length"),
            {"text": "", "reasoning": "for ever", "finish_reason": "length"},
        ),
        (completion(None, refusal="I must not."), {"text": "I must not.", "finish_reason": "refusal"}),
        (completion(finish=None), {"finish_reason": "stop"}),
        (
            completion(
                usage={"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}
            ),
            {"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 8},
        ),
        (
            completion(usage={"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}),
            {"prompt_tokens": 9, "cached_tokens": 5},
        ),
        (completion(usage={"prompt_tokens": None, "completion_tokens": "many"}), {"prompt_tokens": 0}),
        (completion(usage=[], tool_calls=[], odd={"deep": 1}), {"text": "hello", "completion_tokens": 0}),
    ],
)
def test_replies_are_read_leniently(body: dict[str, Any], expected: dict[str, Any]) -> None:
    reply = read_reply(body).model_dump()
    assert {name: reply[name] for name in expected} == expected


@pytest.mark.parametrize(
    "body",
    [None, [], "text", {}, {"choices": []}, {"choices": None}, {"choices": [1]}, {"choices": [{"text": "old"}]}],
)
def test_a_body_without_a_message_is_no_reply(body: Any) -> None:
    with pytest.raises(ValueError, match="choices"):
        read_reply(body)


def test_a_generation_that_broke_off_is_no_reply() -> None:
    with pytest.raises(ValueError, match="broke off"):
        read_reply(completion("half", finish="error"))


def first_token(*listed: Any, places: int = 2) -> dict[str, Any]:
    later = {"token": "x", "logprob": 0.0, "top_logprobs": [{"token": "late", "logprob": 0.0}]}
    return {"logprobs": {"content": [{"token": "a", "top_logprobs": list(listed)}, later][:places]}}


def test_the_likeliest_first_tokens_are_read() -> None:
    choice = first_token({"token": "1", "logprob": -0.5, "bytes": [49]}, {"token": " 1", "logprob": -2})
    assert top_logprobs(choice) == pytest.approx({"1": -0.5, " 1": -2.0})
    body = completion("1")
    body["choices"][0] |= choice
    assert read_reply(body).top_logprobs == pytest.approx({"1": -0.5, " 1": -2.0})
    assert read_reply(completion("1")).top_logprobs is None


def test_a_token_that_is_listed_twice_has_both_probabilities() -> None:
    choice = first_token({"token": "1", "logprob": math.log(0.3)}, {"token": "1", "logprob": math.log(0.2)})
    assert top_logprobs(choice) == pytest.approx({"1": math.log(0.5)})
    never = first_token({"token": "1", "logprob": -9999.0}, {"token": "1", "logprob": -9999.0})
    assert top_logprobs(never) == pytest.approx({"1": -9999.0 + math.log(2)})


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"logprobs": None},
        {"logprobs": []},
        {"logprobs": {"content": None}},
        {"logprobs": {"content": [None]}},
        first_token(),
        first_token("1", {"token": 1, "logprob": 0.0}, {"token": "1", "logprob": None}, None),
    ],
)
def test_what_tells_no_probabilities(choice: dict[str, Any]) -> None:
    assert top_logprobs(choice) is None
