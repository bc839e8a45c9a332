"""The answers of a model beside those of a reference, matched by the text of the instruction."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reflectune.errors import InputError
from reflectune.evaluate.alpaca_eval.annotations import STAGE, id_of
from reflectune.formats import Row, open_source
from reflectune.records import Failure

__all__ = ["Answers", "Output", "Pair", "matched", "read_outputs"]

_COLUMNS = frozenset({"alpaca", "prompt-completion", "mapped"})


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
class Answers:
    """The answers of one model.

    Attributes:
        source: Where they come from.
        generator: The model.
        outputs: The answers, in order.
        failures: Rows that hold none.
    """

    source: str
    generator: str
    outputs: tuple[Output, ...]
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one instruction.

    Attributes:
        id: The instruction's name.
        index: Its place among the reference's, from 0.
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
    outputs, failures = [], []
    generators: Counter[str] = Counter()
    for row in opened.rows():
        output = _output(row, opened.mapping.columns if opened.mapping.shape in _COLUMNS else {})
        if output is None:
            assert row.failure is not None
            failures.append(row.failure.model_copy(update={"detail": f"{opened.name}: {row.failure.detail}"}))
            continue
        outputs.append(output)
        if isinstance(generator := row.raw.get("generator"), str):
            generators[generator] += 1
    if not outputs:
        raise InputError(f"{opened.name}: no row holds an answer; {failures[0].detail}", mend="Name another file.")
    if name is None and len(generators) > 1:
        raise InputError(
            f"{opened.name}: answers of {len(generators)} models: {', '.join(sorted(generators)[:3])}",
            mend="Split the file, or give them one name with --name (--reference-name).",
        )
    called = name or next(iter(generators), None) or Path(opened.name).name.partition(".")[0]
    return Answers(opened.name, called, tuple(outputs), tuple(failures))


def matched(reference: Answers, model: Answers) -> list[Pair | Failure]:
    """Pair the answers by their instructions; of equal instructions the first with the first, and so on.

    Returns:
        For every instruction of the reference, in its order, the pair or why there is none; then what only the model
        has, and the rows that could not be read.

    Raises:
        InputError: They have no instruction in common.
    """
    theirs = dict(_named(model))
    found: list[Pair | Failure] = []
    for index, (name, output) in enumerate(_named(reference)):
        other = theirs.pop(name, None)
        if other is None:
            detail = f"{model.source} has no answer to this instruction."
            found.append(_failure(name, "no-answer", detail, output))
        else:
            found.append(Pair(name, index, output, other))
    if not any(isinstance(one, Pair) for one in found):
        raise InputError(
            f"{model.source} and {reference.source} have no instruction in common",
            mend="Both must hold answers to the same instructions, to the letter.",
        )
    alone = (
        _failure(name, "no-reference", f"{reference.source} has no answer to this instruction.", output)
        for name, output in theirs.items()
    )
    return [*found, *alone, *reference.failures, *model.failures]


def _named(answers: Answers) -> list[tuple[str, Output]]:
    counts: Counter[str] = Counter()
    named = []
    for output in answers.outputs:
        asked = output.instruction.strip()
        counts[asked] += 1
        named.append((id_of(asked, counts[asked]), output))
    return named


def _output(row: Row, columns: dict[str, str]) -> Output | None:
    """The answer of a row. An empty one is an answer too: the judge is to see that the model said nothing."""
    dataset = row.raw.get("dataset")
    part = dataset if isinstance(dataset, str) else None
    if row.example is not None:
        return Output(row.example.question, row.example.response, part)
    if row.failure is None or row.failure.reason != "no-response" or not columns:
        return None
    asked, said = _text(row.raw, columns["instruction"]), _text(row.raw, columns["response"])
    given = _text(row.raw, columns.get("input", "")) or ""
    if not asked or said is None:
        return None
    return Output(f"{asked}\n\n{given}" if given.strip() else asked, said, part)


def _text(raw: dict[str, Any], column: str) -> str | None:
    value = raw.get(column)
    return value if isinstance(value, str) else None


def _failure(name: str, reason: str, detail: str, output: Output) -> Failure:
    return Failure(id=name, stage=STAGE, reason=reason, detail=detail, raw=output.instruction[:2000])
