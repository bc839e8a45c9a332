"""Rows of the benchmarks' data sets as questions, whether they come from files or from the hub.

A question has the columns `id`, `question` and `answer`, and what its kind needs besides: the same ones from either
source, so that one task file and one way of scoring serve both.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from typing import Any

from reflectune.answers.reading import LETTERS, answer_in
from reflectune.answers.rules import boxed
from reflectune.records import digest

__all__ = ["arc", "gpqa", "gsm8k", "humaneval", "ifeval", "math", "mmlu", "spread"]

Row = dict[str, Any]
_CALCULATED = re.compile(r"<<[^<>]*>>")
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def gsm8k(row: Row, number: int) -> Row:
    """A question with its worked solution, which ends in `#### 72`; marks as `<<48/2=24>>` are left out.

    Raises:
        ValueError: It does not end so.
    """
    solution = row["answer"]
    if "####" not in solution:
        raise ValueError("the answer has no line `#### number`")
    return {
        "id": str(number),
        "question": row["question"],
        "answer": answer_in("gsm8k", solution) or "",
        "solution": _CALCULATED.sub("", solution),
    }


def math(row: Row, number: int) -> Row:
    """A problem with its solution; the answer has a column of its own, or stands in the solution's last box.

    Raises:
        ValueError: There is neither.
    """
    answer = row.get("answer") or boxed(row.get("solution") or "")
    if not answer:
        raise ValueError("there is no answer, and no \\boxed{} in the solution")
    return {"id": str(row.get("unique_id") or number), "question": row["problem"], "answer": answer}


def ifeval(row: Row, number: int) -> Row:
    """A prompt with its instructions; their arguments stay one text, so that no column is filled up with nulls."""
    arguments = [{name: value for name, value in one.items() if value is not None} for one in row["kwargs"]]
    return {
        "id": str(row.get("key", number)),
        "question": row["prompt"],
        "answer": "",
        "instructions": json.dumps([row["instruction_id_list"], arguments]),
    }


def humaneval(row: Row, number: int) -> Row:
    """The beginning of a function, and its tests."""
    return {
        "id": str(row.get("task_id", number)),
        "question": row["prompt"],
        "answer": "",
        "entry_point": row["entry_point"],
        "test": row["test"],
    }


def arc(row: Row, number: int) -> Row:
    """A question with three to five choices, as AI2's files or the hub have it; keys may be letters or digits.

    Raises:
        ValueError: The key is none of the labels.
    """
    asked, choices = row["question"], row.get("choices")
    if isinstance(asked, dict):
        asked, choices = asked["stem"], asked["choices"]
    if isinstance(choices, dict):
        texts, labels = list(choices["text"]), list(choices["label"])
    else:
        texts = [choice["text"] for choice in choices or ()]
        labels = [choice["label"] for choice in choices or ()]
    return _choice(str(row.get("id", number)), asked, texts, labels.index(row["answerKey"]))


def mmlu(row: Row, number: int) -> Row:
    """A question with four choices of a subject; the answer is a letter or a place."""
    answer = row["answer"]
    place = answer if isinstance(answer, int) else LETTERS.index(answer.strip())
    subject = row.get("subject", "")
    return _choice(f"{subject}/{number}", row["question"].strip(), list(row["choices"]), place) | {"subject": subject}


def spread(subjects: Iterable[str]) -> list[int]:
    """The places of rows, given the subject of each: the first of every subject, then the second of each, and so on."""
    seen: dict[str, int] = {}
    turns = []
    for subject in subjects:
        turns.append(seen.get(subject, 0))
        seen[subject] = turns[-1] + 1
    return sorted(range(len(turns)), key=turns.__getitem__)


def gpqa(row: Row, number: int) -> Row:
    """A question with one right and three wrong answers, shuffled: by the question, so that the order never changes."""
    right = row["Correct Answer"].strip()
    choices = [right, *(row[name].strip() for name in _WRONG)]
    random.Random(digest(row["Question"])).shuffle(choices)  # noqa: S311 - an order, no secret
    return _choice(str(row.get("Record ID") or number), row["Question"].strip(), choices, choices.index(right))


def _choice(name: str, question: str, choices: list[str], place: int) -> Row:
    if not 0 <= place < len(choices):
        raise ValueError(f"the answer is choice {place + 1} of {len(choices)}")
    shown = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))
    return {
        "id": name,
        "question": question,
        "options": shown,
        "answer": LETTERS[place],
        "count": len(choices),
    }
