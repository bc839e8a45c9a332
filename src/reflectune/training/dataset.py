"""Every row of the data as tokens, which of them are held out, and why others are not learnt from."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from reflectune.errors import InputError
from reflectune.formats.source import Row
from reflectune.lessons import lesson_of
from reflectune.recipe.train import LossOn
from reflectune.records import Failure
from reflectune.training.masks import Masked, Masker
from reflectune.training.rows import STAGE, Conversation, conversation_of

_LEAST = 2
_COPY = "it reads the same as a row that is held out"


@dataclass(slots=True)
class TrainingData:
    """The rows of a run.

    Attributes:
        end_token: What the template writes after an answer.
        rows: Those that are learnt from.
        held_out: Those that the loss is measured on, and that nothing is learnt from.
        refused: Those that are neither, with the reason.
        marked: How many rows say where their mistakes are.
        systems: The system prompts that rows begin with, up to two of them; empty for a row without one.
    """

    end_token: int
    rows: list[Masked] = field(default_factory=list)
    held_out: list[Masked] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    marked: int = 0
    systems: set[str] = field(default_factory=set)

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows are refused, by reason."""
        return dict(Counter(one.reason for one in self.refused))

    @property
    def cut(self) -> int:
        """How many rows are learnt from without their end."""
        return sum(row.cut for row in self.rows)

    @property
    def hidden(self) -> int:
        """How many earlier answers of conversations carry no loss, as the template writes them otherwise."""
        return sum(row.hidden for row in self.rows)

    def digest(self) -> str:
        """What tells these rows, their masks and their order from others: 16 hex digits."""
        seen = hashlib.blake2b(digest_size=8)
        for row in (*self.rows, *self.held_out):
            seen.update(row.tokens.tobytes() + row.trains + b"\n")
        return seen.hexdigest()


def read_data(rows: Iterable[Row], masker: Masker, loss_on: LossOn = "whole") -> TrainingData:
    """Make rows into tokens, in order.

    Args:
        rows: The data.
        masker: What makes tokens of them.
        loss_on: Which tokens of the last answer carry loss.
    """
    data = TrainingData(masker.end_token)

    def conversations() -> Iterator[Conversation]:
        for row in rows:
            lesson = lesson_of(row, STAGE)
            if isinstance(lesson, Failure):
                data.refused.append(lesson)
            else:
                data.marked += bool(lesson.mistakes)
                if len(data.systems) < 2:  # noqa: PLR2004 - one that all share, or not
                    data.systems.add(lesson.example.system)
                yield conversation_of(lesson, loss_on, takes_input=masker.template.takes_input)

    for masked in masker.read(conversations()):
        if isinstance(masked, Failure):
            data.refused.append(masked)
        else:
            data.rows.append(masked)
    return data


def hold_out(data: TrainingData, share: str, seed: int, source: str) -> TrainingData:
    """Set rows aside to measure the loss on.

    Rows that read the same as one that is held out are not learnt from either.

    Args:
        data: The rows.
        share: How many, as `64` or `2%`; a share is rounded down.
        seed: What they are drawn with.
        source: The data's name, for the error.

    Raises:
        InputError: Too few rows would be left.
    """
    number = held_out_count(share, len(data.rows))
    if number and len(data.rows) - number < _LEAST:
        raise InputError(
            f"{source}: {len(data.rows):,} rows can be learnt from{_why(data)}, and --held-out {share} of them leaves"
            f" {max(len(data.rows) - number, 0)}.",
            mend="Hold fewer rows out, or name a data set with more.",
        )
    drawn = random.Random(seed).sample(range(len(data.rows)), number)  # noqa: S311 - no secret
    apart = set(drawn)
    held_out = [data.rows[place] for place in sorted(apart)]
    rest = [row for place, row in enumerate(data.rows) if place not in apart]
    return _without_copies(replace(data, rows=rest, held_out=held_out), source)


def held_out_count(share: str, rows: int) -> int:
    """How many of so many rows `64` or `2%` are; a share is rounded down."""
    return int(rows * float(share[:-1]) / 100) if share.endswith("%") else int(share)


def held_out_of(data: TrainingData, others: TrainingData, source: str) -> TrainingData:
    """Rows to learn from, and those of another file to measure the loss on."""
    return _without_copies(
        TrainingData(data.end_token, data.rows, others.rows, [*data.refused, *others.refused]), source
    )


def _why(data: TrainingData) -> str:
    told = ", ".join(f"{reason} {count}" for reason, count in data.reasons.items())
    return f" (left out: {told})" if told else ""


def _without_copies(data: TrainingData, source: str) -> TrainingData:
    known = {row.tokens.tobytes() for row in data.held_out}
    copies = [row for row in data.rows if row.tokens.tobytes() in known]
    refused = [Failure(id=row.id, stage=STAGE, reason="held-out-copy", detail=_COPY) for row in copies]
    rows = [row for row in data.rows if row.tokens.tobytes() not in known]
    if len(rows) < _LEAST:
        left = replace(data, refused=[*data.refused, *refused])
        longer = "Raise --max-length. " if "too-long" in left.reasons else ""
        raise InputError(
            f"{source}: {'one row' if rows else 'no row'} can be learnt from{_why(left)}; it takes {_LEAST}.",
            mend=f"{longer}Name a data set with more rows.",
        )
    return replace(data, rows=rows, refused=[*data.refused, *refused])
