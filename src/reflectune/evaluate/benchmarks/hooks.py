"""What the task files name: functions that lm-eval calls on its documents and replies.

A failed reply is an `Unanswered`: it gets no marks, so that no mean counts it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reflectune.evaluate.benchmarks import rows
from reflectune.evaluate.benchmarks.programs import program_of
from reflectune.evaluate.benchmarks.scoring import FORMS, answers, output_of

__all__ = [
    "Ran",
    "Unanswered",
    "choice",
    "code",
    "gsm8k",
    "ifeval",
    "math",
    "output",
    "output_or_whole",
    "questions_of_arc_challenge",
    "questions_of_gpqa",
    "questions_of_gsm8k",
    "questions_of_humaneval",
    "questions_of_ifeval",
    "questions_of_math",
    "questions_of_mmlu",
    "run_code",
    "share",
]

Document = dict[str, Any]
Marks = dict[str, Any]
Replies = Iterable[Sequence[str]]


class Unanswered(str):
    """Stands where there is no reply."""

    __slots__ = ()


class Ran(str):
    """A reply whose code was run.

    Attributes:
        passed: Whether it passed the tests.
    """

    passed: bool = False


def _marked(score: Callable[[Document, str], Marks]) -> Callable[[Document, Sequence[str]], Marks]:
    """A rule for one reply as lm-eval calls it."""

    @functools.wraps(score)
    def process(document: Document, results: Sequence[str]) -> Marks:
        return {} if isinstance(results[0], Unanswered) else score(document, results[0])

    return process


@_marked
def gsm8k(document: Document, text: str) -> Marks:
    """Whether the number is right."""
    return {"accuracy": bool(answers(FORMS["gsm8k"], document["answer"], text))}


@_marked
def math(document: Document, text: str) -> Marks:
    """Whether the formula is right."""
    return {"accuracy": bool(answers(FORMS["math"], document["answer"], text))}


@_marked
def choice(document: Document, text: str) -> Marks:
    """Whether the letter is right."""
    return {"accuracy": bool(answers(FORMS["choice"], document["answer"], text, document.get("count")))}


@_marked
def ifeval(document: Document, text: str) -> Marks:
    """Which instructions are followed, and whether all are."""
    from reflectune.evaluate.benchmarks.ifeval import verdicts

    names, arguments = json.loads(document["instructions"])
    found = verdicts(document["question"], names, arguments, text)
    return {
        "prompt-strict": all(found.strict),
        "instruction-strict": list(found.strict),
        "prompt-loose": all(found.loose),
        "instruction-loose": list(found.loose),
    }


@_marked
def code(document: Document, text: str) -> Marks:  # noqa: ARG001 - as lm-eval calls it
    """Whether the tests passed, which `run_code` found out."""
    return {"pass@1": isinstance(text, Ran) and text.passed}


def share(marks: Iterable[Sequence[bool]]) -> float:
    """The share of all instructions, whatever prompt they are of."""
    every = [mark for several in marks for mark in several]
    return sum(every) / len(every)


def output(replies: Replies, documents: Iterable[Document]) -> list[list[str]]:  # noqa: ARG001
    """What stands in the `<output>` of each reply; nothing where there is none."""
    return [[_output(text, "") for text in several] for several in replies]


def output_or_whole(replies: Replies, documents: Iterable[Document]) -> list[list[str]]:  # noqa: ARG001
    """What stands in the `<output>` of each reply; its whole text where there is none."""
    return [[_output(text, text) for text in several] for several in replies]


def run_code(replies: Replies, documents: Iterable[Document]) -> list[list[str]]:
    """Each reply, once its code was run with the question's tests, in a sandbox.

    Raises:
        SettingsError: No sandbox can be made here.
    """
    from reflectune.evaluate.benchmarks.code.sandbox import run_all

    texts = [(several[0], document) for several, document in zip(replies, documents, strict=True)]
    asked = [place for place, (text, _) in enumerate(texts) if not isinstance(text, Unanswered)]
    outcomes = run_all([program_of(texts[place][1], texts[place][0]) for place in asked])
    ran: list[list[str]] = [[text] for text, _ in texts]
    for place, outcome in zip(asked, outcomes, strict=True):
        reply = Ran(texts[place][0])
        reply.passed = outcome.passed
        ran[place] = [reply]
    return ran


def _output(text: str, without: str) -> str:
    if isinstance(text, Unanswered):
        return text
    found = output_of(text)
    return without if found is None else found


def _questions(make: Callable[[Document, int], Document]) -> Callable[[Any], Any]:
    """The rows of a data set of the hub as questions."""

    def questions(dataset: Any) -> Any:
        return dataset.map(
            lambda row, place: make(row, place + 1), with_indices=True, remove_columns=dataset.column_names
        )

    return questions


questions_of_gsm8k = _questions(rows.gsm8k)
questions_of_math = _questions(rows.math)
questions_of_ifeval = _questions(rows.ifeval)
questions_of_humaneval = _questions(rows.humaneval)
questions_of_arc_challenge = _questions(rows.arc)
questions_of_gpqa = _questions(rows.gpqa)
_of_mmlu = _questions(rows.mmlu)


def questions_of_mmlu(dataset: Any) -> Any:
    """The rows of MMLU as questions, of one subject after another: the first ones may be asked alone."""
    return _of_mmlu(dataset).select(rows.spread(dataset["subject"]))
