"""Annotations: which of two answers to an instruction a judge preferred, in AlpacaEval's file format."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from reflectune.errors import InputError
from reflectune.formats.source import reader_of
from reflectune.records import Failure, Record, digest

__all__ = ["STAGE", "Annotation", "Annotations", "Form", "id_of", "read_annotations", "share_of"]

STAGE = "annotate"
Form = Literal["weighted", "plain"]
"""weighted: by the probabilities of the judge's two labels; plain: by the label that it chose."""

_NEEDED = ("instruction", "output_1", "output_2", "preference")
_DRAW = 0.5


class Annotation(Record):
    """A judge's preference between the answers of a reference (1) and of a model (2). Source: AlpacaEval's files.

    Attributes:
        index: The place of the instruction among all of the set, from 0: difficulties are found by it.
        instruction: What was asked.
        output_1: The reference's answer.
        generator_1: The reference.
        output_2: The model's answer.
        generator_2: The model.
        dataset: The part of the set that the instruction comes from.
        annotator: The judge.
        preference: From 1 (the reference's answer is better) to 2 (the model's is); 1.5 or 0 is a draw; `None` where
            the judge gave no usable verdict.
        form: How the judge was asked, where it was ours.
        shown_first: Whose answer the judge saw first, where it was ours.
        first: The preference for the answer that stood first, from 0 to 1, the mean of both orders; where it was ours.
    """

    index: int
    instruction: str
    output_1: str
    generator_1: str = "reference"
    output_2: str
    generator_2: str = "model"
    dataset: str | None = None
    annotator: str = "unknown"
    preference: float | None
    form: Form | None = None
    shown_first: Literal["reference", "model", "both"] | None = None
    first: float | None = None

    @property
    def share(self) -> float | None:
        """The preference for the model, from 0 to 1; `None` where there is none."""
        return share_of(self.preference)


@dataclass(frozen=True, slots=True)
class Annotations:
    """All annotations of one model against one reference by one judge.

    Attributes:
        source: Where they come from.
        rows: The annotations, in the order of the instructions; those without a usable preference too.
        failures: Why those have none, and what else could not be annotated.
        raw: The rows as they were read from a file, every column of them; empty where they come from no file.
    """

    source: str
    rows: tuple[Annotation, ...]
    failures: tuple[Failure, ...] = ()
    raw: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def model(self) -> str:
        """The model."""
        return self.rows[0].generator_2

    @property
    def reference(self) -> str:
        """What it is compared with."""
        return self.rows[0].generator_1

    @property
    def judge(self) -> str:
        """Who judged."""
        return self.rows[0].annotator

    @property
    def preferences(self) -> list[float | None]:
        """The preference of each row."""
        return [row.preference for row in self.rows]


def share_of(preference: float | None) -> float | None:
    """A preference as the share that goes to the model: 0 to 1, a draw being a half.

    Returns:
        `None` where it is no preference: neither from 1 to 2, nor 0, which older files write for a draw.
    """
    if preference is None:
        return None
    if preference == 0:
        return _DRAW
    return preference - 1 if 1 <= preference <= 2 else None  # noqa: PLR2004 - the ends of the scale


def read_annotations(source: str | Path, limit: int | None = None) -> Annotations:
    """Read a file of annotations, such as AlpacaEval's `annotations.json`.

    Args:
        source: The file: a JSON array or JSON lines of rows with `instruction`, `output_1`, `output_2`, `preference`
            and, where they are known, `generator_1`, `generator_2`, `annotator`, `dataset`, `index`.
        limit: How many rows to take; by default all.

    Raises:
        InputError: It cannot be read, a row is no annotation, or several models or references are mixed in it; with the
            row and the mend.
    """
    name = str(source)
    with closing(reader_of(name)()) as read:
        raw = [row for row, _ in zip(read, range(limit), strict=False)] if limit else list(read)
    if not raw:
        raise InputError(f"{name}: holds no annotations", mend="Name a file with at least one")
    rows = [_read(row, place, name) for place, row in enumerate(raw)]
    for column in ("generator_1", "generator_2", "annotator"):
        names = sorted({getattr(row, column) for row in rows})
        if len(names) > 1:
            raise InputError(
                f"{name}: more than one {column}: {', '.join(names[:3])}",
                mend="Split the file: one model against one reference by one judge in each.",
            )
    return Annotations(name, tuple(rows), tuple(_lacks(rows)), tuple(raw))


def id_of(instruction: str, count: int = 1) -> str:
    """The name of an instruction: 16 digits of its hash; of the second of equal ones and so on, with its count."""
    name = digest(instruction)[:16]
    return name if count == 1 else f"{name}-{count}"


def _read(row: dict[str, Any], place: int, source: str) -> Annotation:
    missing = [column for column in _NEEDED if column not in row]
    if missing:
        raise InputError(
            f"{source}: row {place + 1} has no column {', '.join(map(repr, missing))}; it has"
            f" {', '.join(map(repr, row))}",
            mend="Annotations have instruction, output_1 (the reference's), output_2 (the model's) and preference."
            " Answers that are to be judged go without --annotations.",
        )
    values = {name: row[name] for name in Annotation.model_fields if row.get(name) is not None or name == "preference"}
    preference = values["preference"]
    if isinstance(preference, float) and math.isnan(preference):
        values["preference"] = None
    try:
        return Annotation.model_validate({"index": place, **values})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{source}: row {place + 1}: {'.'.join(map(str, first['loc']))} is {row.get(str(first['loc'][0]))!r:.80}:"
            f" {first['msg']}",
            mend="Answers and instructions are texts; a preference is a number from 1 to 2, 0, or null.",
        ) from error


def _lacks(rows: Iterable[Annotation]) -> Iterable[Failure]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.instruction] += 1
        if row.share is not None:
            continue
        said = "the judge gave no preference" if row.preference is None else f"{row.preference:g} is no preference"
        name = id_of(row.instruction, counts[row.instruction])
        yield Failure(id=name, stage=STAGE, reason="no-preference", detail=f"row {row.index + 1}: {said}.")
