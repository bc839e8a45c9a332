"""Questions that traces are made of: with a worked solution, with choices, or open."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from reflectune.answers.numbers import number_of
from reflectune.answers.rules import boxed
from reflectune.formats import Source
from reflectune.formats.source import Row
from reflectune.recipe.traces import TraceForm
from reflectune.records import Failure, Message, digest
from reflectune.traces.solutions import Step, steps_of

STAGE = "trace"
LETTERS = "ABCDEFGHIJ"
_GSM8K = re.compile(r"(?P<solution>.*)####\s*(?P<answer>\S.*?)\s*", re.DOTALL)


class Unreadable(Exception):  # noqa: N818 - a verdict on a row, which the reader catches
    """A row holds no question with an answer.

    Args:
        reason: A short name that can be counted.
        detail: What is wrong with it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    Attributes:
        id: The row's id.
        form: How its answer is told from a wrong one.
        text: What the user asks.
        answer: The right answer; `None` where nobody knows it.
        steps: The worked solution, step by step; nothing where there is none.
        system: The system prompt of the row.
        history: Earlier turns of the conversation.
        source: `FILE:ROW`.
    """

    id: str
    form: TraceForm
    text: str
    answer: str | None = None
    steps: tuple[Step, ...] = ()
    system: str = ""
    history: tuple[Message, ...] = field(default=())
    source: str = ""


def of_solution(raw: dict[str, object], name: str, source: str) -> Question:
    """A question with a worked solution that ends in `#### ANSWER`, as in GSM8K.

    Raises:
        Unreadable: The row holds none.
    """
    found = _GSM8K.fullmatch(_text(raw, "answer"))
    if found is None:
        raise Unreadable("no-answer", "its answer does not end in `#### NUMBER`")
    if number_of(found["answer"]) is None:
        raise Unreadable("no-answer", f"its answer {found['answer'][:40]!r} is no number")
    answer, steps = found["answer"].strip(), steps_of(found["solution"])
    return Question(name, "gsm8k", _text(raw, "question"), answer, steps, source=source)


def of_problem(raw: dict[str, object], name: str, source: str) -> Question:
    """A problem with its solution in LaTeX, as in MATH: the answer is a column, or the last box of the solution.

    Raises:
        Unreadable: The row holds none.
    """
    solution = _text(raw, "solution")
    given = raw.get("answer")
    answer = str(given).strip() if isinstance(given, (str, int, float)) else boxed(solution)
    if not answer:
        raise Unreadable("no-answer", "it has no answer, neither in a column `answer` nor in a \\boxed of its solution")
    problem = "problem" if "problem" in raw else "question"
    return Question(name, "math", _text(raw, problem), answer, steps_of(solution, sentences=True), source=source)


def of_choices(raw: dict[str, object], name: str, source: str) -> Question:
    """A question with choices and the key of the right one, as in MMLU and ARC.

    Raises:
        Unreadable: The row holds none.
    """
    stem, choices, labels = _choices(raw)
    if not 2 <= len(choices) <= len(LETTERS):  # noqa: PLR2004
        raise Unreadable("no-choices", f"it has {len(choices)} choices")
    key = next((raw[column] for column in ("answerKey", "answer", "gold", "label") if column in raw), None)
    place = key if isinstance(key, int) and not isinstance(key, bool) else _place(str(key).strip(), labels)
    if place is None or not 0 <= place < len(choices):
        raise Unreadable("no-answer", f"its key {str(key)[:40]!r} names none of its choices")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return Question(name, "choice", f"{stem}\n\n{listed}", LETTERS[place], source=source)


def open_questions(source: Source, name: str) -> Iterator[Question | Failure]:
    """The instructions of a data set, whose right answer nobody knows."""
    for row in source.rows():
        yield _open(row, name)


def distinct(questions: Iterable[Question | Failure]) -> Iterator[Question | Failure]:
    """Each question with its answer once; the second and later ones are failures that name the first."""
    seen: dict[str, str] = {}
    for question in questions:
        if isinstance(question, Failure):
            yield question
            continue
        key = digest([question.system, question.history, question.text, question.answer])
        first = seen.setdefault(key, question.id)
        if first == question.id:
            yield question
        else:
            detail = f"{question.source}: the same question and answer as row {first}."
            yield Failure(id=question.id, stage=STAGE, reason="duplicate", detail=detail)


def _open(row: Row, name: str) -> Question | Failure:
    source = f"{name}:{row.number}"
    if row.example is None:
        if row.failure is None:
            raise ValueError(f"Row {row.number} has neither an example nor a failure.")
        return row.failure.model_copy(update={"stage": STAGE})
    example = row.example
    return Question(example.id, "open", example.question, system=example.system, history=example.history, source=source)


def _choices(raw: dict[str, object]) -> tuple[str, list[str], list[str]]:
    """The question proper, the choices, and how the row labels them."""
    asked = raw.get("question", raw.get("query"))
    listed = raw.get("choices")
    if isinstance(asked, dict):  # as ARC was published
        listed, asked = asked.get("choices"), asked.get("stem")
    if not isinstance(asked, str) or not asked.strip():
        raise Unreadable("no-question", "it has no question")
    if isinstance(listed, dict):  # as ARC is on the hub
        texts, labels = list(map(str, listed.get("text", ()))), list(map(str, listed.get("label", ())))
    elif isinstance(listed, list) and all(isinstance(choice, dict) for choice in listed):
        texts = [str(choice.get("text", "")) for choice in listed]
        labels = [str(choice.get("label", "")) for choice in listed]
    elif isinstance(listed, list):
        texts, labels = list(map(str, listed)), list(LETTERS[: len(listed)])
    else:
        labels = [letter for letter in LETTERS if str(raw.get(letter) or "").strip()]
        texts = [str(raw[letter]) for letter in labels]
    return asked.strip(), [text.strip() for text in texts], labels


def _place(key: str, labels: list[str]) -> int | None:
    if key in labels:
        return labels.index(key)
    return int(key) if key.isdecimal() and "1" not in labels else None


def _text(raw: dict[str, object], column: str) -> str:
    value = raw.get(column)
    if not isinstance(value, str) or not value.strip():
        raise Unreadable("empty", f"its column {column!r} holds no text")
    return value.strip()
