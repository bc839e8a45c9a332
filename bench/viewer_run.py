"""A run of 52,002 rows for the pages to show: real texts, in made-up roles, and made-up scores.

The rows are real ones of Alpaca, in English and Chinese, again and again, each with its number. What stands as the new
instruction and the better response of a row are texts of other real rows, as long as an oracle's would be. Critiques,
IFDs and r-IFDs come from a seeded generator, with means and spreads like those of real runs. So the sizes and the words
are real; what a version has to do with its original, and every score, is not.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from on_real_rows import real_data
from reflectune.formats import Mapping
from reflectune.recipe import Recipe
from reflectune.records import Example, Failure, Recycled, Remark, Rewrite, Scored, Version, VersionName, VersionScores
from reflectune.runs import Maker, RunDir
from reflectune.runs.decisions import Decision, hash_of

ROWS = 52_002
_FILES = ("alpaca_random_first3000.json", "cherry_alpaca_5_percent.json", "alpaca_zh_part00_first2000.json")
_CRITERIA = {
    "instruction": ("complexity", "detail", "knowledge", "ambiguity", "reasoning"),
    "response": ("helpfulness", "relevance", "accuracy", "detail"),
}
_REASONS = ("copy", "invalid", "refusal", "truncated", "loop")
_ORACLE, _STUDENT = Maker("viewer:", "scripted", "none"), Maker("generator:", "scripted", "none")


@dataclass(frozen=True, slots=True)
class Row:
    """A row as `formats` reads it."""

    number: int
    raw: dict[str, Any]
    example: Example
    failure: Failure | None = None


def real_rows() -> list[dict[str, str]]:
    """The real rows that it is made of."""
    files = (json.loads(real_data(f"instruct/{name}").read_text(encoding="utf-8")) for name in _FILES)
    return [row for file in files for row in file if row["instruction"].strip() and row["output"].strip()]


def make_run(path: Path, rows: int = ROWS, seed: int = 0) -> None:
    """Make the run, in place of what is there."""
    shutil.rmtree(path, ignore_errors=True)
    real, chance = real_rows(), random.Random(seed)
    examples = [_row(real[number % len(real)], number) for number in range(rows)]
    columns = {"instruction": "instruction", "input": "input", "response": "output"}
    with RunDir(path) as run:
        run.made_by("recycle", _ORACLE)
        run.made_by("score", _STUDENT)
        run.ingest(examples, mapping=Mapping(shape="alpaca", columns=columns).model_dump_json())
        for stage, maker in (("recycle", _ORACLE), ("score", _STUDENT)):
            run.made_by(stage, maker)
            run.confirm(stage)
        recycled = [_recycled(row.example, real, chance) for row in examples]
        run.store.keep_results("recycle", _ORACLE.fingerprint, map(_entry, recycled))
        run.store.keep_results("score", _STUDENT.fingerprint, (_scored(row, chance) for row in recycled))
        for row in recycled[:: max(1, rows // 300)]:
            if row.rewritten:
                body = row.model_dump_json().encode()
                run.decisions.keep(
                    Decision(id=row.id, verdict=chance.choice(("accept", "reject")), of="QA", made_for=hash_of(body))
                )
    Recipe.made_of({"data": "alpaca.json", "oracle": "scripted", "stages": ["recycle", "score"]}, source="bench").save(
        path / "recipe.yaml"
    )


def _row(real: dict[str, str], number: int) -> Row:
    raw = {
        "instruction": f"{real['instruction']} (No. {number + 1})",
        "input": real.get("input", ""),
        "output": real["output"],
    }
    return Row(number, raw, Example(f"row-{number + 1}", raw["instruction"], raw["output"], raw["input"]))


def _recycled(example: Example, real: list[dict[str, str]], chance: random.Random) -> Recycled:
    language = "en" if example.instruction.isascii() else "zh"
    versions: dict[VersionName, Version] = {"original": example.version}
    if chance.random() < 0.03:
        failure = Failure(
            id=example.id,
            stage="instruction",
            reason=chance.choice(_REASONS),
            detail="It cannot be used.",
            raw=chance.choice(real)["output"],
        )
        return Recycled(id=example.id, language=language, versions=versions, failure=failure)
    one, other, third = (chance.choice(real) for _ in range(3))
    versions["Q"] = Version(
        instruction=f"{example.instruction} {one['instruction']}", response=f"{example.response} {one['output']}"
    )
    versions["QA"] = Version(instruction=versions["Q"].instruction, response=f"{other['output']}\n\n{third['output']}")
    rewrites = (
        Rewrite(
            kind="instruction",
            remarks=_remarks(("instruction", "response"), chance),
            link="The one is vague, and so is the other.",
            version=versions["Q"],
        ),
        Rewrite(kind="response", remarks=_remarks(("response",), chance), version=versions["QA"], of="Q"),
    )
    return Recycled(id=example.id, language=language, versions=versions, rewrites=rewrites)


def _remarks(subjects: tuple[str, ...], chance: random.Random) -> tuple[Remark, ...]:
    return tuple(
        Remark(
            subject=subject,
            criterion=name,
            remark=f"It could do with more {name}.",
            score=min(10, max(1, round(chance.gauss(6, 2)))),
        )  # type: ignore[arg-type]
        for subject in subjects
        for name in _CRITERIA[subject]
    )


def _entry(row: Recycled) -> tuple[str, bytes, str | None]:
    return row.id, row.model_dump_json().encode(), row.failure.reason if row.failure else None


def _scored(row: Recycled, chance: random.Random) -> tuple[str, bytes, str | None]:
    versions = {
        name: VersionScores(
            ifd_ppl=abs(chance.gauss(0.7, 0.15)),
            rifd_ppl=abs(chance.gauss(0.75, 0.12)),
            response_tokens=chance.randint(5, 400),
        )
        for name in row.versions
    }
    return row.id, Scored(id=row.id, versions=versions).model_dump_json(exclude_defaults=True).encode(), None
