"""People as judges: blind, each pair once, on sides and in an order that a seed draws.

A person says which answer is the better one and gives no scores. The draw hangs on the seed and on the pair's id alone:
whoever goes on after a break sees the same sides, also where pairs were added meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from reflectune.evaluate.judge.pairs import Pair
from reflectune.evaluate.judge.verdicts import Choice, Look, Marks, Order, Verdict, decided
from reflectune.records import digest

__all__ = ["Side", "mark_of", "name_of_person", "order_of", "rubric_of", "shuffled", "verdict_of"]

Side = Literal["left", "tie", "right"]
"""What a person says of the two answers as they stand before them."""


def name_of_person(annotator: str | None) -> str:
    """The judge's name: `human`, or `human:NAME`."""
    return f"human:{annotator}" if annotator else "human"


def rubric_of(seed: int) -> str:
    """How a person is asked, in short."""
    return f"blind, seed {seed}"


def shuffled(pairs: Iterable[Pair], seed: int) -> list[Pair]:
    """The pairs in the order in which a person sees them."""
    return sorted(pairs, key=lambda pair: digest([seed, "order", pair.dataset, pair.id]))


def order_of(pair: Pair, seed: int) -> Order:
    """Whether A stands on the left, which is first, or B."""
    drawn = int(digest([seed, "side", pair.dataset, pair.id]), 16)
    return "a-first" if drawn % 2 else "b-first"


def mark_of(pair: Pair) -> str:
    """A hash of all that a person sees of a pair: a verdict on other texts is none on these."""
    return digest([pair.question.content_hash(), pair.a, pair.b])


def verdict_of(pair: Pair, said: Side, judge: str, seed: int) -> Verdict:
    """A person's verdict.

    Args:
        pair: What they saw.
        said: Which side is the better one.
        judge: Their name, as `name_of_person` makes it.
        seed: What drew the sides.
    """
    order = order_of(pair, seed)
    first: Choice = "a" if order == "a-first" else "b"
    second: Choice = "b" if order == "a-first" else "a"
    choice: Choice = "neither" if said == "tie" else first if said == "left" else second
    look = Look(order=order, a=Marks(), b=Marks(), raw=(said,), choice=choice)
    return Verdict(
        id=pair.id,
        dataset=pair.dataset,
        judge=judge,
        rubric=rubric_of(seed),
        outcome=decided(look),
        looks=(look,),
        length_a=len(pair.a),
        length_b=len(pair.b),
    )
