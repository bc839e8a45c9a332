"""What a row teaches, and which part of its answer carries no loss."""

from __future__ import annotations

import pytest

from reflectune.formats import Row
from reflectune.lessons import Lesson, lesson_of
from reflectune.recipe.train import LossOn
from reflectune.records import Example, Failure

THOUGHT = "<thinking>\nOne.\nTwo.\n<reflection>\nNot two.\n</reflection>\n</thinking>\n<output>\n3\n</output>"


def row(response: str, **columns: object) -> Row:
    return Row(7, {"output": response, **columns}, Example("own", "Ask.", response), None)


def silent(response: str, loss_on: LossOn, mistakes: tuple[tuple[int, int], ...] | None = None) -> list[str]:
    lesson = Lesson(Example("own", "Ask.", response), 7, mistakes)
    return [response[begin:end] for begin, end in lesson.silent(loss_on)]


def test_a_row_is_known_by_the_id_of_the_run_that_wrote_it() -> None:
    found = lesson_of(row("Said.", reflectune={"id": "of-the-run"}), "train")
    assert isinstance(found, Lesson)
    assert found.id == "of-the-run"
    assert found.example.response == "Said."


@pytest.mark.parametrize("column", [{}, {"reflectune": "text"}, {"reflectune": {"id": 3}}])
def test_a_row_of_its_own_keeps_its_id(column: dict[str, object]) -> None:
    found = lesson_of(row("Said.", **column), "train")
    assert found.id == "own"


def test_marked_mistakes_are_read() -> None:
    found = lesson_of(row(THOUGHT, trace={"mistakes": [[16, 20]]}), "train")
    assert isinstance(found, Lesson)
    assert [THOUGHT[begin:end] for begin, end in found.silent("mistake-masked")] == ["Two."]


@pytest.mark.parametrize(
    ("trace", "what"),
    [
        ({"mistakes": [[0, 999]]}, r"row 7: a mistake is written \[begin, end\] within the .* not \[0, 999\]"),
        ({"mistakes": [[3, 3]]}, r"not \[3, 3\]"),
        ({"mistakes": [["a", "b"]]}, "a mistake is written"),
        ({"mistakes": [[1, 2, 3]]}, "a mistake is written"),
        ({"mistakes": "none"}, "does not say where the mistakes are"),
    ],
)
def test_marks_that_cannot_be_read_are_a_failure_of_the_row(trace: object, what: str) -> None:
    import re

    found = lesson_of(row(THOUGHT, trace=trace), "train")
    assert isinstance(found, Failure)
    assert (found.id, found.stage, found.reason) == ("own", "train", "trace")
    assert re.search(what, found.detail)


@pytest.mark.parametrize("trace", [None, "id-77", {}, {"spans": []}, 3])
def test_a_column_of_that_name_that_marks_nothing_is_another_column(trace: object) -> None:
    found = lesson_of(row(THOUGHT, trace=trace), "train")
    assert isinstance(found, Lesson)
    assert found.mistakes is None


def test_an_empty_answer_teaches_nothing() -> None:
    found = lesson_of(row(" \n"), "export")
    assert isinstance(found, Failure)
    assert (found.stage, found.reason) == ("export", "no-response")


def test_a_row_that_was_not_read_keeps_its_failure() -> None:
    failure = Failure(id="x", stage="read", reason="no-columns")
    assert lesson_of(Row(1, {}, None, failure), "train") is failure
    nothing = lesson_of(Row(4, {}, None, None), "train")
    assert isinstance(nothing, Failure)
    assert nothing.detail == "row 4: it is empty"


def test_what_carries_no_loss() -> None:
    marked = ((16, 20),)
    assert silent(THOUGHT, "whole", marked) == []
    assert silent(THOUGHT, "mistake-masked", marked) == ["Two."]
    assert silent(THOUGHT, "mistake-masked", ()) == []  # a clean trace, whose marks say that nothing is wrong
    (thought,) = silent(THOUGHT, "mistake-masked")
    assert thought.split() == ["One.", "Two."]
    (before,) = silent(THOUGHT, "after-reflection", marked)
    assert before.endswith("<reflection>\n")
    assert silent("No tags.", "after-reflection") == silent("No tags.", "mistake-masked") == []


def test_a_reflection_beside_the_thinking_is_found_too() -> None:
    beside = "Two.\n<reflection>\nNot two.\n</reflection>\n<output>\n3\n</output>"
    assert silent(beside, "mistake-masked") == ["Two.\n"]
