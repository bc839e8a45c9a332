"""Where a person judges: what is shown next, what was said, undone and skipped. Every verdict is kept at once.

Nothing that it gives out tells which answer is whose: the sides are drawn, a pair goes by a number, and ids and names
stay here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import orjson
from pydantic import ValidationError

from reflectune.errors import InputError
from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.people import Side, mark_of, order_of, shuffled, verdict_of
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.records import Message, Record, Store

__all__ = ["Card", "Desk"]

_STAGE = "judge: "
_NOTHING = b"null"

_Key = tuple[str, str]


def _key(pair: Pair) -> _Key:
    """What names a pair: test sets may share ids."""
    return pair.dataset, pair.id


def _row(pair: Pair) -> str:
    """The same as a text, for the store."""
    return orjson.dumps(_key(pair)).decode() if pair.dataset else pair.id


class _Said(Record):
    """A verdict, and which one in order it was."""

    number: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Card:
    """A pair as a person sees it.

    Attributes:
        number: Its place among all pairs, which names it.
        before: The system prompt and earlier turns.
        instruction: What is asked.
        input: What the instruction works on; empty where there is nothing.
        left: One answer.
        right: The other one.
    """

    number: int
    before: tuple[Message, ...]
    instruction: str
    input: str
    left: str
    right: str


class Desk:
    """A person's work on pairs.

    Args:
        pairs: What is to be judged.
        store: Where verdicts are kept; what it holds of these pairs is gone on with.
        judge: The person's name as a judge.
        seed: What draws the sides and the order.
    """

    def __init__(self, pairs: Sequence[Pair], store: Store, judge: str, seed: int = 0) -> None:
        self._pairs = shuffled(pairs, seed)
        self._order = list(pairs)
        self._store = store
        self._judge = judge
        self._seed = seed
        self._said: dict[_Key, _Said] = {}
        self._skipped: list[int] = []
        for pair in self._pairs:
            if (said := self._kept(pair)) is not None:
                self._said[_key(pair)] = said
        self._latest = max((one.number for one in self._said.values()), default=0)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What was said, in the order of the data."""
        return tuple(self._said[_key(pair)].verdict for pair in self._order if _key(pair) in self._said)

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return len(self._pairs)

    @property
    def done(self) -> int:
        """How many of them are judged."""
        return len(self._said)

    @property
    def skipped(self) -> int:
        """How many were put off; they come again when all others are judged."""
        return len(self._skipped)

    @property
    def card(self) -> Card | None:
        """What is to be judged next; `None` where everything is."""
        left = [number for number, pair in enumerate(self._pairs) if _key(pair) not in self._said]
        put_off = set(self._skipped)
        number = next((number for number in left if number not in put_off), self._skipped[0] if self._skipped else None)
        return None if number is None else self._card(number)

    async def say(self, number: int, said: str) -> None:
        """Take a verdict; it is durable once this returns.

        Raises:
            InputError: There is no such pair, or that is no verdict.
        """
        pair = self._pair(number)
        if said not in get_args(Side):
            raise InputError("The verdict is none of left, tie and right.")
        side: Side = said  # type: ignore[assignment]
        self._latest += 1
        found = _Said(number=self._latest, verdict=verdict_of(pair, side, self._judge, self._seed))
        await self._keep(pair, found.model_dump_json().encode())
        self._said[_key(pair)] = found
        self._skipped = [other for other in self._skipped if other != number]

    def skip(self, number: int) -> None:
        """Put a pair off until all others are judged; one that was put off goes to the end.

        Raises:
            InputError: There is no such pair.
        """
        if _key(self._pair(number)) not in self._said:
            self._skipped = [*(other for other in self._skipped if other != number), number]

    async def undo(self) -> Card | None:
        """Take the last verdict back, also one of an earlier time; its pair, or `None` where there is none."""
        if not self._said:
            return None
        key = max(self._said, key=lambda key: self._said[key].number)
        number = next(place for place, pair in enumerate(self._pairs) if _key(pair) == key)
        await self._keep(self._pairs[number], _NOTHING)
        self._said.pop(key, None)
        return self._card(number)

    def _card(self, number: int) -> Card:
        pair = self._pairs[number]
        question = pair.question
        system = (Message("system", question.system),) if question.system else ()
        left, right = (pair.a, pair.b) if order_of(pair, self._seed) == "a-first" else (pair.b, pair.a)
        return Card(number, (*system, *question.history), question.instruction, question.input, left, right)

    def _pair(self, number: int) -> Pair:
        if not 0 <= number < len(self._pairs):
            raise InputError("There is no such pair.")
        return self._pairs[number]

    async def _keep(self, pair: Pair, body: bytes) -> None:
        await self._store.keep_result(f"{_STAGE}{self._judge}", _row(pair), mark_of(pair), body, None)

    def _kept(self, pair: Pair) -> _Said | None:
        body = self._store.result(f"{_STAGE}{self._judge}", _row(pair), mark_of(pair))
        if body is None or orjson.loads(body) is None:
            return None
        try:
            return _Said.model_validate_json(body)
        except ValidationError:  # of a version that wrote it otherwise; the pair is shown again
            return None
