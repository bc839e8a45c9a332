"""A logistic model of soft labels with an L1 penalty that cross-validation chooses.

A label is a share from 0 to 1. Each item becomes two weighted rows: one says yes with the share, the other no with the
rest; both go into the same fold. scikit-learn fits; nothing of its global configuration is touched.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reflectune.optional import load_optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = ["FOLDS", "Fit", "Sample", "fit", "predicted", "refit"]

FOLDS = 5
_SEED = 123
"""AlpacaEval's; liblinear visits coordinates in an order that it draws."""
_LEAST = 1e-15
_MOST_ITERATIONS = 1000
"""Ten times as many as AlpacaEval takes. Where lengths hardly overlap, a weak penalty may need yet more: such a fit is
scored on the held-out items as it stands."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is fitted.

    Attributes:
        features: (items, features).
        shares: (items,), each from 0 to 1.
        weights: (items,), how much each item counts.
    """

    features: Numbers
    shares: Numbers
    weights: Numbers


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Attributes:
        coefficients: (features,).
        strength: The inverse of the penalty, as scikit-learn's `C`.
    """

    coefficients: Numbers
    strength: float


def fit(sample: Sample) -> Fit:
    """Fit with the penalty, of ten from 1e4 down to 1e-4, that predicts held-out items best.

    Five folds; the score of a fold is the mean weighted log-likelihood of its rows.

    Args:
        sample: At least `FOLDS` items.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    numpy = load_optional("numpy", "Length control", "eval")
    splitter = load_optional("sklearn.model_selection", "Length control", "eval").GroupKFold(FOLDS)
    rows, labels, shares, weights, groups = _doubled(sample)
    strengths = numpy.logspace(-4, 4, 10)
    likelihood = numpy.zeros(len(strengths))
    for train, test in splitter.split(rows, labels, groups):
        for place, strength in enumerate(strengths):
            fitted = _fitted(rows[train], labels[train], (shares * weights)[train], strength)
            yes = numpy.clip(predicted(rows[test], fitted), _LEAST, 1 - _LEAST)
            share = numpy.where(labels[test] == 1, shares[test], 1 - shares[test])
            gain = share * numpy.log(yes) + (1 - share) * numpy.log(1 - yes)
            likelihood[place] += numpy.mean(gain * weights[test])
    return refit(sample, float(strengths[int(numpy.argmax(likelihood))]))


def refit(sample: Sample, strength: float) -> Fit:
    """Fit with a given penalty.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    rows, labels, shares, weights, _ = _doubled(sample)
    return Fit(_fitted(rows, labels, shares * weights, strength), strength)


def predicted(features: Numbers, coefficients: Numbers) -> Numbers:
    """The probability of yes: (items,) of (items, features)."""
    special = load_optional("scipy.special", "Length control", "eval")
    found: Numbers = special.expit(features @ coefficients)
    return found


def _doubled(sample: Sample) -> tuple[Any, Any, Any, Any, Any]:
    """Rows, labels, the share that each label has, weights and groups: first all that say yes, then all that say no."""
    numpy = load_optional("numpy", "Length control", "eval")
    items = numpy.arange(len(sample.shares))
    return (
        numpy.concatenate([sample.features, sample.features]),
        numpy.concatenate([numpy.ones(len(items), dtype=int), numpy.zeros(len(items), dtype=int)]),
        numpy.concatenate([sample.shares, 1 - sample.shares]),
        numpy.concatenate([sample.weights, sample.weights]),
        numpy.concatenate([items, items]),
    )


def _fitted(rows: Any, labels: Any, weights: Any, strength: float) -> Numbers:
    linear = load_optional("sklearn.linear_model", "Length control", "eval")
    model = linear.LogisticRegression(
        C=strength,
        l1_ratio=1.0,
        solver="liblinear",
        fit_intercept=False,
        random_state=_SEED,
        max_iter=_MOST_ITERATIONS,
    )
    heavy = weights > 0  # as liblinear does itself, but before the rows are copied and checked
    if not labels[heavy].any():  # of noes alone liblinear learns nothing; of yeses alone that all say yes
        return -_fitted(rows, 1 - labels, weights, strength)
    if 0 < labels[heavy].sum() < heavy.sum():
        rows, labels, weights = rows[heavy], labels[heavy], weights[heavy]
    slow = load_optional("sklearn.exceptions", "Length control", "eval").ConvergenceWarning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", slow)
        found: Numbers = model.fit(rows, labels, sample_weight=weights).coef_[0]
    return found
