"""Two models' answers to the same questions, from two files in any of our formats, matched one to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reflectune.errors import InputError
from reflectune.evaluate.unanswered import Unanswered, unanswered
from reflectune.formats import OWN_IDS, Mapping, Row, open_source
from reflectune.records import Example, Failure

MATCH = "match"
"""The stage of a failure: an answer that has no counterpart."""
_OTHER = "other-question"
_ALONE = "no-counterpart"


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers of two models.

    Attributes:
        id: Of A's row.
        question: What was asked: instruction, input, system prompt and earlier turns; its response is A's.
        a: The answer of model A.
        b: The answer of model B.
        dataset: The test set that the question belongs to; empty where there is only one.
    """

    id: str
    question: Example
    a: str
    b: str
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Lost:
    """A question that is not judged.

    Attributes:
        failure: Why.
        dataset: The test set that it belongs to.
    """

    failure: Failure
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A row of a file of answers.

    Attributes:
        number: Its place in the file, from 1.
        id: Its id.
        own_id: Whether the row has one of its own.
        key: Its question, to be matched by; `None` where it cannot be read.
        example: Question and answer; `None` where they cannot be read.
        failure: Why not.
        dataset: The test set that it says it belongs to.
    """

    number: int
    id: str
    own_id: bool
    key: str | None
    example: Example | None
    failure: Failure | None
    dataset: str


@dataclass(frozen=True, slots=True)
class Answers:
    """A file of answers.

    Attributes:
        source: The file.
        name: The model's, as its rows have it; empty where they do not say.
        rows: Its rows.
    """

    source: str
    name: str
    rows: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """Two files of answers, matched.

    Attributes:
        pairs: What can be judged, in the order of A's file.
        lost: What cannot.
        by: What the rows were matched by: `id` or `question`.
        alone: How many rows of A, and how many of B, the other file has no answer to.
    """

    pairs: tuple[Pair, ...]
    lost: tuple[Lost, ...]
    by: str
    alone: tuple[int, int] = (0, 0)


def read_answers(source: str | Path, mapping: Mapping | None = None) -> Answers:
    """Read a file of answers.

    Args:
        source: A file or a data set of the hub, as `open_source` takes them.
        mapping: Which columns hold what; found out from the rows where not given.

    Raises:
        InputError: It cannot be read.
        MissingExtraError: It needs the extra `hf`, and that is not installed.
    """
    opened = open_source(source, mapping)
    rows, names = [], Counter[str]()
    for row in opened.rows():
        rows.append(_answer(row, opened.mapping))
        generator = row.raw.get("generator")
        if isinstance(generator, str) and generator.strip():
            names[generator.strip()] += 1
    return Answers(opened.name, next(iter(names)) if len(names) == 1 else "", tuple(rows))


def matched(a: Answers, b: Answers) -> Matched:
    """Match the rows of two files: by their own ids where all rows have one and these mean the same, else by question.

    Where some ids mean the same and others do not, it is whichever of the two gives more pairs.

    A question is its instruction with its input, whatever the white space; of equal questions the first is matched with
    the first, the second with the second. Every row of both files is in a pair or in what is lost, and a question whose
    answer is missing on either side is lost once.

    Raises:
        InputError: Nothing matches.
    """
    by_id = None
    if all(row.own_id for row in (*a.rows, *b.rows)):
        by_id = _joined(a, b, {row.number: row.id for row in a.rows}, {row.number: row.id for row in b.rows}, "id")
        if by_id.pairs and not any(lost.failure.reason == _OTHER for lost in by_id.lost):
            return by_id
    found = _joined(a, b, _numbered(a.rows), _numbered(b.rows), "question")
    if by_id is not None and len(by_id.pairs) >= max(len(found.pairs), 1):
        return by_id
    if not found.pairs:
        raise InputError(
            f"{a.source} and {b.source} have no question in common that both answer:"
            f" {len(a.rows):,} and {len(b.rows):,} rows.",
            mend="Name two files of answers to the same questions: same instructions, same inputs.",
        )
    return found


def model_names(a: Answers, b: Answers, own_a: str | None = None, own_b: str | None = None) -> tuple[str, str]:
    """What two models are called: as they are told to be, as their rows say, or as their files are called."""
    first, second = own_a or a.name or _stem(a.source), own_b or b.name or _stem(b.source)
    if first == second and not (own_a or own_b):
        first, second = _stem(a.source), _stem(b.source)
    if first == second and not (own_a or own_b):
        folders = Path(a.source).resolve().parent.name, Path(b.source).resolve().parent.name
        first, second = (f"{folder}/{first}" for folder in folders)
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


def _stem(source: str) -> str:
    name = Path(source).name
    return name.split(".")[0] or name


def _answer(row: Row, mapping: Mapping) -> Answer:
    said = row.example or row.failure
    assert said is not None
    lacking = _lacking(row, mapping)
    question = row.example or (lacking and lacking.question)
    example = row.example or _silent(lacking, said.id)
    dataset = row.raw.get("dataset")
    return Answer(
        number=row.number,
        id=said.id,
        own_id=any(column in row.raw for column in OWN_IDS),
        key=_key(question) if question else None,
        example=example,
        failure=None if example else row.failure,
        dataset=dataset.strip() if isinstance(dataset, str) else "",
    )


def _lacking(row: Row, mapping: Mapping) -> Unanswered | None:
    """What a row without a usable answer asks."""
    if row.failure is None or (row.failure.reason != "no-response" and "response" not in mapping.columns):
        return None
    found = unanswered(row.raw, mapping)
    return found if found is None or row.failure.reason == "no-response" else replace(found, said=None)


def _silent(lacking: Unanswered | None, name: str) -> Example | None:
    """The row of a model that said nothing: an empty text is an answer, and the judge is to see it."""
    return None if lacking is None or lacking.said is None else replace(lacking.question, id=name, response="")


def _key(example: Example) -> str:
    said = [example.system, *(turn.content for turn in example.history), example.question]
    return "\0".join(" ".join(text.split()) for text in said)


def _numbered(rows: Iterable[Answer]) -> dict[int, str]:
    """The key of each row that has one, by the row's number; of equal ones the later ones are numbered."""
    seen, keys = Counter[str](), {}
    for row in rows:
        if row.key is not None:
            seen[row.key] += 1
            keys[row.number] = f"{row.key}\0{seen[row.key]}"
    return keys


def _joined(a: Answers, b: Answers, keys_a: dict[int, str], keys_b: dict[int, str], by: str) -> Matched:
    there = {keys_b[row.number]: row for row in b.rows if row.number in keys_b}
    pairs: list[Pair] = []
    lost: list[Lost] = []
    for row in a.rows:
        other = there.pop(keys_a[row.number], None) if row.number in keys_a else None
        outcome = _pair(row, other, b.source)
        pairs += [outcome] if isinstance(outcome, Pair) else []
        lost += [outcome] if isinstance(outcome, Lost) else []
    left = {row.number for row in there.values()}
    of_b = list(_alone((row for row in b.rows if row.number in left or row.number not in keys_b), a.source))
    return Matched(tuple(pairs), (*lost, *of_b), by, (_without_answer(lost), _without_answer(of_b)))


def _without_answer(lost: Iterable[Lost]) -> int:
    return sum(one.failure.reason == _ALONE for one in lost)


def _pair(row: Answer, other: Answer | None, elsewhere: str) -> Pair | Lost:
    dataset = row.dataset or (other.dataset if other else "")
    if row.failure is not None or row.example is None:
        assert row.failure is not None
        return Lost(row.failure, dataset)
    if other is None:
        return next(_alone([row], elsewhere))
    if other.example is None:
        assert other.failure is not None
        return Lost(other.failure.model_copy(update={"id": row.id}), dataset)
    if row.key != other.key:
        detail = f"rows {row.number} and {other.number} have the same id and ask different things"
        return Lost(Failure(id=row.id, stage=MATCH, reason=_OTHER, detail=detail), dataset)
    return Pair(row.id, replace(row.example, id=row.id), row.example.response, other.example.response, dataset)


def _alone(rows: Iterable[Answer], elsewhere: str) -> Iterator[Lost]:
    for row in rows:
        detail = f"row {row.number}: {elsewhere} has no answer to it"
        alone = Failure(id=row.id, stage=MATCH, reason=_ALONE, detail=detail)
        yield Lost(row.failure or alone, row.dataset)
