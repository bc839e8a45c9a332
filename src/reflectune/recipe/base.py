"""The base of all settings, and what is said of values that do not fit."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reflectune.errors import SettingsError
from reflectune.files import write_whole

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Shape = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]

_PLAIN = {
    "shard": "a shard is written i/n, with i from 1 to n, as 2/8",
    "take": "it says how many rows to keep, as 500 or 5%",
    "held_out": "it says how many rows to hold out, as 64 or 2%",
    "report_to": "it is one of tensorboard, wandb, trackio, mlflow and swanlab",
    "kinds": "it is one of arithmetic, dropped-condition, wrong-unit and misread-question",
}
"""What is wrong with a value, where the rule that refuses it would say it less plainly."""
_HELP = "See the command's --help."
_QUOTED = re.compile(r"'([^']*)'")
_MENDS = {"recycle": "Leave reflect at both, or versions at reflected."}
"""What to do about settings of a stage that do not go together."""


class Settings(BaseModel):
    """The base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def made_of(cls, values: dict[str, Any], *, source: str) -> Self:
        """Settings of plain values.

        Args:
            values: The fields; those of a stage in a mapping of their own.
            source: Where they come from, for the error.

        Raises:
            SettingsError: A key is unknown, or a value does not fit.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explained(error, source, cls) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe file.

        Raises:
            SettingsError: It is missing, is no YAML mapping, or does not fit.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"There is no recipe {path}.", mend="Check the path.") from None
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{path} is not YAML: {error}", mend="Mend the file.") from error
        if not isinstance(values, dict):
            raise SettingsError(f"{path} holds no settings.", mend="Write `key: value` lines.")
        return cls.made_of(values, source=str(path))

    def save(self, path: Path, *, stated: bool = False) -> None:
        """Write the recipe as YAML, leaving out what is not set; or all but what was stated."""
        values = self.model_dump(mode="json", exclude_none=not stated, exclude_unset=stated)
        write_whole(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def overridden(values: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Settings with `key=value` assignments laid over them; dots lead into a stage, values are YAML.

    Raises:
        SettingsError: An assignment has no `=`, or its value is not YAML.
    """
    merged = dict(values)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise SettingsError(f"--set {assignment} assigns nothing.", mend="Write --set key=value.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {assignment}: the value is not YAML.", mend="Quote it.") from error
        stage, dot, key = name.strip().rpartition(".")
        if dot:
            inner = merged.get(stage, {})
            merged[stage] = {**inner, key: value} if isinstance(inner, dict) else {key: value}
        else:
            merged[key] = value
    return merged


def _explained(error: ValidationError, source: str, model: type[Settings]) -> SettingsError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and (path in _MENDS or not path):
        return SettingsError(f"{source}: {told}.", mend=_MENDS.get(path, _HELP))
    if first["type"] != "extra_forbidden":
        names = [part for part in first["loc"] if isinstance(part, str)]
        path = ".".join(names)
        if first["type"] == "too_short" and not first["input"]:
            return SettingsError(f"{source}: {path} is empty.", mend="Name one at least; see the command's --help.")
        why = _PLAIN.get(names[-1] if names else "") or told
        given = "" if first["type"] == "missing" else f", and it is {first['input']!r}"
        return SettingsError(f"{source}: {path} does not fit: {why}{given}.", mend=_meant(first) or _HELP)
    known = _stage_of(model, path).model_fields
    name = str(first["loc"][-1])
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(known)}."
    return SettingsError(f"{source}: there is no setting {path}.", mend=hint)


def _meant(error: ErrorDetails) -> str:
    """What a value that is none of those that are expected may have been meant to be; nothing where none is near."""
    known = _QUOTED.findall(str(error.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(str(error["input"]), known, 1) if error["type"] == "literal_error" else []
    return f"Did you mean {near[0]}?" if near else ""


def _stage_of(model: type[Settings], path: str) -> type[Settings]:
    """The settings that a path leads to: those of a stage for `recycle.seed`, else the model's own."""
    stage, dot, _ = path.partition(".")
    field = model.model_fields.get(stage) if dot else None
    kinds = get_args(field.annotation) or (field.annotation,) if field else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), model)
