"""The fields of a request, each of the kind that it has to be: what is not says so by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reflectune.web.api.problems import Problem

__all__ = ["Fields", "refuse", "refuse_unsupported"]

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"], []),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
"""What this server cannot do, and the values with which it need not; `null` is always one."""


def refuse(param: str, message: str, *, code: str | None = None) -> Problem:
    """The error for a field."""
    return Problem(400, f"{param}: {message}", param=param, code=code)


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Refuse what a client may count on and would not get.

    Raises:
        Problem: A field asks for it.
    """
    for name, neutral in _NEUTRAL.items():
        value = body.get(name)
        if value is not None and not any(
            value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral
        ):
            raise refuse(name, "this server does not support it.", code="unsupported_parameter")


class Fields:
    """The fields of an object in a request; `null` is the same as none.

    Args:
        values: The object.
        path: Where it is, for messages, such as `reflectune.`.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path

    def get(self, name: str) -> Any:
        """A field as it is."""
        return self._values.get(name)

    def path(self, name: str) -> str:
        """What a field is called in messages."""
        return self._path + name

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number between two bounds, both included.

        Raises:
            Problem: It is none.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise refuse(self.path(name), "it has to be a number.", code="invalid_type")
        if not least <= value <= most:
            raise refuse(self.path(name), f"it has to be from {least:g} to {most:g}, and it is {value}.")
        return float(value)

    def whole(self, name: str, least: int, most: int) -> int | None:
        """A whole number between two bounds, both included.

        Raises:
            Problem: It is none.
        """
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise refuse(self.path(name), "it has to be a whole number.", code="invalid_type")
        if not least <= value <= most:
            raise refuse(self.path(name), f"it has to be from {least:,} to {most:,}, and it is {value}.")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is missing.

        Raises:
            Problem: It is neither.
        """
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise refuse(self.path(name), "it has to be true or false.", code="invalid_type")
        return bool(value)

    def text(self, name: str) -> str:
        """A string; empty where it is missing.

        Raises:
            Problem: It is none.
        """
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise refuse(self.path(name), "it has to be a string.", code="invalid_type")
        return value or ""

    def object(self, name: str) -> Fields | None:
        """An object.

        Raises:
            Problem: It is none.
        """
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise refuse(self.path(name), "it has to be an object.", code="invalid_type")
        return Fields(value, f"{self.path(name)}.")

    def others(self, *known: str) -> list[str]:
        """The names of further fields."""
        return [self.path(name) for name in self._values if name not in known]
