"""The answer that a reply gives in free words."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.answers.reading import answer_in, last_number, stated_letter
from reflectune.answers.rules import is_right


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("(C)", "C"),
        ("C)", "C"),
        ("C.", "C"),
        ("C. Paris", "C"),
        ("**C**", "C"),
        ("**C. Paris**", "C"),
        ("Answer: C", "C"),
        ("answer: (C)", "C"),
        ("**Answer:** C", "C"),
        ("The answer is (C).", "C"),
        ("The answer is **C**.", "C"),
        ("The correct answer is option C because A is too cold.", "C"),
        ("The correct option is: C", "C"),
        ("So the final answer is \\boxed{C}.", "C"),
        ("$\\boxed{\\text{C}}$", "C"),
        ("Option A is wrong, (B) is too.\nThe answer is C", "C"),
        ("The answer is A. Wait, that is wrong. The answer is D.", "D"),
        ("It is warm there.\n\nC", "C"),
        ("It must be (B), the others are cold.", "B"),
        ("Reasons first.\nC) Paris", "C"),
        ("Option B is correct.", "B"),
        ("(B) is the right answer, since A is too cold.", "B"),
        ("A is not correct. B is incorrect.", None),
        ("Therefore, the correct answer is **(B) 5 N**.", "B"),
        ("The answer is A or B.", None),
        ("Either (A) or (B) may be right.", None),
        ("A) cold\nB) warm", None),
        ("**A** and **B**", None),
        ("I cannot tell.", None),
        ("The answer is: I think C.", "C"),
        ("My answer is I believe (B).", "B"),
        ("**I chose option B**", "B"),
        ("The answer is B, I think.", "B"),
        ("The answer is B, A is wrong.", "B"),
        ("The answer is B and A is wrong.", "B"),
        ("The answer is B, because A melts.", "B"),
        ("The answer is A, B and C.", None),
        ("The answer is A, C.", None),
        ("The answer is A & C.", None),
        ("A is correct and B is correct", None),
        ("A is correct. No, B is correct.", "B"),
        ("The wrong answer is A, so it is none of these", None),
        ("The wrong answer is A, so the answer is D.", "D"),
        ("The incorrect option is C. I pick B.", "B"),
        ("The answer is not (B).", None),
        ("If the answer is B, ice sinks. So C.", "C"),
        ("If so, the answer is B.", "B"),
        ("I wouldn't choose A.", None),
        ("I choose B.", "B"),
        ("I'd go with option (D).", "D"),
        ("Ice floats. So B.", "B"),
        ("Therefore, it is C", "C"),
        ("the answer is (b).", "B"),
        ("答案是（B）", "B"),
        ("答案：B", "B"),
        ("正确答案是 B", "B"),
        ("冰会浮起，所以选 B。", "B"),
        ("因此，答案应该是选项C。", "C"),
        ("B 是正确的，A 不正确。", "B"),
        ("答案是A和B", None),
        ("错误答案是A，不选 C。", None),
        ("选项 A 太冷。", None),
        ("A cat sat on the mat, and I do not know.", None),
        ("The answer is a mystery", None),
        ("The answer is Aluminium.", None),
        ("", None),
    ],
)
def test_a_letter_is_read_where_one_is_stated(text: str, letter: str | None) -> None:
    assert stated_letter(text) == letter


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("The answer is I", 9, "I"),
        ("The answer is I", 4, None),
        ("(I) Paris", 4, None),
        ("\\boxed{E}", 5, "E"),
        ("\\boxed{E}", 4, None),
        ("**E** no, **B**", 4, "B"),
        ("E. Paris", 4, None),
    ],
)
def test_letters_beyond_the_options_are_none(text: str, options: int, letter: str | None) -> None:
    assert stated_letter(text, options) == letter


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### Step 2: Total\n4*5=20\nThe answer is \\boxed{20}", "20"),
        ("#### Step 2: Total\n4*5=20\nThe answer is 20.", "20"),
        ("#### 3 boxes × 4 = 12", "12"),
        ("#### 1. Adding them up\n3 and 4 make 7", "7"),
        ("#### 2) Sum\n3 and 4 make 7", "7"),
        ("#### 2 - Sum\n3 and 4 make 7", "7"),
        ("#### 7\n#### Step 9 is not needed", "7"),
        ("#### **$18** dollars per day (2 of 9)\nThat is all of 30.", "$18"),
        ("#### Final answer: 20\nof 90", "20"),
        ("#### 答案：20 元\n共 90", "20"),
        ("#### $-7\\%$\nof 90", "-7"),
        ("#### 72 \\text{ cats}\nof 90", "72"),
        ("He has 3, then 4.\n#### 7", "7"),
        ("#### $1,234.50 in all", "$1,234.50"),
        ("#### 5\nThat is, 3 and 2.", "5"),
        ("The answer is \\boxed{42} of 100.", "42"),
        ("It is \\boxed{42 \\text{ cats}}.", "42"),
        ("16 - 3 = 13", "13"),
        ("16-3=13", "13"),
        ("3 - 16 = -13", "-13"),
        ("so −13", "−13"),
        ("It costs $18.", "$18"),
        ("about 3/4", "3/4"),
        ("page 10-12", "12"),
        ("A: 26", "26"),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_number_is_read_from_prose(text: str, number: str | None) -> None:
    assert answer_in("gsm8k", text) == number


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("First \\boxed{1}, no, \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("The answer is $x^2$.", "x^2"),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("I would rather not say anything about this question", None),
    ],
)
def test_a_formula_is_read_from_prose(text: str, formula: str | None) -> None:
    assert answer_in("math", text) == formula


@given(st.integers(-(10**6), 10**6), st.sampled_from(["#### {}", "It is {}.", "So x = {}", "Thus \\boxed{{{}}}"]))
def test_a_number_is_read_as_it_was_written(number: int, said: str) -> None:
    assert is_right("gsm8k", str(number), answer_in("gsm8k", f"We take 12 of 7.\n{said.format(number)}") or "")


def test_the_loggers_of_math_verify_stay_as_they_are() -> None:
    pytest.importorskip("math_verify")
    logger = logging.getLogger("math_verify.parser")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        with ThreadPoolExecutor(4) as pool:
            marks = list(pool.map(lambda _: is_right("math", "x^2 + 1", "1 + x^2"), range(12)))
        assert marks == [True] * 12
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    for form in ("gsm8k", "math", "choice", "open"):
        answer_in(form, text)  # type: ignore[arg-type]
    last_number(text)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "published"), [("abel_7b_gsm8k", 59.74), ("abel_70b_gsm8k", 83.62), ("tora-70b-v1.0_gsm8k", 84.3)]
)
def test_gsm8k_comes_to_what_is_published(data: Path, name: str, published: float) -> None:
    found = rows(data / f"outputs/{name}.jsonl")
    marks = [
        is_right(
            "gsm8k",
            str(row.get("gold", row.get("gt"))),
            answer_in("gsm8k", row.get("response") or row["code"][0]) or "",
        )
        for row in found
    ]
    assert len(marks) == 1319
    assert 100 * sum(marks) / len(marks) == pytest.approx(published, abs=0.5)


@pytest.mark.parametrize(
    ("model", "right"),
    [("6b_finetuning", 129), ("6b_verification", 239), ("175b_finetuning", 205), ("175b_verification", 333)],
)
def test_every_verdict_on_the_example_solutions_is_the_stored_one(data: Path, model: str, right: int) -> None:
    found = rows(data / "gsm8k/example_model_solutions_first600.jsonl")
    marks = [
        is_right(
            "gsm8k", answer_in("gsm8k", row["ground_truth"]) or "", answer_in("gsm8k", row[model]["solution"]) or ""
        )
        for row in found
    ]
    assert marks == [row[model]["is_correct"] for row in found]
    assert sum(marks) == right


def test_math_comes_to_what_is_stored(data: Path) -> None:
    found = rows(data / "math/math_cot_100_candidates.jsonl")
    marks = [[is_right("math", row["gt"], answer_in("math", said) or "") for said in row["response"]] for row in found]
    stored = [row["score"] for row in found]
    apart = [
        (row["gt"], given)
        for row, ours, theirs in zip(found, marks, stored, strict=True)
        for given, a, b in zip(row["pred"], ours, theirs, strict=True)
        if a != b
    ]
    # A thousand set off by a comma in braces: the stored verdict takes 10{,}000 for another number than 10000.
    assert apart == [("10{,}000", "10000")]
    assert 100 * sum(map(sum, marks)) / 800 == pytest.approx(91.0, abs=1)
    assert sum(several[0] for several in marks) == 90
    assert sum(map(any, marks)) == pytest.approx(96, abs=1)


def test_every_gold_answer_of_math_is_right_in_its_solution_and_alone(data: Path) -> None:
    found = rows(data / "math/math500_test.jsonl")
    for row in found:
        for said in (row["solution"], row["answer"], f"So the answer is ${row['answer']}$."):
            assert is_right("math", row["answer"], answer_in("math", said) or ""), (row["answer"], said)
