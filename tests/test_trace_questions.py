"""Questions: read from files of every form, and their answers checked by rule."""

from __future__ import annotations

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reflectune.answers.rules import boxed, is_answer, is_right
from reflectune.errors import InputError, MissingExtraError
from reflectune.records import Failure, Message
from reflectune.traces import Question, Questions
from reflectune.traces.questions import distinct

WORKED = {"question": "How many are 2 and 3?", "answer": "They are 2+3 = <<2+3=5>>5.\n#### 5"}


def file(folder: Path, *rows: Any, name: str = "data.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(source: str, form: str = "auto") -> list[Question | Failure]:
    return list(Questions(source, form).rows())


def one(source: str, form: str = "auto") -> Question:
    [row] = read(source, form)
    assert isinstance(row, Question)
    return row


def test_a_worked_solution(tmp_path: Path) -> None:
    question = one(file(tmp_path, WORKED))
    assert (question.form, question.text, question.answer) == ("gsm8k", "How many are 2 and 3?", "5")
    assert [step.text for step in question.steps] == ["They are 2+3 = 5."]
    assert question.source == "data.jsonl:1"


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"problem": "What is $1+1$?", "solution": "It is $\\boxed{2}$.", "answer": "2"}, "2"),
        ({"problem": "What is $1+1$?", "solution": "No $\\boxed{1}$ but $\\boxed{\\frac{4}{2}}$."}, "\\frac{4}{2}"),
        ({"question": "What is $1+1$?", "solution": "It is 2.", "answer": 2}, "2"),
    ],
)
def test_a_problem_in_latex(tmp_path: Path, row: dict[str, Any], answer: str) -> None:
    question = one(file(tmp_path, row))
    assert (question.form, question.text, question.answer) == ("math", "What is $1+1$?", answer)


LISTED = "Which is blue?\n\nA. grass\nB. sky"


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Which is blue?", "choices": ["grass", "sky"], "answer": 1},
        {"question": "Which is blue?", "choices": ["grass", "sky"], "answer": "B"},
        {"question": "Which is blue?", "choices": {"text": ["grass", "sky"], "label": ["1", "2"]}, "answerKey": "2"},
        {
            "question": {
                "stem": "Which is blue?",
                "choices": [{"text": "grass", "label": "A"}, {"text": "sky", "label": "B"}],
            },
            "answerKey": "B",
        },
        {"query": "Which is blue?", "choices": ["grass", "sky"], "gold": 1},
        {"question": "Which is blue?", "A": "grass", "B": "sky", "answer": "B"},
    ],
)
def test_choices_in_every_shape(tmp_path: Path, row: dict[str, Any]) -> None:
    question = one(file(tmp_path, row))
    assert (question.form, question.text, question.answer) == ("choice", LISTED, "B")


def test_a_table_of_choices_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text('Which is blue?,grass,sky,"a, b",snow,B\nWhich is cold?,fire,sun,tea,ice,D\n')
    first, second = read(str(path))
    assert isinstance(first, Question)
    assert isinstance(second, Question)
    assert (first.text.splitlines()[0], first.answer, first.source) == ("Which is blue?", "B", "test.csv:1")
    assert (second.text.splitlines()[-1], second.answer) == ("D. ice", "D")


def test_anything_else_is_open(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        *({"role": role, "content": role} for role in ("user", "assistant")),
        {"role": "user", "content": "Tell me."},
        {"role": "assistant", "content": "No."},
    ]
    question = one(file(tmp_path, {"messages": turns}))
    assert (question.form, question.text, question.answer, question.system) == ("open", "Tell me.", None, "Be kind.")
    assert question.history == (Message("user", "user"), Message("assistant", "assistant"))


def test_an_open_row_that_cannot_be_read_is_a_failure(tmp_path: Path) -> None:
    good, bad = read(file(tmp_path, {"instruction": "a", "output": "b"}, {"instruction": 7, "output": None}))
    assert isinstance(good, Question)
    assert isinstance(bad, Failure)
    assert bad.stage == "trace"


@pytest.mark.parametrize(
    ("row", "form", "reason", "detail"),
    [
        ({"question": "a", "answer": "It is 5."}, "gsm8k", "no-answer", "row 2: its answer does not end in"),
        ({"question": "a", "answer": "So\n#### five"}, "gsm8k", "no-answer", "'five' is no number"),
        ({"question": "", "answer": "So\n#### 5"}, "gsm8k", "empty", "'question' holds no text"),
        ({"question": "a", "answer": None}, "gsm8k", "empty", "'answer' holds no text"),
        ({"problem": "a", "solution": "It is so."}, "math", "no-answer", "no answer, neither"),
        ({"question": "a", "choices": ["b"], "answer": 0}, "choice", "no-choices", "it has 1 choices"),
        ({"question": "a", "choices": ["b", "c"], "answer": 2}, "choice", "no-answer", "key '2' names none"),
        ({"question": "a", "choices": ["b", "c"], "answer": "X"}, "choice", "no-answer", "key 'X' names none"),
        ({"question": " ", "choices": ["b", "c"], "answer": 0}, "choice", "no-question", "it has no question"),
    ],
)
def test_a_row_that_cannot_be_used_is_a_failure(
    tmp_path: Path, row: dict[str, Any], form: str, reason: str, detail: str
) -> None:
    good = {
        "gsm8k": WORKED,
        "math": {"problem": "a", "solution": "b", "answer": "1"},
        "choice": {"question": "a", "choices": ["b", "c"], "answer": 0},
    }[form]
    _, failure = read(file(tmp_path, good, row), form)
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("trace", reason)
    assert detail in failure.detail
    assert failure.detail.startswith("data.jsonl: row 2: ")
    assert failure.raw


def test_where_no_row_can_be_used_that_is_an_error(tmp_path: Path) -> None:
    source = file(tmp_path, *[{"question": "a", "answer": "It is 5."}] * 2)
    with pytest.raises(
        InputError, match=r"data\.jsonl: no row holds a question that can be used; row 1: its"
    ) as caught:
        read(source, "gsm8k")
    assert "--from" in caught.value.mend


@pytest.mark.parametrize(
    ("row", "form", "what"),
    [
        ({"question": "a"}, "gsm8k", "row 1 has no column 'answer', which --from gsm8k reads; it has 'question'"),
        ({"problem": "a", "answer": "b"}, "math", "no column 'solution'"),
        ({"choices": ["a", "b"], "answer": 0}, "choice", "no column 'question' or 'query'"),
        ({"title": "a"}, "auto", "no instruction and response"),
    ],
)
def test_a_missing_column_is_named(tmp_path: Path, row: dict[str, Any], form: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(file(tmp_path, row), form)


@pytest.mark.parametrize(("name", "what"), [("nope.jsonl", "no such file"), ("x.docx", "no such file")])
def test_a_missing_file(tmp_path: Path, name: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        Questions(str(tmp_path / name))


@pytest.mark.parametrize(("content", "what"), [("", "the file is empty"), ("\n", "holds no rows")])
def test_an_empty_file(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=what):
        Questions(str(path))


def test_ids_are_the_rows_own_or_made_of_their_content(tmp_path: Path) -> None:
    first, second, third = read(file(tmp_path, WORKED, WORKED, {**WORKED, "id": 7}))
    assert second.id == f"{first.id}-2"
    assert third.id == "7"
    with pytest.raises(InputError, match="rows 1 and 2 have the same id 7"):
        read(file(tmp_path, {**WORKED, "id": 7}, {**WORKED, "id": 7}))


def test_the_same_question_and_answer_counts_once(tmp_path: Path) -> None:
    other = {**WORKED, "answer": WORKED["answer"].replace("#### 5", "#### 6")}
    first, again, differs, broken = distinct(
        read(file(tmp_path, WORKED, WORKED, other, {"question": "a", "answer": "b"}))
    )
    assert isinstance(first, Question)
    assert isinstance(differs, Question)
    assert isinstance(again, Failure)
    assert again.reason == "duplicate"
    assert first.id in again.detail
    assert isinstance(broken, Failure)
    assert broken.reason == "no-answer"


@pytest.mark.parametrize(
    ("form", "answer", "said", "right"),
    [
        ("gsm8k", "1,200", "$1200.00", True),
        ("gsm8k", "72", "72.", True),
        ("gsm8k", "72", "\\boxed{72}", True),
        ("gsm8k", "72", "72 clips", True),
        ("gsm8k", "72", "$72 dollars.", True),
        ("gsm8k", "72", "73 clips", False),
        ("gsm8k", "72", "73", False),
        ("gsm8k", "72", "about 72", False),
        ("gsm8k", "72", "", False),
        ("choice", "C", "C", True),
        ("choice", "C", " (C). the sky", True),
        ("choice", "C", "c", False),
        ("choice", "C", "B", False),
        ("choice", "A", "A sky is C", False),
        ("choice", "C", "C) A sky", True),
        ("choice", "C", "C.", True),
        ("choice", "C", "Cats", False),
        ("open", "yes", " yes.", True),
        ("open", "x+1", "1+x", False),
        ("math", "\\frac{1}{2}", "$\\dfrac{1}{2}$", True),
        ("math", "\\text{(A)}", "(A)", True),
    ],
)
def test_answers_are_checked_by_rule(form: Any, answer: str, said: str, right: bool) -> None:
    assert is_right(form, answer, said) is right


@pytest.mark.parametrize(
    ("form", "said", "is_one"),
    [
        ("gsm8k", "72 clips", True),
        ("gsm8k", "She sold 72 clips", False),
        ("gsm8k", "72 or 73", False),
        ("choice", "B", True),
        ("choice", "I choose B", False),
        ("math", "\\frac{\\sqrt{3}}{2}", True),
        ("math", "\\text{if and only if it is}", True),
        ("math", "The answer is seventy", False),
        ("math", " ", False),
        ("math", "1" * 500, False),
        ("open", "The whole answer is here.", True),
    ],
)
def test_what_is_no_answer_is_not_a_wrong_one(form: Any, said: str, is_one: bool) -> None:
    assert is_answer(form, said) is is_one


FORMULAS = [
    ("\\frac{1}{2}", "0.5", True),
    ("p - q", "-q+p", True),
    ("p - q", "q - p", False),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)", True),
    ("2\\sqrt{2}", "\\sqrt{8}", True),
    ("x", "}{", False),
    ("x", "x" * 500, False),
]


@pytest.mark.parametrize(("answer", "said", "right"), FORMULAS)
def test_formulas_are_compared_by_what_they_say(answer: str, said: str, right: bool) -> None:
    pytest.importorskip("math_verify")
    assert is_right("math", answer, said) is right


def test_formulas_are_compared_in_threads_too(caplog: pytest.LogCaptureFixture) -> None:
    """The time limit is an alarm, which only the main thread may set."""
    pytest.importorskip("math_verify")
    with ThreadPoolExecutor(2) as threads, caplog.at_level(logging.WARNING):
        found = threads.map(lambda row: is_right("math", row[0], row[1]), FORMULAS)
        assert list(found) == [right for *_, right in FORMULAS]
    assert not caplog.records


def test_without_math_verify_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert is_right("math", "\\frac{1}{2}", "\\dfrac{1}{2}")
    with pytest.raises(MissingExtraError) as caught:
        is_right("math", "p - q", "q - p")
    assert "reflectune[traces]" in caught.value.mend


@pytest.mark.parametrize(
    ("text", "inner"),
    [("a \\boxed{1} b \\boxed{ x^{2} }", "x^{2}"), ("none", None), ("\\boxed{open {", None)],
)
def test_the_last_box(text: str, inner: str | None) -> None:
    assert boxed(text) == inner
