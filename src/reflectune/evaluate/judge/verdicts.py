"""What a judge says of two answers to one question, in both orders, and the verdict that follows.

The verdict is that of Selective Reflection-Tuning (arXiv 2402.10110, section 4) and of Cherry LLM (arXiv 2308.12032):
with f and r the signs of the difference between the overall scores in the two orders, f + r > 0 wins, 0 is a tie, and
f + r < 0 loses.
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


class Marks(Record):
    """What a judge gives one answer, from 1 (poor) to 10 (excellent).

    Attributes:
        overall: The score that decides.
        helpfulness: By this criterion; `None` where the judge did not say, as in published reviews.
        relevance: Likewise.
        accuracy: Likewise.
        detail: Likewise: the level of detail.
        remark: A short critique that came before the scores.
    """

    overall: float = Field(ge=0, le=10)
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
    """

    order: Order
    a: Marks
    b: Marks
    raw: tuple[str, ...]

    @property
    def preference(self) -> int:
        """1 for A, -1 for B, 0 for neither: the sign of the difference between the overall scores."""
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
        looks: What the judge said, A first and then B first.
        length_a: Of answer A, in characters.
        length_b: Of answer B.
    """

    id: str
    dataset: str
    judge: str
    rubric: str
    outcome: Outcome
    looks: tuple[Look, Look]
    length_a: int
    length_b: int

    @model_validator(mode="after")
    def _follows(self) -> Verdict:
        if tuple(look.order for look in self.looks) != ORDERS:
            raise ValueError("a verdict takes a look in each order, A first and then B first")
        if self.outcome != decided(*self.looks):
            raise ValueError(f"the outcome {self.outcome} does not follow from the scores")
        return self

    @property
    def value(self) -> int:
        """1 for a win, 0 for a tie, -1 for a loss."""
        return {"win": 1, "tie": 0, "lose": -1}[self.outcome]

    @property
    def flipped(self) -> bool:
        """Whether the judge prefers A in one order and B in the other."""
        return self.looks[0].preference * self.looks[1].preference < 0


def decided(forward: Look, reverse: Look) -> Outcome:
    """What two looks come to: the sign of the sum of their preferences."""
    both = forward.preference + reverse.preference
    return "win" if both > 0 else "lose" if both < 0 else "tie"
