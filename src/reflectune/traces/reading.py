"""Read questions from a file, whatever form they have there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from reflectune.errors import InputError
from reflectune.formats import OWN_IDS, open_source
from reflectune.formats.source import reader_of
from reflectune.recipe.traces import TraceForm
from reflectune.records import Failure, digest
from reflectune.traces.questions import (
    LETTERS,
    STAGE,
    Question,
    Unreadable,
    of_choices,
    of_problem,
    of_solution,
    open_questions,
)

_SAMPLE = 20
_LONGEST_RAW = 2_000
_FORMS: dict[str, Callable[[dict[str, Any], str, str], Question]] = {
    "gsm8k": of_solution,
    "math": of_problem,
    "choice": of_choices,
}
_NEEDS = {
    "gsm8k": (("question",), ("answer",)),
    "math": (("problem", "question"), ("solution",)),
    "choice": (("question", "query"), ("answer", "answerKey", "gold", "label")),
}
_BARE = ("question", *LETTERS[:4], "answer")
"""The columns of the files of MMLU, which have no header."""


class Questions:
    """The questions of a data set.

    Args:
        source: A file, or a data set of the hub, as `org/name` or `org/name:split`.
        form: How its rows hold them; by default that is told from the first rows.

    Attributes:
        source: What they are read from.
        form: How its rows hold them.

    Raises:
        InputError: It cannot be read, or its rows lack what the form needs.
    """

    def __init__(self, source: str, form: str = "auto") -> None:
        self.source = source
        self._read = reader_of(source)
        with closing(self._read()) as rows:
            sample = list(islice(rows, _SAMPLE))
        if not sample:
            raise InputError(f"{source}: holds no rows", mend="Name a file with at least one row.")
        self._bare = _is_bare(sample)
        if self._bare:
            sample = list(_with_header(sample))
        self.form: TraceForm = _form_of(sample) if form == "auto" else form  # type: ignore[assignment]
        _check_columns(self.form, sample, source)

    def rows(self, limit: int | None = None) -> Iterator[Question | Failure]:
        """The questions in order, each with an id of its own; a row that holds none is a failure that says why.

        Raises:
            InputError: The file is broken, two rows have the same id of their own, or no row can be used.
        """
        name = Path(self.source).name if Path(self.source).exists() else self.source
        if self.form == "open":
            yield from islice(open_questions(open_source(self.source), name), limit)
            return
        first: Failure | None = None
        usable = False
        for question in self._rows(name, limit):
            yield question
            usable = usable or isinstance(question, Question)
            first = first or (question if isinstance(question, Failure) else None)
        if not usable and first is not None:
            raise InputError(
                f"{self.source}: no row holds a question that can be used; {first.detail.partition(': ')[2]}",
                mend=f"Say how its rows hold question and answer: --from {', '.join((*_FORMS, 'open'))}.",
            )

    def _rows(self, name: str, limit: int | None) -> Iterator[Question | Failure]:
        ids = _Names(self.source)
        with closing(self._read()) as read:
            rows: Iterable[dict[str, Any]] = _with_header(read) if self._bare else read
            for number, raw in enumerate(islice(rows, limit), start=1):
                row_id = ids.name(raw, number)
                try:
                    yield _FORMS[self.form](raw, row_id, f"{name}:{number}")
                except Unreadable as fault:
                    yield Failure(
                        id=row_id,
                        stage=STAGE,
                        reason=fault.reason,
                        detail=f"{name}: row {number}: {fault.detail}.",
                        raw=str(raw)[:_LONGEST_RAW],
                    )


def _form_of(sample: list[dict[str, Any]]) -> TraceForm:
    columns = {column for row in sample for column in row}
    answers = [row["answer"] for row in sample if isinstance(row.get("answer"), str)]
    if "question" in columns and any("####" in answer for answer in answers):
        return "gsm8k"
    if columns & {"problem", "question"} and "solution" in columns:
        return "math"
    asked = any(isinstance(row.get("question"), dict) for row in sample)
    if asked or (columns & {"question", "query"} and ("choices" in columns or {"A", "B"} <= columns)):
        return "choice"
    return "open"


def _check_columns(form: TraceForm, sample: list[dict[str, Any]], source: str) -> None:
    columns = list(dict.fromkeys(column for row in sample for column in row))
    for names in _NEEDS.get(form, ()):
        if not set(names) & set(columns):
            raise InputError(
                f"{source}: row 1 has no column {' or '.join(map(repr, names))}, which --from {form} reads; it has"
                f" {', '.join(map(repr, columns))}",
                mend="Rename the column, or say how the rows hold question and answer: --from gsm8k, math, choice or"
                " open.",
            )


def _is_bare(sample: list[dict[str, Any]]) -> bool:
    """Whether these are rows of MMLU, whose first one was taken for a header."""
    rows = [list(sample[0]), *(list(row.values()) for row in sample)]
    return all(len(row) == len(_BARE) and row[-1] in set(LETTERS[:4]) for row in rows)


def _with_header(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number == 0:
            yield dict(zip(_BARE, row, strict=True))
        yield dict(zip(_BARE, row.values(), strict=True))


class _Names:
    """The ids of rows: a row's own, else one made of its content."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._own: dict[str, int] = {}
        self._equal: dict[str, int] = {}

    def name(self, raw: dict[str, Any], number: int) -> str:
        own = next((raw[column] for column in OWN_IDS if isinstance(raw.get(column), (str, int))), None)
        if own is None or not str(own).strip():
            content = digest(repr(raw))[:16]
            count = self._equal[content] = self._equal.get(content, 0) + 1
            return content if count == 1 else f"{content}-{count}"
        earlier = self._own.setdefault(str(own), number)
        if earlier != number:
            raise InputError(
                f"{self._source}: rows {earlier} and {number} have the same id {own!r}",
                mend="Make the ids unique, or rename the column: rows without an id are named by their content.",
            )
        return str(own)
