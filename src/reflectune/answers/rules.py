"""Answers, checked by rule: numbers exactly, LaTeX by math-verify, choices by their letter."""

from __future__ import annotations

import logging
import re
import signal
import threading
from typing import Any

from reflectune.answers.numbers import NUMBER, number_of
from reflectune.optional import load_optional
from reflectune.recipe.traces import TraceForm

_SECONDS = 5
_LONGEST = 400
_LETTER = re.compile(r"\(?([A-J])(?:\)?[.:]?|[.:)]+\s.*)", re.DOTALL)
_WITH_UNIT = re.compile(rf"([-−]?\s*\$?\s*(?:{NUMBER})\s*%?)\s*[A-Za-z ]*\.?")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{3,}")
_SENTENCE_WORDS = 3
_TEXT = re.compile(r"\\(?:text|mbox|mathrm)\s*\{([^{}]*)\}")


class _Silence:
    """Within it, in whatever thread, loggers tell of errors only; once the last one has left all is as it was."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._levels: list[int] = []
        self._inside = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._levels = [logger.level for logger in self._loggers]
                for logger in self._loggers:
                    logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for logger, level in zip(self._loggers, self._levels, strict=True):
                    logger.setLevel(level)


_SILENCE = _Silence("math_verify.parser", "math_verify.grader")


def is_answer(form: TraceForm, given: str) -> bool:
    """Whether a text is an answer of this form at all, right or wrong.

    What is none may still hold the right answer, so that it must not be called wrong.

    Args:
        form: What kind of answer it should be.
        given: The text.
    """
    if form == "choice":
        return _LETTER.fullmatch(given.strip()) is not None
    if form == "gsm8k":
        return number_of(_bare(given)) is not None
    words = _WORD.findall(_TEXT.sub(r"", given)) if form == "math" else []
    return bool(given.strip()) and len(given) <= _LONGEST and len(words) < _SENTENCE_WORDS


def is_right(form: TraceForm, answer: str, given: str) -> bool:
    """Whether an answer that is given is the right one.

    Args:
        form: What kind of answer it is.
        answer: The right one.
        given: The one to check.

    Raises:
        MissingExtraError: It takes math-verify to tell, which is not installed.
    """
    if not is_answer(form, given):
        return False
    if form == "choice":
        found = _LETTER.fullmatch(given.strip())
        return found is not None and found[1] == answer
    right, value = number_of(_bare(answer)), number_of(_bare(given))
    if right is not None and value is not None:
        return right == value
    return _plain(answer) == _plain(given) or (form == "math" and _same_formula(answer, given))


def boxed(text: str) -> str | None:
    """What stands in the last box of a text; `None` where there is none."""
    begin = text.rfind("\\boxed{")
    if begin < 0:
        return None
    depth = 0
    for place in range(begin + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[begin + len("\\boxed{") : place].strip()
    return None


def _bare(text: str) -> str:
    inner = boxed(text) or text
    if (number := _WITH_UNIT.fullmatch(inner.strip())) is not None:
        return number[1].strip()
    return inner.strip().strip("$").replace("\\$", "").replace("\\%", "%").replace("\\!", "").strip()


def _plain(text: str) -> str:
    """An answer without differences that nobody minds."""
    text = _TEXT.sub(r"\1", _bare(text))
    for left_out in ("\\left", "\\right", "\\,", "\\ ", "~"):
        text = text.replace(left_out, "")
    return re.sub(r"\s+", "", text.replace("dfrac", "frac").replace("tfrac", "frac")).rstrip(".")


def _same_formula(answer: str, given: str) -> bool:
    """Whether two formulas say the same, by math-verify, which gives up after some seconds where it can be stopped."""
    verify: Any = load_optional("math_verify", "checking answers in LaTeX", extra="traces")
    seconds = _SECONDS if _can_be_stopped() else None
    with _SILENCE:  # it warns where it cannot be stopped, and of each answer that is no formula
        gold, said = (verify.parse(f"${_bare(text)}$", parsing_timeout=seconds) for text in (answer, given))
        return bool(gold and said and verify.verify(gold, said, timeout_seconds=seconds))


def _can_be_stopped() -> bool:
    """Whether an alarm can stop it: signals reach the main thread only, and not every platform has this one."""
    return hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
