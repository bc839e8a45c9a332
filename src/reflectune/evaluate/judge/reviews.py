"""Reviews that were published as files of text, read back.

The file format is that of Cherry LLM's pairwise evaluation (github.com/tianyi-lab/Cherry_LLM): `Meta_Info`, and `data`
with rows of a question, `Answer1`, `Answer2`, a `review` of them in this order and a `review_reverse` in the other, in
which the first number belongs to Answer2. A review begins with a line that holds two numbers. The scores that the file
states beside the texts are not used, only compared: a review whose first line does not parse is a failure here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import InputError
from reflectune.evaluate.judge.pairs import Lost, Pair
from reflectune.evaluate.judge.verdicts import ORDERS, Look, Marks, Order, Verdict, decided
from reflectune.records import Example, Failure, digest

STAGE = "review"
_COLUMNS = ("Answer1", "Answer2", "review", "review_reverse")
_TOLD_OF = {*_COLUMNS, "scores", "scores_reverse"}
_NUMBER = r"(\d{1,2}(?:\.\d+)?)(?:\s*/\s*10)?"
_SCORES = re.compile(rf"\s*{_NUMBER}(?:\s*[,;，]\s*|\s+){_NUMBER}\s*\.?\s*")
_HIGHEST = 10
_TOLD = 80
_HASH = 16


@dataclass(frozen=True, slots=True)
class Reviews:
    """A file of reviews.

    Attributes:
        source: The file.
        dataset: The test set.
        judge: Who wrote them, as the file's name has it after `_reviews_`.
        verdicts: What they come to.
        lost: What cannot be read, and why.
        differing: Rows where the file states other scores than the texts do.
        pairs: What was reviewed.
    """

    source: Path
    dataset: str
    judge: str
    verdicts: tuple[Verdict, ...]
    lost: tuple[Lost, ...]
    differing: int
    pairs: tuple[Pair, ...] = ()


def read_reviews(path: Path) -> Reviews:
    """Read a file of reviews.

    Raises:
        InputError: It cannot be read, or is no such file.
    """
    body = _read(path)
    rows = body["data"]
    told = body.get("Meta_Info")
    dataset = str((told.get("dataset_name") if isinstance(told, dict) else None) or path.stem)
    _, _, judge = path.stem.partition("_reviews_")
    verdicts: list[Verdict] = []
    lost: list[Lost] = []
    pairs: list[Pair] = []
    differing = 0
    for name, row in zip(_names(rows), rows, strict=True):
        outcome = _verdict(name, row, dataset, judge or path.stem, path.name)
        pairs.append(_pair(name, row, dataset))
        if isinstance(outcome, Verdict):
            verdicts.append(outcome)
            differing += _differs(row, outcome)
        else:
            lost.append(Lost(outcome, dataset))
    return Reviews(path, dataset, judge or path.stem, tuple(verdicts), tuple(lost), differing, tuple(pairs))


def scores_of(review: str) -> tuple[float, float] | None:
    """The two scores that a review's first line holds: `8 9`, `8, 9`, `8.5 9`, `8/10 9/10`; `None` where it does not.

    Nothing else may stand on the line, and each is from 0 to 10.
    """
    first = next((line for line in review.splitlines() if line.strip()), "")
    found = _SCORES.fullmatch(first)
    if found is None:
        return None
    one, other = float(found[1]), float(found[2])
    return (one, other) if max(one, other) <= _HIGHEST else None


def _verdict(name: str, row: dict[str, Any], dataset: str, judge: str, source: str) -> Verdict | Failure:
    looks = [_look(row["review"], "a-first"), _look(row["review_reverse"], "b-first")]
    for look, order in zip(looks, ORDERS, strict=True):
        if look is None:
            review = row["review" if order == "a-first" else "review_reverse"]
            detail = f"{judge}, {order}: the first line holds no two scores: {review.strip()[:_TOLD]!r}"
            return Failure(id=name, stage=STAGE, reason="unparsable", detail=detail, raw=review)
    forward, reverse = looks
    assert forward is not None
    assert reverse is not None
    return Verdict(
        id=name,
        dataset=dataset,
        judge=judge,
        rubric=source,
        outcome=decided(forward, reverse),
        looks=(forward, reverse),
        length_a=len(row["Answer1"]),
        length_b=len(row["Answer2"]),
    )


def _pair(name: str, row: dict[str, Any], dataset: str) -> Pair:
    """What was reviewed; the question stands in a column whose name differs by test set."""
    question = next((text for column, text in row.items() if column not in _TOLD_OF and isinstance(text, str)), "")
    example = Example(id=name, instruction=question, response=row["Answer1"])
    return Pair(name, example, row["Answer1"], row["Answer2"], dataset)


def _look(review: str, order: Order) -> Look | None:
    scores = scores_of(review)
    if scores is None:
        return None
    first, second = (Marks(overall=score) for score in scores)
    a, b = (first, second) if order == "a-first" else (second, first)
    return Look(order=order, a=a, b=b, raw=(review,))


def _differs(row: dict[str, Any], verdict: Verdict) -> bool:
    """Whether the file states scores, and other ones than the texts."""
    forward, reverse = verdict.looks
    read = {"scores": [forward.a.overall, forward.b.overall], "scores_reverse": [reverse.b.overall, reverse.a.overall]}
    stated = {name: row[name] for name in read if row.get(name)}
    return any(_stated(value) != read[name] for name, value in stated.items())


def _stated(value: object) -> object:
    """What a file states beside the texts: a list, as it stands or as JSON, or a line such as a review begins with."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return list(scores_of(value) or ())


def _names(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A name for each row, the same in the files of two judges: made of everything but the reviews."""
    seen: dict[str, int] = {}
    for row in rows:
        told = {name: value for name, value in row.items() if not name.startswith(("review", "scores"))}
        mark = digest(told)[:_HASH]
        count = seen[mark] = seen.get(mark, 0) + 1
        yield mark if count == 1 else f"{mark}-{count}"


def _read(path: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = orjson.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", mend="Check the path.") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.", mend="Name a file of reviews.") from error
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{path} holds no reviews.", mend="It needs `data`, a list of reviewed answers.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in _COLUMNS if not isinstance(row, dict) or not isinstance(row.get(name), str)]
        if missing:
            raise InputError(
                f"{path}: row {number} holds no text in {', '.join(missing)}.",
                mend=f"Each row needs {', '.join(_COLUMNS)}.",
            )
    return body
