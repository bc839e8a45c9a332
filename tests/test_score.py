"""The student's scores: against a plain reference on real rows, and what cannot be scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plain_scores import PlainScorer
from reflectune.prompts import Prompts
from reflectune.recipe import ScoreSettings
from reflectune.records import Example, Version
from reflectune.scoring import Versions, score
from reflectune.student import Student, open_student
from reflectune.student.weights import find_student

pytestmark = pytest.mark.model

_IN_TWO_VERSIONS = 2
_LONGEST = 600  # characters of a row; `make proof-scoring` compares rows of every length
FIGURES = (
    *("response_loss_conditioned", "response_loss_alone", "instruction_loss_conditioned", "instruction_loss_alone"),
    *("ifd_ppl", "rifd_ppl"),
)


@pytest.fixture(scope="module")
def student() -> Iterator[Student]:
    student = open_student("local")
    yield student
    student.close()


def real_rows(data: Path, count: int) -> list[Versions]:
    """Real rows, with their inputs apart; the first few in two versions."""
    rows = json.loads((data / "instruct" / "alpaca_random_first3000.json").read_text())
    rows = [row for row in rows if row["output"].strip() and len("".join(row.values())) <= _LONGEST]
    found = []
    for number, (row, other) in enumerate(zip(rows[:count], rows[count : 2 * count], strict=True)):
        first = Example(f"row-{number}", row["instruction"], row["output"], row["input"])
        second = Version(instruction=row["instruction"], input=row["input"], response=other["output"])
        few = number < _IN_TWO_VERSIONS
        found.append(Versions(first, {"original": first.version, "A": second} if few else {"original": first.version}))
    return found


@pytest.mark.parametrize("convention", ["exact", "published"])
@pytest.mark.parametrize("max_length", [2048, 96])
def test_scores_are_those_of_the_plain_way(student: Student, data: Path, convention: str, max_length: int) -> None:
    rows = real_rows(data, 6)
    settings = ScoreSettings.model_validate({"convention": convention, "max_length": max_length})
    plain = PlainScorer(find_student("local").folder, convention, Prompts().text("en", "rifd_request.txt"), max_length)
    found = score(rows, student, settings)
    assert [scored.id for scored in found.scored] == [row.example.id for row in rows]
    compared = 0
    for row, scored in zip(rows, found.scored, strict=True):
        for name, scores in scored.versions.items():
            version = row.versions[name]
            expected = plain.score(version.instruction, version.input, version.response)
            for figure in FIGURES:
                value = getattr(scores, figure)
                if value is not None:
                    compared += 1
                    assert value == pytest.approx(expected[figure], abs=1e-4), (row.example.id, name, figure)
    assert compared >= (42 if max_length == 2048 else 20)  # by the published way one token has no score
