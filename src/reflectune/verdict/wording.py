"""The words of the page, in English and Chinese, and figures as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from reflectune.prompts import placed
from reflectune.student.weights import EMBEDDED_ID
from reflectune.verdict.records import Figures, Rate

__all__ = ["LANGUAGES", "Language", "Words", "percent", "short_name", "words"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Words:
    """What the page says in one language.

    Attributes:
        language: The language.
        table: The texts, by name.
    """

    language: Language
    table: dict[str, str]

    def __call__(self, name: str, /, **values: str) -> str:
        """A text with its placeholders replaced."""
        return placed(self.table[name], values)

    def named(self, name: str, kind: str = "arm") -> str:
        """An arm, the student of it, or a state; one that is not known stands as it is."""
        return self.table.get(f"{kind}.{name}", name)

    def rate(self, rate: Rate | None) -> str:
        """A share with its interval."""
        if rate is None:
            return "-"
        if rate.low is None or rate.high is None:
            return self("rate_alone", value=f"{rate.value:.1f}")
        return self("rate", value=f"{rate.value:.1f}", low=f"{rate.low:.1f}", high=f"{rate.high:.1f}")

    def between(self, rate: Rate) -> str:
        """An interval alone; nothing where there is none."""
        if rate.low is None or rate.high is None:
            return self("no_interval")
        return self("between", low=f"{rate.low:.1f}", high=f"{rate.high:.1f}")

    def listed(self, names: Iterable[str]) -> str:
        """Names one after the other."""
        return self.table["listing"].join(names)

    def said(self, kind: str, found: Figures) -> str:
        """What a comparison says, in a few words."""
        return self(f"said.{worded(kind, found.lengths)}")


def worded(kind: str, lengths: tuple[float, float]) -> str:
    """The name of a conclusion's words: where length alone does not explain it, since ours is the shorter answer."""
    return "length-short" if kind == "length" and lengths[0] <= lengths[1] else kind


@cache
def words(language: Language) -> Words:
    """The words of a language."""
    text = (Path(__file__).parent / "texts" / f"{language}.yaml").read_text(encoding="utf-8")
    return Words(language, {str(name): str(value) for name, value in yaml.safe_load(text).items()})


def percent(value: float | None) -> str:
    """A share without an interval."""
    return "-" if value is None else f"{value:.1f}%"


def short_name(model: str | None) -> str:
    """A model's bare name: without its address, its owner, its fingerprint and how it was asked."""
    bare = (model or "").partition(" (")[0].partition("@")[0].removeprefix("hf:")
    parts = bare.split(":")
    name = EMBEDDED_ID if bare == "local" else parts[1] if parts[0] == "local" and len(parts) > 1 else bare
    return name.rpartition("/")[2].removesuffix(".gguf")
