"""What an endpoint's error means: try later, fail one record, or stop the run."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import orjson

from reflectune.errors import OracleBusy, OracleError, RequestRefused
from reflectune.oracles.allowance import header_number
from reflectune.oracles.endpoint import ApiSettings

__all__ = ["Complaint", "Meaning", "error_of", "meaning_of", "read_complaint", "retry_after"]

Meaning = Literal[
    "rate-limit",
    "server-error",
    "context-overflow",
    "content-filter",
    "bad-request",
    "quota",
    "key",
    "model",
    "address",
]

_LONGEST_MESSAGE = 600
_TRANSIENT = {408, 409, 425}
_QUOTA = re.compile(r"insufficient_quota|insufficient_balance|billing_hard_limit|billing_not_active", re.IGNORECASE)
_OVERFLOW = re.compile(
    r"context[ _](length|size|window|exceeded)|exceed_context|maximum context|string_above_max_length|"
    r"(prompt|input|request) is too long|reduce the length|max_tokens must be at least 1, got -",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[ _](filter|policy|management)|responsible ?ai|moderation|was flagged|data_inspection|"
    r"inappropriate content",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|unknown model|invalid model|model\b.{0,150}(not exist|not found|not a valid|no such)",
    re.IGNORECASE,
)

_MENDS: dict[Meaning, str] = {
    "context-overflow": "The row and its reply do not fit the context: allow fewer new tokens or name another model.",
    "quota": "Add credit to the account; the same command then goes on where it stopped.",
    "key": "The endpoint did not take the key: check the variable {key_env}, or name another one with --key-env.",
    "model": "Name a model that the endpoint offers in place of {model!r} (--oracle).",
    "address": "Check the address (--base-url): most endpoints want it to end in /v1.",
}
_NO_KEY = "No key was sent: the variable {key_env} is not set. Set it, or name another one with --key-env."


@dataclass(frozen=True, slots=True)
class Complaint:
    """An endpoint's error, whatever shape it came in.

    Attributes:
        status: The HTTP status.
        message: What it says, at most 600 characters.
        code: Its codes and types, joined by spaces.
        parameters: The fields of the request that it names in a field of its own.
    """

    status: int
    message: str
    code: str = ""
    parameters: tuple[str, ...] = ()

    def names(self, parameter: str, *, surely: bool = False) -> bool:
        """Whether it is about a parameter.

        Args:
            parameter: The parameter's name.
            surely: Whether the bare word in the message is too little. Endpoints quote the row that they refuse, and a
                row may speak of temperature.
        """
        if self.parameters:
            return parameter in self.parameters
        name = re.escape(parameter)
        pattern = rf"[\"'`]{name}[\"'`]" if surely else rf"(?<!\w){name}(?!\w)"
        return re.search(pattern, self.message, re.IGNORECASE) is not None


def read_complaint(status: int, raw: bytes) -> Complaint:
    """Read the body of an error, which may be JSON of any shape, HTML or nothing."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = re.sub(r"<[^>]*>|\s+", " ", raw[:4096].decode("utf-8", "replace"))
        return Complaint(status, " ".join(text.split())[:_LONGEST_MESSAGE] or "an empty reply")
    outer = body if isinstance(body, dict) else {"message": body}
    inner = outer.get("error")
    box = inner if isinstance(inner, dict) else outer
    codes = [part.get(name) for part in (box, outer) for name in ("code", "type")]
    said, parameters = _said(box)
    if isinstance(box.get("param"), str):
        parameters.append(box["param"])
    return Complaint(
        status,
        said[:_LONGEST_MESSAGE],
        " ".join(dict.fromkeys(code for code in codes if isinstance(code, str))),
        tuple(parameters),
    )


def _said(box: dict[str, Any]) -> tuple[str, list[str]]:
    """The message of an error, and the fields of the request that its list of details names."""
    said: list[str] = []
    parameters: list[str] = []
    for name in ("message", "error", "detail", "msg"):
        value = box.get(name)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, str) and part:
                said.append(part)
            elif isinstance(part, dict) and isinstance(
                part.get("loc"), list
            ):  # {"loc": ["body", "seed"], "msg": "..."}
                where = [step for step in part["loc"] if isinstance(step, str) and step != "body"]
                parameters += where[:1]
                said.append(f"{'.'.join(where)}: {part.get('msg')}")
            elif isinstance(part, dict):
                said_within, parameters_within = _said(part)
                said.append(said_within)
                parameters += parameters_within
    metadata = box.get("metadata")  # a router's copy of what the provider behind it said
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):
        said.append(metadata["raw"])
    return "; ".join(said) or orjson.dumps(box).decode(), parameters


def meaning_of(complaint: Complaint) -> Meaning:
    """What a complaint means for the request and for the run."""
    status, code = complaint.status, complaint.code
    words = f"{code} {complaint.message}"
    meanings: tuple[tuple[Meaning, bool], ...] = (
        ("quota", status == 402 or bool(_QUOTA.search(code))),  # noqa: PLR2004
        ("rate-limit", status == 429),  # noqa: PLR2004
        # llama.cpp has answered an overflow with status 500.
        ("context-overflow", status in {400, 413, 422, 500} and bool(_OVERFLOW.search(words))),
        ("server-error", status in _TRANSIENT or status >= 500),  # noqa: PLR2004
        ("content-filter", bool(_FILTERED.search(words))),
        ("model", "model_not_found" in code or (status in {400, 404, 422} and bool(_NO_MODEL.search(words)))),
        ("key", status in {401, 403}),
        ("address", status in {404, 405, 410} or status < 400),  # noqa: PLR2004
    )
    return next((meaning for meaning, holds in meanings if holds), "bad-request")


def error_of(complaint: Complaint, settings: ApiSettings, wait: float | None = None, *, url: str = "") -> OracleError:
    """The error to raise for a complaint.

    Args:
        complaint: What the endpoint said.
        settings: The endpoint, for the message; its key is blotted out.
        wait: Seconds that the endpoint asks us to wait, where it says so.
        url: What was asked; by default for a chat completion.
    """
    meaning = meaning_of(complaint)
    what = settings.scrub(f"{url or settings.chat_url} answered {complaint.status}: {complaint.message}")
    if meaning in {"rate-limit", "server-error"}:
        return OracleBusy(what, reason=meaning, retry_after=wait)
    if meaning in {"context-overflow", "content-filter", "bad-request"}:
        return RequestRefused(what, reason=meaning, mend=_MENDS.get(meaning, ""))
    mend = _NO_KEY if meaning == "key" and settings.key is None else _MENDS[meaning]
    return OracleError(what, mend=mend.format(model=settings.model, key_env=settings.key_env))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply's headers ask us to wait, `None` where they ask nothing that can be read."""
    milliseconds = header_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After", "")
    seconds = header_number(value)
    if seconds is not None:
        return seconds
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
