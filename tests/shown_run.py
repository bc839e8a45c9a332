"""A run with a row of every kind, for tests of the pages: good ones, bad ones, and some that mean harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.formats import Mapping
from reflectune.recipe import Recipe
from reflectune.records import (
    Ballot,
    Example,
    Failure,
    Recycled,
    Remark,
    Rewrite,
    Scored,
    Version,
    VersionName,
    VersionScores,
)
from reflectune.runs import Maker, RunDir, Selected

ORACLE, STUDENT = Maker("mark:", "oracle@http://127.0.0.1:9/v1", "prompts"), Maker("student:", "student", "template")
HARM = (
    "<script>document.title = 'harm'; alert(1)</script><img src=x onerror=\"alert(2)\"><svg onload=alert(3)>"
    '</output></textarea></div><a href="javascript:alert(4)">x</a>{{ 7 * 7 }}${7*7}'
    "\u202egnirts desrever\u202c \u2066isolated\u2069 \x07 http://127.0.0.2/elsewhere.png"
)
"""Text that would do something if any page took it for more than text."""
HARMFUL_ID = "a/b?c#d <img src=x onerror=alert(5)> \"quoted' é"
LONG = "long " * 200_000
"""A cell of 1 MB."""
NAMES = ("weather", "chinese", "failed", "pending", "unread", HARMFUL_ID, "long")


@dataclass(frozen=True)
class Row:
    """A row as `formats` reads it."""

    number: int
    raw: dict[str, Any]
    example: Example | None = None
    failure: Failure | None = None


def _row(number: int, instruction: str, response: str, given: str = "") -> Row:
    raw = {"instruction": instruction, "input": given, "output": response}
    return Row(number, raw, Example(NAMES[number], instruction, response, given))


def rows() -> list[Row]:
    """The rows as they were read."""
    return [
        _row(0, "Name the weather.", "It rains.", "in the north"),
        _row(1, "今天天气怎么样？", "今天天气很好。"),
        _row(2, "Copy this.", "this"),
        _row(3, "Still to be done.", "soon"),
        Row(
            4,
            {"instruction": ""},
            failure=Failure(id="unread", stage="read", reason="no-instruction", detail="It is empty."),
        ),
        _row(5, f"Say {HARM}", HARM, HARM),
        _row(6, "Repeat.", LONG),
    ]


def remarks(*subjects: str) -> tuple[Remark, ...]:
    """A critique."""
    return tuple(
        Remark(subject=subject, criterion=name, remark=f"More {name} of the {subject}.", score=score)  # type: ignore[arg-type]
        for subject in subjects
        for name, score in (("detail", 4), ("accuracy", 8))
    )


def result_of(row: Row) -> Recycled | None:
    """What became of a row."""
    if row.example is None or row.example.id == "pending":
        return None
    example = row.example
    versions: dict[VersionName, Version] = {"original": example.version}
    if example.id == "failed":
        failure = Failure(
            id="failed", stage="instruction", reason="copy", detail="It is the old text.", raw=f"raw \x00{HARM}"
        )
        return Recycled(id="failed", language="en", versions=versions, failure=failure)
    better = {"chinese": "今天北京天气很好，气温二十度。", "long": LONG + "end", HARMFUL_ID: f"better {HARM}"}
    versions["Q"] = Version(instruction=f"{example.instruction} Say why.", response=f"{example.response} It is so.")
    versions["QA"] = Version(
        instruction=versions["Q"].instruction, response=better.get(example.id, "It rains hard today.")
    )
    ballot = Ballot(candidates=(versions["Q"], versions["QA"]), choice=1, reason="It is clearer.")
    link = HARM if example.id == HARMFUL_ID else "The one led to the other."
    rewrites = (
        Rewrite(
            kind="instruction",
            remarks=remarks("instruction", "response"),
            link=link,
            version=versions["Q"],
            ballot=ballot,
        ),
        Rewrite(kind="response", remarks=remarks("response"), version=versions["QA"], of="Q"),
    )
    return Recycled(id=example.id, language="en", versions=versions, rewrites=rewrites, after=remarks("response"))


def make(path: Path, oracle: str = "m", data: str = "data.json") -> Path:
    """Make the run."""
    columns = {"instruction": "instruction", "input": "input", "response": "output"}
    with RunDir(path) as run:
        for stage, maker in (("recycle", ORACLE), ("score", STUDENT)):
            run.made_by(stage, maker)
            run.confirm(stage)
        run.ingest(rows(), mapping=Mapping(shape="alpaca", columns=columns).model_dump_json())
        done = [result for row in rows() if (result := result_of(row))]
        entries = [(one.id, one.model_dump_json().encode(), one.failure and one.failure.reason) for one in done]
        run.store.keep_results("recycle", ORACLE.fingerprint, entries)
        ratios: dict[VersionName, VersionScores] = {
            "original": VersionScores(ifd_ppl=0.5, rifd_ppl=0.75),
            "QA": VersionScores(ifd_ppl=0.625, rifd_ppl=0.25),
        }
        scores = [Scored(id=name, versions=ratios).model_dump_json().encode() for name in ("weather", "chinese")]
        run.store.keep_results(
            "score", STUDENT.fingerprint, zip(("weather", "chinese"), scores, (None, None), strict=True)
        )
        said = [
            ("weather", Selected(kept=True, version="QA", reason="new-response", detail="IFD of Q 0.6 > 0.5")),
            ("chinese", Selected(kept=False, version="QA", reason="response-not-better", detail="r-IFD 0.8 >= 0.7")),
        ]
        run.keep_selection(said)
    Recipe.made_of({"data": data, "oracle": oracle}, source="test").save(path / "recipe.yaml")
    return path
