"""What a run of a judge keeps beside its figures: the pairs as they were shown, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from reflectune.errors import RunError
from reflectune.evaluate.judge.evaluation import Judged
from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.formats import write_rows
from reflectune.records import Record

__all__ = ["FAILURES", "PAIRS", "VERDICTS", "KeptPair", "by_judge", "read_pairs", "read_verdicts", "write_pairs"]

PAIRS, VERDICTS, FAILURES = "judged_pairs.jsonl", "verdicts.jsonl", "judge_failures.jsonl"

Kept = TypeVar("Kept", bound=Record)


class KeptPair(Record):
    """A pair as a judge saw it.

    Attributes:
        id: The pair's id.
        dataset: Its test set; empty where there is only one.
        question: What was asked: earlier turns and the system prompt, each after its role, the instruction, the input.
        a: The answer of model A.
        b: The answer of model B.
    """

    id: str
    dataset: str
    question: str
    a: str
    b: str


def write_pairs(run: Path, pairs: Iterable[Pair]) -> None:
    """Keep pairs in a run's folder.

    Raises:
        SettingsError: The folder cannot be written.
    """
    write_rows(run / PAIRS, (_kept(pair).model_dump() for pair in pairs))


def read_pairs(run: Path) -> dict[tuple[str, str], KeptPair]:
    """The pairs of a run, by test set and id; nothing where an earlier version kept none.

    Raises:
        RunError: The file cannot be read.
    """
    return {(pair.dataset, pair.id): pair for pair in _read(run / PAIRS, KeptPair)}


def read_verdicts(run: Path) -> list[Verdict]:
    """The verdicts in a run's folder; none where there is no such file.

    Raises:
        RunError: The file cannot be read.
    """
    return list(_read(run / VERDICTS, Verdict))


def by_judge(verdicts: Iterable[Verdict]) -> list[Judged]:
    """Verdicts by whose they are, in the order in which the judges first appear."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.judge, []).append(verdict)
    return [Judged(judge, tuple(said), (), people=_is_a_person(said)) for judge, said in found.items()]


def _is_a_person(verdicts: Sequence[Verdict]) -> bool:
    return all(look.choice is not None for verdict in verdicts for look in verdict.looks)


def _kept(pair: Pair) -> KeptPair:
    question = pair.question
    before = [f"system: {question.system}"] if question.system else []
    before += [f"{turn.role}: {turn.content}" for turn in question.history]
    asked = "\n\n".join([*before, question.question])
    return KeptPair(id=pair.id, dataset=pair.dataset, question=asked, a=pair.a, b=pair.b)


def _read(path: Path, kind: type[Kept]) -> Iterator[Kept]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _record(path, number, line, kind)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror}.", mend="Check the path.") from error


def _record(path: Path, number: int, line: bytes, kind: type[Kept]) -> Kept:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        raise RunError(
            f"{path}, line {number}, is nothing that this version of reflectune wrote: {error.errors()[0]['msg']}.",
            mend="Judge again, or take the file away.",
        ) from error
