"""What the errors of real endpoints mean."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import orjson
import pytest

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles.endpoint import ApiSettings
from reflectune.oracles.faults import error_of, meaning_of, read_complaint, retry_after

SETTINGS = ApiSettings("gpt-x", "http://h/v1", key="sk-secret-123", key_env="MY_KEY")


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (429, error("Rate limit reached", type="tokens", code="rate_limit_exceeded"), "rate-limit"),
        (429, error("You exceeded your current quota", code="insufficient_quota"), "quota"),
        (429, error("You exceeded your current quota, retry in 20s", code=429), "rate-limit"),
        (402, error("Insufficient Balance"), "quota"),
        (400, error("Billing hard limit has been reached", code="billing_hard_limit_reached"), "quota"),
        (408, error("slow"), "server-error"),
        (409, error("conflict"), "server-error"),
        (425, error("early"), "server-error"),
        (500, error("oops"), "server-error"),
        (502, b"<html><h1>Bad Gateway</h1></html>", "server-error"),
        (529, error("Overloaded", type="overloaded_error"), "server-error"),
        (500, error("Context size has been exceeded.", type="server_error"), "context-overflow"),
        (400, error("too long", type="exceed_context_size_error", code=400, n_ctx=512), "context-overflow"),
        (400, error("This model's maximum context length is 8192 tokens.", param="messages"), "context-overflow"),
        (400, {"object": "error", "message": "max_tokens must be at least 1, got -186."}, "context-overflow"),
        (400, error("prompt is too long: 9 tokens > 8 maximum"), "context-overflow"),
        (413, error("Input is too long for requested model."), "context-overflow"),
        (400, error("blocked", code="content_filter"), "content-filter"),
        (400, error("Invalid prompt: your prompt was flagged as a violation", code="invalid_prompt"), "content-filter"),
        (403, error("Your input requires moderation"), "content-filter"),
        (401, error("Incorrect API key provided"), "key"),
        (403, error("Country not supported"), "key"),
        (403, error("no access to model", code="model_not_found"), "model"),
        (404, error("The model `gpt-4.1` does not exist", type="NotFoundError", code=404), "model"),
        (404, error('model "x" not found, try pulling it first'), "model"),
        (400, error("x/y is not a valid model ID; unknown model"), "model"),
        (404, {"detail": "Not Found"}, "address"),
        (405, b"", "address"),
        (302, b"", "address"),
        (400, error("messages: roles must alternate"), "bad-request"),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}, "bad-request"),
    ],
)
def test_meanings(status: int, body: Any, meaning: str) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    complaint = read_complaint(status, raw)
    assert meaning_of(complaint) == meaning
    raised = error_of(complaint, SETTINGS, 2.0)
    assert "http://h/v1/chat/completions" in raised.what
    if meaning in {"rate-limit", "server-error"}:
        assert isinstance(raised, OracleBusy)
        assert (raised.reason, raised.retry_after) == (meaning, 2.0)
    elif meaning in {"context-overflow", "content-filter", "bad-request"}:
        assert isinstance(raised, RequestRefused)
        assert raised.reason == meaning
    else:
        assert type(raised) is OracleError
        assert raised.mend


@pytest.mark.parametrize(
    ("body", "message", "parameters"),
    [
        (error("a", param="seed"), "a", ("seed",)),
        ({"error": "plain"}, "plain", ()),
        ({"message": "flat", "code": 400, "param": None}, "flat", ()),
        ({"detail": "text"}, "text", ()),
        ({"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}, "seed: extra", ("seed",)),
        ({"message": {"detail": [{"loc": ["body", "top_p"], "msg": "extra"}]}}, "top_p: extra", ("top_p",)),
        (
            error("Provider returned error", metadata={"raw": "temperature?"}),
            "Provider returned error; temperature?",
            (),
        ),
        ("just a string", "just a string", ()),
        (["odd"], "odd", ()),
        ({"odd": 1}, '{"odd":1}', ()),
    ],
)
def test_errors_of_any_shape_are_read(body: Any, message: str, parameters: tuple[str, ...]) -> None:
    complaint = read_complaint(400, orjson.dumps(body))
    assert (complaint.message, complaint.parameters) == (message, parameters)


def test_html_is_shown_without_its_tags_and_not_at_length() -> None:
    complaint = read_complaint(502, b"<html><body>\n<h1>Bad   Gateway</h1>" + b"x" * 5000)
    assert complaint.message.startswith("Bad Gateway")
    assert len(complaint.message) == 600
    assert read_complaint(500, b"\xff\x00").message


def test_the_key_and_its_variable() -> None:
    raised = error_of(read_complaint(401, orjson.dumps(error("Wrong key: sk-secret-123"))), SETTINGS)
    assert "sk-secret-123" not in str(raised)
    assert "MY_KEY" in raised.mend


@pytest.mark.parametrize(
    ("message", "parameter", "surely", "expected"),
    [
        ("Unsupported value: 'temperature' does not support 0", "temperature", True, True),
        ("`temperature` is deprecated", "temperature", True, True),
        ("temperature is not supported", "temperature", False, True),
        ("temperature is not supported", "temperature", True, False),
        ("cannot read: the temperature outside", "temperature", True, False),
        ("max_tokens_to_sample", "max_tokens", False, False),
    ],
)
def test_naming_a_parameter(message: str, parameter: str, surely: bool, expected: bool) -> None:
    assert read_complaint(400, orjson.dumps(error(message))).names(parameter, surely=surely) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_a_date() -> None:
    waited = retry_after({"Retry-After": formatdate(time.time() + 60, usegmt=True)})
    assert waited is not None
    assert 50 < waited <= 60
