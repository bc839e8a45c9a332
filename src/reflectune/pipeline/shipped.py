"""Recipes of journeys: those that come with reflectune, by name, and those of a file, which may extend one."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from reflectune.errors import SettingsError
from reflectune.recipe import PipelineRecipe, Settings, overridden

__all__ = ["names", "read_recipe", "schema", "text_of", "with_data"]

_EXTENDS = "extends"
_MODELS = ("oracle", "judge")
"""What a name alone stands for."""
_HAS_DATA = re.compile(r"^data: ", re.MULTILINE)


def names() -> list[str]:
    """The recipes that come with reflectune."""
    folder = files("reflectune.pipeline").joinpath("recipes")
    return sorted(one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml"))


def text_of(name: str) -> str:
    """The recipe of this name, with its comments.

    Raises:
        SettingsError: There is none.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        mend = f"Did you mean {near[0]}?" if near else f"Name a YAML file, or one of {', '.join(names())}."
        raise SettingsError(f"There is no recipe {name}.", mend=mend)
    return files("reflectune.pipeline").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")


def with_data(text: str, data: str) -> str:
    """A recipe's text with other data; its comments stay."""
    line = f"data: {json.dumps(data, ensure_ascii=False)}"
    return (
        re.sub(r"^data: \S+", lambda _: line, text, count=1, flags=re.MULTILINE)
        if _HAS_DATA.search(text)
        else (f"{line}\n{text}")
    )


def read_recipe(name: str, assignments: Sequence[str] = ()) -> PipelineRecipe:
    """A recipe by its name or of a file, with `key=value` assignments laid over it.

    Raises:
        SettingsError: There is none, it is no YAML mapping, or a key or value does not fit.
    """
    values = _values(name, ())
    for assignment in assignments:
        values = overridden(_spelled(values), (assignment,))
    return PipelineRecipe.made_of(values, source=name)


def _values(name: str, before: tuple[str, ...]) -> dict[str, Any]:
    """The settings of a recipe, those that it extends below them."""
    path = Path(name)
    if name in before:
        raise SettingsError(f"{name} extends itself, by way of {' and '.join(before)}.", mend="Leave out `extends`.")
    if path.is_file():
        text = _text(path)
    elif path.suffix in {".yaml", ".yml"} or path.exists():
        raise SettingsError(f"There is no recipe {name}.", mend="Check the path, or write one: reflectune init")
    else:
        text = text_of(name)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not YAML: {error}", mend="Mend the file.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{name} holds no settings.", mend="Write `key: value` lines; reflectune init writes some.")
    base = values.pop(_EXTENDS, None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise SettingsError(f"{name}: extends names one recipe.", mend=f"Write the name of one: {', '.join(names())}.")
    return _laid_over(_spelled(_values(_beside(path, base), (*before, name))), values)


def _beside(path: Path, base: str) -> str:
    """The recipe that a file extends: one that lies beside it, else by its name or where we are."""
    near = Path(os.path.normpath(path.parent / Path(base).expanduser()))
    return str(near) if path.is_file() and near.is_file() else base


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose models are all mappings, so that more can be laid over a name alone."""
    return {
        key: {"name": value} if key in _MODELS and isinstance(value, str) else value for key, value in values.items()
    }


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}.", mend="Mend the file.") from error


def _laid_over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in values.items():
        old = merged.get(key)
        merged[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe, for editors: each setting with what its documentation says."""
    made = PipelineRecipe.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    made["properties"][_EXTENDS] = {
        "type": "string",
        "description": f"A recipe that this one changes: a file, or one of {', '.join(names())}.",
    }
    for name in _MODELS:  # a name alone stands for a model
        made["properties"][name] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Model"}]}
    made["required"] = []  # what a recipe leaves out may stand in the one that it extends
    kinds = {kind.__name__: kind for kind in _kinds(PipelineRecipe)}
    for name, part in [("PipelineRecipe", made), *made.get("$defs", {}).items()]:
        told = _told_of(kinds[name]) if name in kinds else {}
        part["description"] = (kinds[name].__doc__ or "").partition("\n")[0] if name in kinds else ""
        for field, body in part.get("properties", {}).items():
            if field in told:
                body["description"] = told[field]
    return made


def _kinds(kind: type[Settings]) -> list[type[Settings]]:
    """A kind of settings, and those of its stages."""
    found = [kind]
    for field in kind.model_fields.values():
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, Settings):
                found += _kinds(part)
    return found


def _told_of(kind: type[Settings]) -> dict[str, str]:
    """What the docstring of settings says of each of them."""
    _, _, told = (kind.__doc__ or "").partition("Attributes:\n")
    lines = re.sub(r"\n {12}", " ", told)
    return {name: text.strip() for name, text in re.findall(r"^ {8}(\w+): (.*)$", lines, re.MULTILINE)}
