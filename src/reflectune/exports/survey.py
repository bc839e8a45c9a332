"""What the rows are like as a whole, which a configuration depends on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reflectune.language import length
from reflectune.lessons import Lesson
from reflectune.recipe.train import LossOn
from reflectune.records import Failure

_TOKENS_OF_A_WORD = 1.4
_TOKENS_OF_A_TURN = 5


@dataclass(frozen=True, slots=True)
class Survey:
    """What the rows are like.

    Attributes:
        rows: How many can be learnt from.
        left_out: How many cannot.
        with_history: How many have earlier turns.
        masked: How many have characters in their answer that carry no loss.
        marked: How many have marked mistakes.
        first_marked: The first row that has them, or has characters without loss.
        tokens: About how many tokens a row has, on average, cut to the most that is read.
    """

    rows: int
    left_out: int = 0
    with_history: int = 0
    masked: int = 0
    marked: int = 0
    first_marked: int = 0
    tokens: float = 0.0


def survey(lessons: Iterable[Lesson | Failure], loss_on: LossOn, max_length: int) -> Survey:
    """Look at every row once.

    Args:
        lessons: The rows.
        loss_on: Which tokens of an answer carry loss.
        max_length: The most tokens of a row that are read.
    """
    rows = left_out = with_history = masked = marked = first = total = 0
    for lesson in lessons:
        if isinstance(lesson, Failure):
            left_out += 1
            continue
        rows += 1
        with_history += bool(lesson.example.history)
        silent = bool(lesson.silent(loss_on))
        masked += silent
        marked += bool(lesson.mistakes)
        first = first or (lesson.number if silent or lesson.mistakes else 0)
        total += min(_tokens(lesson), max_length)
    return Survey(rows, left_out, with_history, masked, marked, first, total / rows if rows else 0.0)


def _tokens(lesson: Lesson) -> int:
    """About how many tokens a row has, without a tokenizer: words, and characters of scripts written without spaces."""
    example = lesson.example
    texts = (example.system, *(turn.content for turn in example.history), example.question, example.response)
    return round(sum(_TOKENS_OF_A_WORD * length(text) + _TOKENS_OF_A_TURN for text in texts if text))
