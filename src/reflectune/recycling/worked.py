"""The worked examples of a dialogue: short conversations that show a model what is wanted."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reflectune.errors import SettingsError
from reflectune.prompts import Language, Prompts
from reflectune.quality import Rejection

_FILE = "dialogue_pairs.yaml"
_WORD = re.compile(r"[^\W\d_]{4,}")
_STEM = 4
_FEW_WORDS = 3


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Judged(_Shown):
    """A criterion of a task, or of an answer to it, with the remark and the score that it deserves."""

    task: str
    answer: str = ""
    criterion: str
    remark: str
    score: int


class Bettered(_Shown):
    """A task and its answer, with what is weak about them and how the task becomes better."""

    task: str
    answer: str
    weakness: str
    better: str


class Worked(_Shown):
    """Every worked example of a language.

    Attributes:
        instruction_critique: Criteria of instructions.
        response_critique: Criteria of responses.
        instruction: Instructions made better.
        instruction_context: One more, for rows that have earlier turns.
    """

    instruction_critique: tuple[Judged, ...]
    response_critique: tuple[Judged, ...]
    instruction: tuple[Bettered, ...]
    instruction_context: tuple[Bettered, ...]


def leaked(text: str, worked: Worked, *, row: str) -> Rejection | None:
    """Why an instruction is not accepted that is about a worked example instead of the row.

    Args:
        text: The new instruction.
        worked: The examples that the model was shown.
        row: What it was to rewrite, with its response: words that stand there too are the row's own.
    """
    shown = [_words(example.better) for example in worked.instruction + worked.instruction_context]
    often = Counter(word for words in shown for word in words)
    own = _words(row)
    for words in shown:
        taken = {word for word in words & _words(text) if often[word] == 1} - own
        if len(taken) >= _FEW_WORDS:
            return Rejection("leak", f"The new instruction is about a worked example: {', '.join(sorted(taken)[:4])}.")
    return None


def _words(text: str) -> set[str]:
    """The stems of the longer words of a text, and its whole phrases where it is written without spaces."""
    return {word[:_STEM] if word.isascii() else word for word in _WORD.findall(text.casefold())}


@cache
def worked_examples(prompts: Prompts, language: Language) -> Worked:
    """The worked examples of a language.

    Raises:
        SettingsError: The file does not hold them in the form of `Worked`.
    """
    try:
        return Worked.model_validate(yaml.safe_load(prompts.text(language, _FILE)))
    except (yaml.YAMLError, ValidationError) as error:
        raise SettingsError(f"The prompt {language}/{_FILE} cannot be used: {error}", mend="Mend the file.") from error
