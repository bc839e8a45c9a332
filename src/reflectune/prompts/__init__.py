"""The prompts: one text file per prompt and language, and the few lines that load and render them.

A prompt holds `{{name}}` placeholders, which are replaced in one pass: text that is put in is never looked at again,
so a row that holds braces of its own comes through as it is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml

from reflectune.errors import SettingsError
from reflectune.records import digest

Language = Literal["en", "zh"]

REFLECT = "trace_system.txt"
"""The system prompt that asks a model to think, to correct itself and to answer in tags."""
PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SUFFIXES = (".txt", ".yaml")


@cache
def _shipped() -> dict[str, str]:
    """Every prompt that comes with the package, by its path such as `en/retry.txt`."""
    root = files(__name__)
    return {
        f"{language}/{entry.name}": entry.read_text(encoding="utf-8")
        for language in ("en", "zh")
        for entry in sorted((root / language).iterdir(), key=lambda item: item.name)
        if entry.name.endswith(_SUFFIXES)
    }


class Prompts:
    """The prompts that a stage renders.

    Args:
        folder: Files that replace shipped ones, laid out as the shipped ones are: `en/retry.txt`, `zh/retry.txt`.

    Raises:
        SettingsError: The folder is missing, or holds a file that replaces nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._texts = dict(_shipped())
        self._tables: dict[tuple[Language, str], dict[str, str]] = {}
        if folder is not None:
            self._texts |= _replacements(folder)

    def text(self, language: Language, name: str) -> str:
        """A prompt as it stands in its file, without its last newline."""
        return self._texts[f"{language}/{name}"].rstrip("\n")

    def render(self, language: Language, name: str, **values: str) -> str:
        """A prompt with its placeholders replaced.

        Raises:
            SettingsError: The prompt names a placeholder that has no value, or lacks one that has.
        """
        text = self.text(language, name)
        wanted = set(PLACEHOLDER.findall(text))
        if wanted != values.keys():
            raise SettingsError(
                f"The prompt {language}/{name} has the placeholders {_listed(wanted)} in place of {_listed(values)}.",
                mend="Write each of them once or more, as {{name}}, and no others.",
            )
        return placed(text, values)

    def reason(self, language: Language, name: str) -> str:
        """What an oracle is told when its reply is rejected; the bare reason where nothing is written for it."""
        return self.table(language, "reasons.yaml").get(name, f"{name}.")

    def table(self, language: Language, name: str) -> dict[str, str]:
        """A prompt file that maps names to texts, as YAML."""
        if (language, name) not in self._tables:
            self._tables[language, name] = _table(f"{language}/{name}", self._texts, _shipped())
        return self._tables[language, name]

    def sentence(self, language: Language, table: str, name: str, **values: str) -> str:
        """One text of a prompt file that maps names to texts, with its placeholders replaced.

        Raises:
            SettingsError: It names a placeholder that has no value.
        """
        text = self.table(language, table)[name]
        if unknown := set(PLACEHOLDER.findall(text)) - values.keys():
            raise SettingsError(
                f"The prompt {language}/{table} has placeholders without a value: {_listed(unknown)}.",
                mend="Leave them out.",
            )
        return placed(text, values)

    def hash(self, *prefixes: str) -> str:
        """A hash of the prompts whose file name starts with one of the prefixes, in every language."""
        return digest({path: text for path, text in self._texts.items() if path.split("/")[1].startswith(prefixes)})


def placed(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders replaced, all in one pass; what is put in is never looked at again."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _table(path: str, texts: dict[str, str], shipped: dict[str, str]) -> dict[str, str]:
    """The names and texts of a prompt file, which must have every name that the shipped one has."""
    try:
        loaded = yaml.safe_load(texts[path])
        table = {str(key): str(value).strip() for key, value in loaded.items()}
    except (yaml.YAMLError, AttributeError) as error:
        raise SettingsError(
            f"The prompt {path} holds no `name: text` lines: {error}.", mend="Mend the file."
        ) from error
    if missing := yaml.safe_load(shipped[path]).keys() - table.keys():
        raise SettingsError(f"The prompt {path} lacks {_listed(missing)}.", mend="Copy what is missing from ours.")
    return table


def _replacements(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise SettingsError(f"There is no prompt folder {folder}.", mend="Name a folder that holds en/ or zh/.")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _SUFFIXES]
    try:
        found = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"A prompt in {folder} cannot be read: {error}.", mend="Save it as UTF-8.") from error
    for path in found:
        if path not in _shipped():
            near = difflib.get_close_matches(path, _shipped(), 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise SettingsError(
                f"{folder / path} replaces no prompt.",
                mend=f"{hint}The prompts are: {', '.join(sorted(_shipped()))}.",
            )
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
