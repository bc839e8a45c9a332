"""Read what an endpoint sent back: its words, its reasoning, its JSON value."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import orjson

from reflectune.records import Reply
from reflectune.tags import split_think

__all__ = ["json_text", "read_reply", "summed", "text_of", "top_logprobs", "unwrapped"]

_MOST_TOKENS = 2**53
_FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*\n?(.*?)\n?[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
"""Neither a fence's first nor its last line can lie within a JSON string, which holds no raw line break."""


def json_text(text: str) -> str:
    """The JSON of a reply: all of it, or the content of its only code fence.

    Nothing is looked for in free text: a reply that is neither comes back as it is, for validation to refuse.

    Args:
        text: The reply, without any reasoning.
    """
    whole = text.strip().removeprefix("\ufeff")
    try:
        orjson.loads(whole)
    except orjson.JSONDecodeError:
        fences = _FENCE.findall(whole)
        return fences[0].strip() if len(fences) == 1 else whole
    return whole


def unwrapped(text: str) -> str:
    """The JSON of the value in `{"value": ...}`; any other text as it is."""
    try:
        wrapper = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if isinstance(wrapper, dict) and wrapper.keys() == {"value"}:
        return orjson.dumps(wrapper["value"]).decode()
    return text


def read_reply(body: Any) -> Reply:
    """Read the body of a chat completion, lenient about everything but its choices.

    Args:
        body: The body, parsed.

    Raises:
        ValueError: It holds no message; the text says what is missing.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not (isinstance(choice, dict) and isinstance(message, dict)):
        raise ValueError("a reply without `choices[0].message`")  # noqa: TRY004 - the type is the endpoint's affair
    if choice.get("finish_reason") == "error":
        raise ValueError("a reply that broke off with an error")
    reasoning = text_of(message.get("reasoning_content") or message.get("reasoning"))
    thought, text = split_think(text_of(message.get("content")))
    finish_reason = str(choice.get("finish_reason") or "stop")
    if not text and (refusal := text_of(message.get("refusal"))):
        text, finish_reason = refusal, "refusal"
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    return Reply(
        text=text,
        reasoning="\n".join(part for part in (reasoning, thought) if part) or None,
        finish_reason=finish_reason,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")),
        top_logprobs=top_logprobs(choice),
    )


def top_logprobs(choice: dict[str, Any]) -> dict[str, float] | None:
    """The log-probabilities of the likeliest first tokens of a choice; `None` where it does not tell any."""
    said = choice.get("logprobs")
    places = said.get("content") if isinstance(said, dict) else None
    first = places[0] if isinstance(places, list) and places else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    told = [
        (entry["token"], entry["logprob"])
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
    ]
    return summed(told) or None


def summed(tokens: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Log-probabilities by the text of their tokens; where several tokens share a text, of any of them.

    Args:
        tokens: Texts with log-probabilities in nats; one that is not finite says that the token does not come, and is
            left out.
    """
    found: dict[str, float] = {}
    for text, logprob in tokens:
        if math.isfinite(logprob):
            low, high = sorted((found.get(text, -math.inf), float(logprob)))
            found[text] = high + math.log1p(math.exp(low - high))
    return found


def text_of(content: Any) -> str:
    """A message's content as text, whether it is a string, a list of parts or nothing."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return "".join(part for part in parts if isinstance(part, str))


def _count(value: Any) -> int:
    return min(max(int(value), 0), _MOST_TOKENS) if isinstance(value, int | float) else 0
