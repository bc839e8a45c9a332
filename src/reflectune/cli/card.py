"""The data set card: what the data is, where it comes from and how it was made, for whoever gets it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reflectune.cli.changes import Changes
from reflectune.recipe import Recipe

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
_LICENSE_ID = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_KINDS = {
    "instruction": "a new instruction with its answer",
    "response": "a better response to the instruction",
    "both": "a new instruction with its answer, and then a better response to it",
    "chosen": "a new instruction with its answer, and then a better response to the one that a student model chose",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A data set card.

    Attributes:
        recipe: How the data was made.
        totals: What came of it, as in `run.json`.
        changes: What recycling changed, and how many rows the data holds.
        dropped: The quality gates whose marked rows are left out.
    """

    recipe: Recipe
    totals: dict[str, Any]
    changes: Changes
    dropped: tuple[str, ...]

    def text(self) -> str:
        """The card in Markdown, with front matter as the Hugging Face hub reads it."""
        front = yaml.safe_dump(self._front_matter(), sort_keys=False, allow_unicode=True)
        sections = (self._what(), self._rows(), self._makers(), self._gates(), self._columns(), self._recipe())
        body = "\n\n".join("\n".join(section) for section in sections if section)
        return f"---\n{front}---\n\n{body}\n"

    def _front_matter(self) -> dict[str, Any]:
        front: dict[str, Any] = {}
        stated = self.recipe.license
        if stated and _LICENSE_ID.fullmatch(stated):
            front["license"] = stated
        elif stated:
            front |= {"license": "other", "license_name": stated}
        heard = sorted(self.changes.languages.items(), key=lambda entry: -entry[1])
        if heard:  # a single text may be misheard
            least = sum(count for _, count in heard) / 100
            front["language"] = [code for code, count in heard if count >= least]
        size = next((name for limit, name in _SIZES if self.changes.written < limit), "n>10M")
        return front | {
            "task_categories": ["text-generation"],
            "tags": ["reflection-tuning", "instruction-tuning", "synthetic", "reflectune"],
            "size_categories": [size],
            "configs": [{"config_name": "default", "data_files": "recycled.jsonl"}],
        }

    def _what(self) -> list[str]:
        name = _name(self.recipe.data)
        chosen = self.recipe.recycle.versions == "chosen"
        made = _KINDS["chosen" if chosen else self.recipe.recycle.reflect]
        return [
            f"# {name}, recycled",
            "",
            f"Each pair of {name} was criticised by an oracle model, which then wrote {made}",
            "(Reflection-Tuning, arXiv 2310.11716).",
            "",
            f"Licence of the source, as stated by whoever made this: {self.recipe.license or 'not stated'}.",
        ]

    def _rows(self) -> list[str]:
        counts = [("read", "rows"), ("rewritten", "done"), ("failed", "failed"), ("not done yet", "pending")]
        told_counts = [*((name, self.totals[key]) for name, key in counts), ("in the data", self.changes.written)]
        lines = _table(("rows", "count"), told_counts)
        reasons = sorted(self.totals["reasons"].items(), key=lambda item: -item[1])
        if not reasons:
            return ["## Rows", "", *lines]
        told = _table(("reason of a failure", "rows"), reasons)
        return ["## Rows", "", *lines, "", "`failures.jsonl` holds each failed row with its reason.", "", *told]

    def _makers(self) -> list[str]:
        written = self.totals["rewritten_by"]
        if not written:
            return []
        prompts: dict[str, list[str]] = {}
        for maker in self.totals["makers"]:
            prompts.setdefault(maker["oracle"], []).append(maker["prompts"])
        rows = (
            (_public(oracle), ", ".join(dict.fromkeys(prompts.get(oracle, ()))), count["rewritten"])
            for oracle, count in written.items()
        )
        return ["## Oracles", "", *_table(("oracle", "hash of the prompts", "rows"), rows)]

    def _gates(self) -> list[str]:
        if not self.totals["marked"]:
            return []
        rows = (
            (gate, count, "left out" if gate in self.dropped else "kept, and marked")
            for gate, count in self.totals["marked"].items()
        )
        return ["## Quality gates", "", *_table(("gate", "rows marked", "in the data"), rows)]

    def _columns(self) -> list[str]:
        if not self.recipe.provenance:
            return []
        return [
            "## Where each row comes from",
            "",
            "The column `reflectune` of each row holds its `id`; the `version` that was chosen (`Q`: new instruction",
            "with its answer; `A`: better response; `QA`: both); the `oracle` and the hash of its `prompts`; the",
            "`failure` of a row that was not rewritten; the quality `gates` that marked it; and the oracle's `scores`",
            "of each version.",
        ]

    def _recipe(self) -> list[str]:
        asked = self.recipe.recycle.model_dump(mode="json", exclude_none=True, exclude={"prompts"})
        shown = yaml.safe_dump({"oracle": _public(self.recipe.oracle), "recycle": asked}, sort_keys=False)
        return ["## Recipe", "", f"reflectune {self.totals['reflectune']}", "", "```yaml", shown.rstrip(), "```"]


def _name(data: str) -> str:
    """The name of the data, without the folders of whoever made it."""
    return Path(data).name if Path(data).exists() or Path(data).is_absolute() else data


def _public(oracle: str) -> str:
    """An oracle's name without what could tell of the machine or the network that it was asked from."""
    model, at, url = oracle.partition("@")
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    if at and "." in host and not re.fullmatch(r"[\d.]+", host):
        return f"{model} at {host}"
    return re.sub(r"^(local:).*/", r"\1", model)


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    def lines() -> Iterator[str]:
        yield f"| {' | '.join(header)} |"
        yield "|" + "---|" * len(header)
        for row in rows:
            yield f"| {' | '.join(_cell(value) for value in row)} |"

    return list(lines())


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
