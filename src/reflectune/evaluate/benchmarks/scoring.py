"""Is a reply right? The rules of the benchmarks, apart from lm-eval."""

from __future__ import annotations

from reflectune.answers.reading import answer_in
from reflectune.answers.rules import is_right
from reflectune.evaluate.benchmarks.catalogue import Kind
from reflectune.recipe.traces import TraceForm
from reflectune.tags import parse

__all__ = ["FORMS", "answers", "draft_is_right", "output_of"]

FORMS: dict[Kind, TraceForm] = {"gsm8k": "gsm8k", "math": "math", "choice": "choice"}
"""The kinds whose questions have one right answer, by the form of that answer."""


def output_of(text: str) -> str | None:
    """What stands in the `<output>` of a reply; `None` where it has none."""
    return parse(text).output


def answers(form: TraceForm, answer: str, text: str, options: int | None = None) -> bool | None:
    """Whether a text gives the right answer; `None` where it gives none that can be read, which counts as wrong."""
    given = answer_in(form, text, options)
    return None if given is None else is_right(form, answer, given)


def draft_is_right(form: TraceForm, answer: str, text: str, options: int | None = None) -> bool | None:
    """Whether the answer that a reply had come to before its first reflection is the right one.

    Args:
        form: What kind of answer it is.
        answer: The right one.
        text: The raw reply.
        options: How many options the question has, where it has options.

    Returns:
        `None` where there is no `<thinking>`, or no answer in it up to there.
    """
    parsed = parse(text)
    thinking = parsed.thinking_block
    if thinking is None:
        return None
    begin, end = thinking.span
    for block in parsed.reflection_blocks:
        if begin <= block.whole[0] < end:
            end = block.whole[0]
            break
    return answers(form, answer, text[begin:end], options)
