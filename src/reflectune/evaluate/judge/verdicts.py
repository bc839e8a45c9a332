"""What a judge says of two answers to one question, and the verdict that follows.

A model looks at a pair in both orders. A person looks at it once, on sides that are drawn, and says which answer is the
better one; a verdict of one look says less, and every figure that compares two orders leaves it out.

The verdict is that of Selective Reflection-Tuning (arXiv 2402.10110, section 4) and of Cherry LLM (arXiv 2308.12032):
with f and r the signs of the difference between the overall scores in the two orders, f + r > 0 wins, 0 is a tie, and
f + r < 0 loses. Of a single look it is the sign of that one.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reflectune.records import Record

CRITERIA = ("helpfulness", "relevance", "accuracy", "detail")
"""What each answer is scored by, besides the overall score that decides."""

Order = Literal["a-first", "b-first"]
ORDERS: tuple[Order, Order] = ("a-first", "b-first")
Outcome = Literal["win", "tie", "lose"]
"""From the view of answer A."""
Choice = Literal["a", "b", "neither"]


class Marks(Record):
    """What a judge gives one answer, from 1 (poor) to 10 (excellent).

    Attributes:
        overall: The score that decides; `None` where the judge prefers without scoring.
        helpfulness: By this criterion; `None` where the judge did not say, as in published reviews.
        relevance: Likewise.
        accuracy: Likewise.
        detail: Likewise: the level of detail.
        remark: A short critique that came before the scores.
    """

    overall: float | None = Field(default=None, ge=0, le=10)
    helpfulness: float | None = None
    relevance: float | None = None
    accuracy: float | None = None
    detail: float | None = None
    remark: str = ""


class Look(Record):
    """What a judge says in one order.

    Attributes:
        order: Which answer was shown first.
        a: Of answer A, wherever it stood.
        b: Of answer B.
        raw: The judge's replies as they came, in the order in which they were asked for.
        choice: The better answer, of a judge that names it and gives no scores, as people do; else `None`.
    """

    order: Order
    a: Marks
    b: Marks
    raw: tuple[str, ...]
    choice: Choice | None = None

    @model_validator(mode="after")
    def _decides(self) -> Look:
        scored = [self.a.overall is not None, self.b.overall is not None]
        if any(scored) if self.choice else not all(scored):
            raise ValueError("a look holds the overall scores of both answers, or a choice and none of them")
        return self

    @property
    def preference(self) -> int:
        """1 for A, -1 for B, 0 for neither: the sign of the difference between the overall scores, or the choice."""
        if self.choice is not None:
            return {"a": 1, "neither": 0, "b": -1}[self.choice]
        assert self.a.overall is not None
        assert self.b.overall is not None
        return (self.a.overall > self.b.overall) - (self.a.overall < self.b.overall)

    @property
    def of_first(self) -> int:
        """1 where the answer that was shown first is preferred, -1 where the second is, 0 for neither."""
        return self.preference if self.order == "a-first" else -self.preference


class Verdict(Record):
    """A judge's verdict on a pair of answers.

    Attributes:
        id: The pair's id.
        dataset: Its test set; empty where there is only one.
        judge: The judge's name, with its place or the fingerprint of its weights.
        rubric: How it was asked: the way, and the first digits of a hash of the wording; or what file it was read from.
        outcome: Whether A wins; it follows from the looks.
        looks: What the judge said: A first and then B first, or in one of the two orders only.
        length_a: Of answer A, in characters.
        length_b: Of answer B.
    """

    id: str
    dataset: str
    judge: str
    rubric: str
    outcome: Outcome
    looks: tuple[Look, ...] = Field(min_length=1, max_length=2)
    length_a: int
    length_b: int

    @model_validator(mode="after")
    def _follows(self) -> Verdict:
        if len(self.looks) > 1 and not self.in_both_orders:
            raise ValueError("a verdict takes a look in each order, A first and then B first, or one look")
        if self.outcome != decided(*self.looks):
            raise ValueError(f"the outcome {self.outcome} does not follow from the scores")
        return self

    @property
    def value(self) -> int:
        """1 for a win, 0 for a tie, -1 for a loss."""
        return {"win": 1, "tie": 0, "lose": -1}[self.outcome]

    @property
    def in_both_orders(self) -> bool:
        """Whether the judge saw the pair in both orders; only then can the verdict flip."""
        return tuple(look.order for look in self.looks) == ORDERS

    @property
    def flipped(self) -> bool:
        """Whether the judge prefers A in one order and B in the other."""
        return {look.preference for look in self.looks} == {1, -1}


def decided(*looks: Look) -> Outcome:
    """What looks come to: the sign of the sum of their preferences."""
    together = sum(look.preference for look in looks)
    return "win" if together > 0 else "lose" if together < 0 else "tie"
