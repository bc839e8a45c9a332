"""Traces of worked solutions, with mistakes that are planted by rule: no model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from reflectune.answers.numbers import number_of
from reflectune.language import prompt_language
from reflectune.prompts import REFLECT, Prompts
from reflectune.recipe import TraceSettings
from reflectune.records import Failure
from reflectune.traces.mistakes import Mistake, planted
from reflectune.traces.questions import Question, distinct
from reflectune.traces.trace import Draft, Piece, Trace, failed, finished


def plant_traces(
    questions: Iterable[Question | Failure], settings: TraceSettings | None = None
) -> Iterator[Trace | Failure]:
    """Make a trace of each worked solution: some clean, the others with a mistake that a reflection corrects.

    Every question comes out once, as a trace or as the reason why there is none, and the same ones with the same seed.

    Args:
        questions: Questions with worked solutions; failures are passed on.
        settings: Which mistakes to plant, and how many traces stay clean.
    """
    settings = settings or TraceSettings()
    prompts = Prompts(settings.prompts)
    for question in distinct(questions):
        if isinstance(question, Failure):
            yield question
            continue
        drafted = _draft(question, settings)
        yield drafted if isinstance(drafted, Failure) else finished(drafted, system_prompt(question, settings, prompts))


def dice(question: Question, settings: TraceSettings) -> tuple[Random, bool]:
    """What is drawn for a question, and whether it is to stay clean."""
    rng = Random(f"{settings.seed}:{question.id}")  # noqa: S311 - no secret
    return rng, rng.random() < settings.clean


def system_prompt(question: Question, settings: TraceSettings, prompts: Prompts) -> str:
    """The system prompt of a question's trace; nothing where none is wanted."""
    return prompts.text(settings.lang or prompt_language(question.text), REFLECT) if settings.system else ""


def _draft(question: Question, settings: TraceSettings) -> Draft | Failure:
    if (fault := _fault_of(question)) is not None:
        return fault
    answer = question.answer or ""
    rng, clean = dice(question, settings)
    if clean:
        return Draft(question, _steps(question), answer, "clean")
    mistake = planted(question, settings.kinds, rng)
    if mistake is None:
        return failed(question, "no-place", "its solution has no calculation that a mistake could be planted into")
    return Draft(
        question,
        _pieces(question, mistake),
        answer,
        "planted",
        mistake.kind,
        flagged_right=mistake.stated == mistake.true,
    )


def _fault_of(question: Question) -> Failure | None:
    """What is wrong with a worked solution."""
    if not question.steps or question.answer is None:
        return failed(question, "no-solution", "it has no worked solution")
    wrong = next((step.wrong for step in question.steps if step.wrong), None)
    if wrong:
        return failed(question, "wrong-solution", f"its worked solution says {wrong}")
    last = question.steps[-1].text.replace(",", "")
    answer = number_of(question.answer) if question.form == "gsm8k" else None
    if answer is not None and question.answer.replace(",", "").strip("$ ") not in last:
        return failed(question, "wrong-solution", f"its worked solution does not end in its answer, {question.answer}")
    return None


def _steps(question: Question, first: int = 0, last: int | None = None) -> tuple[Piece, ...]:
    return tuple(Piece(step.text) for step in question.steps[first:last])


def _pieces(question: Question, mistake: Mistake) -> tuple[Piece, ...]:
    return (
        *_steps(question, 0, mistake.before),
        Piece(mistake.step, "mistake"),
        Piece(mistake.reflection, "correction"),
        *_steps(question, mistake.after),
    )
