"""The answers of a model beside those of a reference, matched by the text of the instruction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reflectune.errors import InputError
from reflectune.evaluate.alpaca_eval.annotations import STAGE, id_of
from reflectune.evaluate.unanswered import unanswered
from reflectune.formats import Mapping, Row, open_source
from reflectune.records import Failure

__all__ = ["Answers", "Output", "Pair", "Unread", "matched", "read_outputs"]


@dataclass(frozen=True, slots=True)
class Output:
    """An answer.

    Attributes:
        instruction: What was asked, its input included.
        output: The answer; empty where the model said nothing.
        dataset: The part of the set that the instruction comes from.
    """

    instruction: str
    output: str
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Unread:
    """A row that holds no answer.

    Attributes:
        instruction: What was asked; `None` where that cannot be read either.
        failure: Why it holds none.
    """

    instruction: str | None
    failure: Failure


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one model.

    Attributes:
        source: Where they come from.
        generator: The model.
        rows: The answers and the rows that hold none, in order.
    """

    source: str
    generator: str
    rows: tuple[Output | Unread, ...]

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The answers, in order."""
        return tuple(row for row in self.rows if isinstance(row, Output))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why rows hold none."""
        return tuple(row.failure for row in self.rows if isinstance(row, Unread))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one instruction.

    Attributes:
        id: The instruction's name.
        index: The place of its row in the reference's file, from 0.
        reference: The reference's answer.
        model: The model's answer.
    """

    id: str
    index: int
    reference: Output
    model: Output


def read_outputs(source: str | Path, name: str | None = None) -> Answers:
    """Read a model's answers, such as AlpacaEval's `model_outputs.json`: instruction, output, generator, dataset.

    Args:
        source: A file of any container and shape that is read elsewhere, or a data set of the hub.
        name: The model; by default what the column `generator` says, else the file's name.

    Raises:
        InputError: It cannot be read, or holds the answers of several models.
    """
    opened = open_source(source)
    rows: list[Output | Unread] = []
    generators: Counter[str] = Counter()
    for row in opened.rows():
        rows.append(_read(row, opened.mapping, opened.name))
        if isinstance(rows[-1], Output) and isinstance(generator := row.raw.get("generator"), str):
            generators[generator] += 1
    if not any(isinstance(row, Output) for row in rows):
        why = "; ".join(row.failure.detail for row in rows[:1] if isinstance(row, Unread))
        raise InputError(f"{opened.name}: no row holds an answer; {why}", mend="Name another file.")
    if name is None and len(generators) > 1:
        raise InputError(
            f"{opened.name}: answers of {len(generators)} models: {', '.join(sorted(generators)[:3])}",
            mend="Split the file, or give them one name with --name (--reference-name).",
        )
    called = name or next(iter(generators), None) or Path(opened.name).name.partition(".")[0]
    return Answers(opened.name, called, tuple(rows))


def matched(reference: Answers, model: Answers) -> list[Pair | Failure]:
    """Pair the answers by their instructions; of equal instructions the first with the first, and so on.

    An instruction whose answer cannot be read, on either side, is one failure.

    Returns:
        For every row of the reference, in its order, the pair or why there is none; then what only the model has.

    Raises:
        InputError: They have no instruction in common.
    """
    names = _names(model)
    theirs = {name: row for name, row in zip(names, model.rows, strict=True) if name is not None}
    found: list[Pair | Failure] = []
    for index, (name, row) in enumerate(zip(_names(reference), reference.rows, strict=True)):
        other = theirs.pop(name, None) if name is not None else None
        unread = next((one for one in (row, other) if isinstance(one, Unread)), None)
        if unread is not None:
            found.append(_told(unread, name))
        elif name is not None and isinstance(row, Output):
            found.append(_pair(name, index, row, other, model.source))
    if not any(isinstance(one, Pair) for one in found):
        raise InputError(
            f"{model.source} and {reference.source} have no instruction in common",
            mend="Both must hold answers to the same instructions, to the letter.",
        )
    missing = f"{reference.source} has no answer to this instruction."
    for name, row in zip(names, model.rows, strict=True):
        if isinstance(row, Unread) and (name is None or name in theirs):
            found.append(_told(row, name))
        elif isinstance(row, Output) and name is not None and name in theirs:
            found.append(_failure(name, "no-reference", missing, row))
    return found


def _pair(name: str, index: int, reference: Output, model: Output | Unread | None, source: str) -> Pair | Failure:
    if not isinstance(model, Output):
        return _failure(name, "no-answer", f"{source} has no answer to this instruction.", reference)
    return Pair(name, index, reference, model)


def _names(answers: Answers) -> list[str | None]:
    """The name of each row's instruction; nothing where that cannot be read."""
    counts: Counter[str] = Counter()
    names: list[str | None] = []
    for row in answers.rows:
        asked = row.instruction.strip() if row.instruction is not None else None
        if asked is not None:
            counts[asked] += 1
        names.append(None if asked is None else id_of(asked, counts[asked]))
    return names


def _read(row: Row, mapping: Mapping, source: str) -> Output | Unread:
    """The answer of a row. An empty one is an answer too: the judge is to see that the model said nothing."""
    dataset = row.raw.get("dataset")
    part = dataset if isinstance(dataset, str) else None
    if row.example is not None:
        return Output(row.example.question, row.example.response, part)
    assert row.failure is not None
    silent = row.failure.reason == "no-response"
    found = unanswered(row.raw, mapping) if silent or "response" in mapping.columns else None
    if silent and found is not None and found.said is not None:
        return Output(found.question.question, found.said, part)
    failure = row.failure.model_copy(update={"detail": f"{source}: {row.failure.detail}"})
    return Unread(found.question.question if found else None, failure)


def _told(row: Unread, name: str | None) -> Failure:
    return row.failure if name is None else row.failure.model_copy(update={"id": name})


def _failure(name: str, reason: str, detail: str, output: Output) -> Failure:
    return Failure(id=name, stage=STAGE, reason=reason, detail=detail, raw=output.instruction[:2000])
