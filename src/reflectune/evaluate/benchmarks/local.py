"""Benchmarks read from local files, with no network: what is expected where, and how it is read."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from reflectune.errors import InputError
from reflectune.evaluate.benchmarks import rows
from reflectune.evaluate.benchmarks.catalogue import Benchmark

__all__ = ["Questions", "read_local"]

Row = dict[str, Any]
_FILES: dict[str, tuple[str, ...]] = {
    "gsm8k": ("gsm8k/test.jsonl",),
    "math": ("math/math500_test.jsonl", "math/test.jsonl"),
    "ifeval": ("ifeval/input_data.jsonl",),
    "humaneval": ("humaneval/HumanEval.jsonl.gz", "humaneval/HumanEval.jsonl"),
    "gpqa": ("gpqa/gpqa_diamond.csv",),
    "arc_challenge": ("arc/ARC-Challenge-Test.jsonl",),
    "hellaswag": ("hellaswag/hellaswag_val*.txt",),
    "truthfulqa": ("truthfulqa/TruthfulQA*.csv",),
    "mmlu": ("mmlu/test/*_test.csv",),
}
"""The files of each benchmark, below the folder that --data names; the first that is there."""
T = TypeVar("T")
_MMLU_COLUMNS = 6
_HELLASWAG_LINES = 6
_HELLASWAG_ENDINGS = 4
_FRAGMENT = re.compile(r"(?P<before>.*[.!?])\s+(?P<after>[a-z][^.!?]*)", re.DOTALL)
"""A context of HellaSwag's first half, whose last sentence is only begun; lm-eval begins it with a capital."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a benchmark.

    Attributes:
        rows: What is asked.
        examples: Worked examples, none of which is asked.
        notes: What must be known to read a figure that is measured on them.
    """

    rows: list[Row]
    examples: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def read_local(folder: Path, benchmark: Benchmark, shots: int) -> Questions:
    """Read a benchmark.

    Args:
        folder: Where the files lie.
        benchmark: Which, and in which form: its rows are questions of ours, or lm-eval's own columns.
        shots: How many worked examples are needed. Where no file holds any they are the last questions, which are
            then not asked.

    Raises:
        InputError: A file is missing or cannot be read, or there are too few examples; names the file, row and mend.
    """
    if benchmark.name == "mmlu":
        return _mmlu(folder, benchmark, shots)
    path = _file(folder, benchmark.name)
    own = {"hellaswag": _hellaswag, "truthfulqa": _truthfulqa}
    if benchmark.name in own:
        found = own[benchmark.name](path)
    elif benchmark.form == "logprob":
        found = _read(path, _arc_of_lm_eval)
    else:
        found = _read(path, getattr(rows, benchmark.name.removesuffix("_challenge")))
    if not found:
        raise InputError(f"{path} holds no questions.", mend="Put the benchmark's own file there.")
    notes = _partial(len(found), benchmark.size)
    if not shots:
        return Questions(found, [], notes)
    train = sorted(path.parent.glob("train*.jsonl")) if benchmark.name == "gsm8k" else []
    if train:
        return Questions(found, _examples(train[0], _read(train[0], rows.gsm8k), shots), notes)
    if len(found) <= shots:
        raise InputError(
            f"{path} has {len(found)} rows, and {shots} are worked examples.", mend="Ask with fewer --shots."
        )
    told = f"the last {shots} questions are the worked examples and are not asked"
    return Questions(found[:-shots], found[-shots:], (*notes, told))


def _examples(path: Path, found: list[Row], shots: int) -> list[Row]:
    if len(found) < shots:
        raise InputError(
            f"{path} has {len(found)} worked examples in place of {shots}.", mend="Ask with fewer --shots."
        )
    return found[:shots]


def _partial(count: int, size: int) -> tuple[str, ...]:
    return (f"{count:,} of the {size:,} questions are in the file",) if count < size else ()


def _file(folder: Path, name: str) -> Path:
    patterns = _FILES[name]
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[0]
    expected = " or ".join(str(folder / pattern) for pattern in patterns)
    raise InputError(
        f"There is no file for {name} in {folder}: {expected} is expected.",
        mend="Put it there, or leave out --data to take it from the hub.",
    )


def _read(path: Path, make: Callable[[Row, int], Row]) -> list[Row]:
    """The rows of a .jsonl (also .gz) or .csv file with a header."""
    return [_made(path, number, row, make) for number, row in enumerate(_raw(path), 1)]


def _made(path: Path, number: int, row: Row, make: Callable[[Row, int], Row]) -> Row:
    try:
        return make(row, number)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        why = f"it has no column {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}, row {number}: {why}.", mend="Put the benchmark's own file there.") from error


def _raw(path: Path) -> Iterator[Row]:
    text = _text(path)
    if path.suffix == ".csv":
        yield from _cells(path, csv.DictReader(io.StringIO(text, newline="")))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InputError(f"{path}, row {number}: it is no JSON: {error}.", mend="Mend the line.") from error
            yield row


def _cells(path: Path, read: Iterable[T]) -> Iterator[T]:
    """The rows of a table, as far as they are any."""
    try:
        yield from read
    except csv.Error as error:
        raise InputError(f"{path} is no table: {error}.", mend="Put the benchmark's own file there.") from error


def _text(path: Path) -> str:
    try:
        packed = path.read_bytes()
        return (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:  # of the packed: cut short, or damaged
        raise InputError(f"{path} cannot be read: {error}.", mend="Put the benchmark's own file there.") from error


def _arc_of_lm_eval(row: Row, number: int) -> Row:
    """The columns that lm-eval's task reads."""
    rows.arc(row, number)
    asked = row["question"]
    choices = asked["choices"] if isinstance(asked, dict) else None
    shape = (
        {"text": [one["text"] for one in choices], "label": [one["label"] for one in choices]}
        if choices is not None
        else row["choices"]
    )
    stem = asked["stem"] if isinstance(asked, dict) else asked
    return {"id": str(row.get("id", number)), "question": stem, "choices": shape, "answerKey": row["answerKey"]}


def _mmlu(folder: Path, benchmark: Benchmark, shots: int) -> Questions:
    _file(folder, "mmlu")
    paths = sorted(folder.glob(_FILES["mmlu"][0]))
    found = [row for path in paths for row in _subject(path, benchmark, "_test")]
    if benchmark.form == "generative":  # of which the first ones may be asked alone; lm-eval has a task for each
        found = [found[place] for place in rows.spread(row["subject"] for row in found)]
    examples: list[Row] = []
    if shots:
        for path in paths:
            dev = folder / "mmlu" / "dev" / path.name.replace("_test.csv", "_dev.csv")
            if not dev.is_file():
                raise InputError(f"There is no {dev}, which holds the worked examples.", mend="Put it there.")
            examples += _examples(dev, _subject(dev, benchmark, "_dev"), shots)
    notes = _partial(len(found), benchmark.size)
    return Questions(found, examples, (*notes, f"{len(paths)} of 57 subjects") if notes else ())


def _subject(path: Path, benchmark: Benchmark, ending: str) -> list[Row]:
    """The rows of one subject's file, which has no header: question, four choices, the answer's letter."""
    subject = path.stem.removesuffix(ending)

    def make(cells: Row, number: int) -> Row:
        values = cells["cells"]
        if len(values) != _MMLU_COLUMNS:
            raise ValueError(f"it has {len(values)} columns in place of question, A, B, C, D, answer")
        row = {"question": values[0], "choices": values[1:5], "answer": values[5], "subject": subject}
        made = rows.mmlu(row, number)
        place = "ABCD".index(values[5].strip())
        return made if benchmark.form == "generative" else row | {"answer": place}

    cells = _cells(path, csv.reader(io.StringIO(_text(path), newline="")))
    return [_made(path, number, {"cells": row}, make) for number, row in enumerate(cells, 1) if row]


def _hellaswag(path: Path) -> list[Row]:
    """Six lines a question: the context, the place of the right ending, four endings."""
    lines = _text(path).removesuffix("\n").split("\n")
    if len(lines) % _HELLASWAG_LINES:
        raise InputError(f"{path} has {len(lines):,} lines, and a question takes six.", mend="Take the file whole.")

    def make(row: Row, number: int) -> Row:
        context, gold, *endings = row["lines"]
        activity, colon, rest = context.partition(": ")
        if not colon or not 0 <= int(gold) < _HELLASWAG_ENDINGS:
            raise ValueError("it is no `activity: context` with the place of an ending below it")
        fragment = _FRAGMENT.fullmatch(rest)
        before, after = (fragment["before"], fragment["after"]) if fragment else (rest, "")
        return {
            "ind": number,
            "activity_label": activity,
            "ctx_a": before,
            "ctx_b": after,
            "endings": endings,
            "label": str(int(gold)),
        }

    groups = range(0, len(lines), _HELLASWAG_LINES)
    return [
        _made(path, number, {"lines": lines[begin : begin + _HELLASWAG_LINES]}, make)
        for number, begin in enumerate(groups, 1)
    ]


def _truthfulqa(path: Path) -> list[Row]:
    """The columns that lm-eval's task reads, made of the answers that `; ` sets apart."""

    def make(row: Row, number: int) -> Row:
        best = row["Best Answer"].strip()
        right, wrong = _listed(row["Correct Answers"]), _listed(row["Incorrect Answers"])
        if not right or not wrong:
            raise ValueError("it lacks correct or incorrect answers")
        return {
            "id": str(number),
            "question": row["Question"],
            "mc1_targets": _targets([best], wrong),
            "mc2_targets": _targets(right, wrong),
        }

    return _read(path, make)


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split("; ") if part.strip()))


def _targets(right: list[str], wrong: list[str]) -> dict[str, list[Any]]:
    return {"choices": [*right, *wrong], "labels": [1] * len(right) + [0] * len(wrong)}
