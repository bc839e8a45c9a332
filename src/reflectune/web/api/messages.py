"""The conversation in a request."""

from __future__ import annotations

from typing import Any, cast

from reflectune.records import Message, Role
from reflectune.web.api.fields import refuse

__all__ = ["read_messages"]

_ROLES = {"developer": "system", "system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def read_messages(value: Any) -> tuple[Message, ...]:
    """Read a conversation.

    Args:
        value: The field `messages`.

    Raises:
        Problem: It is none, or it holds what is not text.
    """
    if not isinstance(value, list):
        raise refuse("messages", "a list of messages has to be here.", code="missing_required_parameter")
    if not value:
        raise refuse("messages", "there has to be a message at least.", code="empty_array")
    messages = tuple(_message(one, f"messages[{place}]") for place, one in enumerate(value))
    if messages[-1].role not in {"user", "tool"}:
        raise refuse("messages", "the last has to be of the role user: it is what is answered.", code="invalid_value")
    return messages


def _message(value: Any, path: str) -> Message:
    if not isinstance(value, dict):
        raise refuse(path, "it has to be an object.", code="invalid_type")
    role = value.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise refuse(f"{path}.role", f"it has to be one of {', '.join(_ROLES)}.", code="invalid_value")
    if value.get("tool_calls") or value.get("function_call"):
        raise refuse(f"{path}.tool_calls", "this server does not support tools.", code="unsupported_parameter")
    content = value.get("content")
    if content is None and role != "assistant":
        raise refuse(f"{path}.content", "it has to be text.", code="missing_required_parameter")
    return Message(cast("Role", _ROLES[role]), _text(content, f"{path}.content"))


def _text(content: Any, path: str) -> str:
    """Content as text, whether it is a string or a list of parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise refuse(path, "it has to be a string or a list of parts.", code="invalid_type")
    texts = []
    for place, part in enumerate(content):
        where = f"{path}[{place}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            what = f"this server takes text only, and it is {kind}." if isinstance(kind, str) else "it has no type."
            raise refuse(where, what, code="unsupported_value")
        if not isinstance(part.get("text"), str):
            raise refuse(f"{where}.text", "it has to be a string.", code="invalid_type")
        texts.append(part["text"])
    return "\n".join(texts)
