"""How far a judge agrees with another one, with people, or with itself when the answers change places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from reflectune.errors import InputError
from reflectune.optional import load_optional

_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far verdicts agree with labels.

    Attributes:
        items: How many there are.
        accuracy: The share of equal ones, in percent.
        kappa: Cohen's kappa: 1 for full agreement, 0 for what chance gives; `None` where both sides say the same one
            thing throughout, for which it is not defined.
        precision: The mean over the labels' classes of the precision, in percent.
        recall: Likewise.
        f1: Likewise, the mean of each class's F1.
    """

    items: int
    accuracy: float
    kappa: float | None
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class OrderAgreement:
    """How far a judge agrees with labels in each order, as LLMBar (arXiv 2310.07641) reports it.

    Attributes:
        items: How many there are.
        kept: Right with the answers in the order of the data, in percent.
        swapped: Right with the answers swapped.
        both: Right in both orders.
        equal: The same preference in both orders, right or wrong.
        kappa: Cohen's kappa between the two orders.
    """

    items: int
    kept: float
    swapped: float
    both: float
    equal: float
    kappa: float | None


def agreement(verdicts: Sequence[str], labels: Sequence[str]) -> Agreement:
    """How far verdicts agree with labels: another judge's verdicts, or people's.

    Args:
        verdicts: A judge's, such as `Verdict.outcome`. One that is none of the labels, such as an unreadable reply that
            is kept in, counts as wrong.
        labels: What they should be, in the same order.

    Raises:
        InputError: There are none, or not as many of the one as of the other.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(verdicts, labels)
    metrics = load_optional("sklearn.metrics", "Agreement", "eval")
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        list(labels), list(verdicts), labels=sorted(set(labels)), average="macro", zero_division=0.0
    )
    return Agreement(
        items=len(labels),
        accuracy=_share(verdicts, labels),
        kappa=kappa(verdicts, labels),
        precision=_PERCENT * float(precision),
        recall=_PERCENT * float(recall),
        f1=_PERCENT * float(f1),
    )


def agreement_by_order(kept: Sequence[str], swapped: Sequence[str], labels: Sequence[str]) -> OrderAgreement:
    """How far a judge agrees with labels in each order, and with itself.

    Args:
        kept: The preferred answer of each item, in the order of the data.
        swapped: The preferred answer with the answers swapped, named as in `kept`.
        labels: The better answer of each item.

    Raises:
        InputError: There are none, or not as many of each.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(kept, labels)
    _check(swapped, labels)
    both = [one == other for one, other in zip(kept, labels, strict=True)]
    return OrderAgreement(
        items=len(labels),
        kept=_share(kept, labels),
        swapped=_share(swapped, labels),
        both=_PERCENT
        * sum(right and other == label for right, other, label in zip(both, swapped, labels, strict=True))
        / len(labels),
        equal=_share(kept, swapped),
        kappa=kappa(kept, swapped),
    )


def kappa(one: Sequence[str], other: Sequence[str]) -> float | None:
    """Cohen's kappa between two judges; `None` where both say the same one thing throughout.

    Raises:
        InputError: There is nothing to compare, or not as much on both sides.
        MissingExtraError: scikit-learn is not installed.
    """
    _check(one, other)
    if len({*one, *other}) == 1:
        return None
    metrics = load_optional("sklearn.metrics", "Agreement", "eval")
    return float(metrics.cohen_kappa_score(list(one), list(other)))


def majority(votes: Sequence[Any]) -> Any | None:
    """What more voters say than any other thing; `None` where that is not decided."""
    ranked = Counter[Hashable](votes).most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _share(one: Sequence[str], other: Sequence[str]) -> float:
    return _PERCENT * sum(here == there for here, there in zip(one, other, strict=True)) / len(one)


def _check(one: Sequence[str], other: Sequence[str]) -> None:
    if not one or len(one) != len(other):
        raise InputError(
            f"Agreement: {len(one):,} verdicts on one side, {len(other):,} on the other.",
            mend="Give both sides the verdicts on the same items, in the same order.",
        )
