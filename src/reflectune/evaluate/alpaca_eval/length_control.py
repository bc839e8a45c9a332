"""The length-controlled win rate: what the win rate would be if both answers were equally long.

The preference for the model is modelled as logistic in tanh of the length difference (in its standard deviations), the
difficulty of the instruction, and a constant for the model, without a further intercept; then the length difference is
set to 0. Source: Dubois et al. 2024, Length-Controlled AlpacaEval (arXiv 2404.04475), and AlpacaEval's own figures: the
difference is the reference's length less the model's, in characters.

AlpacaEval knows the difficulties, and preferences for verbose and concise answers of its reference that hold the length
effect in place; each set of those counts 0.2 / 2 of a row. Both files lie on its hub. Without them the model has no
such terms, and the figure is approximate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from reflectune.errors import InputError
from reflectune.evaluate.alpaca_eval.annotations import Annotation
from reflectune.evaluate.alpaca_eval.fitting import FOLDS, Fit, Sample, fit, predicted, refit
from reflectune.evaluate.alpaca_eval.official_files import Gamed
from reflectune.evaluate.intervals import Interval
from reflectune.optional import load_optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = ["FEWEST", "Anchors", "LengthControlled", "Preference", "at_equal_length", "length_controlled"]

FEWEST = 2 * FOLDS
"""Fewer preferences are no sample to choose a penalty on."""
OFFICIAL_JUDGE = "weighted_alpaca_eval_gpt4_turbo"
OFFICIAL_REFERENCE = "gpt4_1106_preview"
RESAMPLES = 400
_GAMED_WEIGHT = 0.2 / 2
_SEED = 0
_WEAKEST = 1.0
"""Of the strengths of bootstrap samples: 805 rows hardly feel such a penalty."""
_RARE = 0.05
"""Where fewer of the pairs have the model's answer on the other side, equal length is hardly seen."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """What AlpacaEval knows besides the annotations.

    Attributes:
        difficulty: Of each instruction, by its place.
        gamed: Preferences for answers of the reference that play with their length.
    """

    difficulty: Mapping[int, float] = field(default_factory=dict)
    gamed: Sequence[Gamed] = ()


@dataclass(frozen=True, slots=True)
class Preference:
    """A preference between an answer of the reference and one of the model, as the model of length sees it.

    Attributes:
        index: Which instruction: several preferences on the same one are drawn together.
        share: The preference for the model, from 0 to 1; `None` where there is none.
        longer: By how much the reference's answer is the longer one, in characters.
        same: Whether the two answers are the same text.
    """

    index: int
    share: float | None
    longer: int
    same: bool = False


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate at equal length.

    Attributes:
        value: In percent.
        standard_error: In percentage points. Official: the spread of the predictions over the instructions, as
            AlpacaEval publishes it, which says nothing of how sure the fit is; approximate: by bootstrap.
        interval: By bootstrap over the items with 95%. The penalty is kept, but for one that is so strong that it would
            leave no effect in any sample; the figure itself is within.
        official: Whether it follows AlpacaEval in everything.
        why: Why it is approximate; empty where it is official.
        length_effect: The coefficient of tanh of the length difference; negative where longer answers are preferred.
        difficulty_effect: That of the difficulty; `None` where it is not known.
        model_effect: The constant.
        strength: The inverse of the penalty that was chosen; `None` where nothing was fitted.
        longer: The share of pairs in which the model's answer is the longer one, in percent.
        shorter: That in which it is the shorter one.
    """

    value: float
    standard_error: float
    interval: Interval
    official: bool
    why: str
    length_effect: float
    difficulty_effect: float | None
    model_effect: float
    strength: float | None
    longer: float
    shorter: float

    @property
    def label(self) -> str:
        """What it is called: official or approximate."""
        return "official" if self.official else "approximate"

    @property
    def warning(self) -> str:
        """That equal length was hardly seen, where that is so."""
        if min(self.longer, self.shorter) >= 100 * _RARE or not max(self.longer, self.shorter):
            return ""
        side, share = ("longer", self.longer) if self.longer > self.shorter else ("shorter", self.shorter)
        return f"the model's answer is the {side} one in {share:.0f}% of the pairs, so equal length is extrapolated"

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"label": self.label, "warning": self.warning}


def length_controlled(rows: Sequence[Annotation], anchors: Anchors | None = None) -> LengthControlled:
    """The win rate that the preferences predict for answers of equal length.

    Args:
        rows: One model's annotations, those without a preference too: their lengths and instructions count.
        anchors: What AlpacaEval knows of its instructions and reference; by default nothing.

    Raises:
        InputError: There are fewer than `FEWEST` preferences, or a difficulty is missing.
        MissingExtraError: numpy, scipy or scikit-learn is not installed.
    """
    anchors = anchors or Anchors()
    preferences = [
        Preference(row.index, row.share, len(row.output_1) - len(row.output_2), row.output_1 == row.output_2)
        for row in rows
    ]
    return at_equal_length(preferences, anchors, _why(rows, anchors) if rows else "")


def at_equal_length(rows: Sequence[Preference], anchors: Anchors | None = None, why: str = "") -> LengthControlled:
    """The same of preferences that come from elsewhere than AlpacaEval, such as the verdicts of a pairwise judge.

    Args:
        rows: One model's preferences, those without a share too: their lengths count.
        anchors: What AlpacaEval knows of its instructions and reference; by default nothing.
        why: Why the figure is approximate; empty where it is official.

    Raises:
        InputError: There are fewer than `FEWEST` preferences, or a difficulty is missing.
        MissingExtraError: numpy, scipy or scikit-learn is not installed.
    """
    anchors = anchors or Anchors()
    decided = sum(row.share is not None for row in rows)
    if decided < FEWEST:
        raise InputError(
            f"{decided} preferences are too few to control for length: it takes {FEWEST}.", mend="Judge more pairs."
        )
    if all(row.same for row in rows):
        none = 0.0 if anchors.difficulty else None
        return LengthControlled(50.0, 0.0, Interval(50.0, 50.0), not why, why, 0.0, none, 0.0, None, 0.0, 0.0)
    numpy = load_optional("numpy", "Length control", "eval")
    pairs = _Pairs(rows, anchors)
    found = fit(pairs.sample)
    yes = 100 * predicted(pairs.level, found.coefficients)
    drawn = pairs.redrawn(found)
    sem = yes.std(ddof=1) / len(yes) ** 0.5
    low, high = numpy.percentile(drawn, [2.5, 97.5])
    effects = [float(effect) for effect in found.coefficients]
    return LengthControlled(
        value=float(yes.mean()),
        standard_error=float(drawn.std(ddof=1) if why else sem),
        interval=Interval(float(min(low, yes.mean())), float(max(high, yes.mean()))),
        official=not why,
        why=why,
        length_effect=effects[0],
        difficulty_effect=effects[1] if anchors.difficulty else None,
        model_effect=effects[-1],
        strength=found.strength,
        longer=float(100 * (pairs.lengths < 0).mean()),
        shorter=float(100 * (pairs.lengths > 0).mean()),
    )


class _Pairs:
    """Preferences as numbers.

    Attributes:
        lengths: The reference's length less the model's in standard deviations, (rows,).
        level: The features of the rows at a length difference of 0, (rows, features).
        sample: What is fitted: first the answers that play with their length, then the decided rows.
    """

    def __init__(self, rows: Sequence[Preference], anchors: Anchors) -> None:
        numpy = load_optional("numpy", "Length control", "eval")
        difference = numpy.array([row.longer for row in rows], dtype=float)
        spread = difference.std(ddof=1)
        self.lengths: Numbers = difference / spread if spread else numpy.zeros(len(rows))
        known = bool(anchors.difficulty)
        hard = [[_difficulty(row.index, anchors)] for row in rows] if known else numpy.empty((len(rows), 0))
        ones = numpy.ones((len(rows), 1))
        self.level: Numbers = numpy.hstack([numpy.zeros((len(rows), 1)), hard, ones])
        features = numpy.hstack([numpy.tanh(self.lengths)[:, None], hard, ones])
        decided = numpy.array([row.share is not None for row in rows])
        shares = [row.share for row in rows if row.share is not None]
        self._level = self.level[decided]
        _, self._group = numpy.unique(numpy.array([row.index for row in rows])[decided], return_inverse=True)
        self._gamed = len(anchors.gamed)
        played = numpy.array([_features(one, known=known) for one in anchors.gamed])
        played = played.reshape(self._gamed, features.shape[1])
        weights = [_GAMED_WEIGHT if one.plays else 1.0 for one in anchors.gamed]
        self.sample = Sample(
            numpy.concatenate([played, features[decided]]),
            numpy.array([one.share for one in anchors.gamed] + shares),
            numpy.array(weights + [1.0] * len(shares)),
        )

    def redrawn(self, found: Fit) -> Numbers:
        """The figure, in percent, of samples of instructions, drawn with repetition, with all that was said on each."""
        numpy = load_optional("numpy", "Length control", "eval")
        rng = numpy.random.default_rng(_SEED)
        size, strength = int(self._group.max()) + 1, max(found.strength, _WEAKEST)
        values = numpy.empty(RESAMPLES)
        for place in range(RESAMPLES):
            counts = numpy.bincount(rng.integers(0, size, size), minlength=size)[self._group]
            weights = numpy.concatenate([numpy.ones(self._gamed), counts]) * self.sample.weights
            again = refit(Sample(self.sample.features, self.sample.shares, weights), strength)
            values[place] = 100 * numpy.average(predicted(self._level, again.coefficients), weights=counts)
        drawn: Numbers = values
        return drawn


def _features(one: Gamed, *, known: bool) -> list[float]:
    numpy = load_optional("numpy", "Length control", "eval")
    hard = [one.difficulty] if known else []
    return [float(numpy.tanh(one.length)), *hard, 0.0 if one.plays else 1.0]


def _difficulty(index: int, anchors: Anchors) -> float:
    if index not in anchors.difficulty:
        raise InputError(
            f"There is no difficulty of instruction {index}: there are {len(anchors.difficulty)}.",
            mend="Leave --difficulty and --gamed out: they belong to AlpacaEval's own 805 instructions.",
        )
    return anchors.difficulty[index]


def _why(rows: Sequence[Annotation], anchors: Anchors) -> str:
    """Why a figure is approximate; empty where nothing is missing."""
    reasons = []
    if not anchors.difficulty:
        reasons.append("without the difficulty of the instructions (--difficulty)")
    if not anchors.gamed:
        reasons.append("without AlpacaEval's annotations of verbose and concise answers (--gamed)")
    if rows[0].annotator != OFFICIAL_JUDGE:
        reasons.append(f"the judge is not {OFFICIAL_JUDGE}")
    if rows[0].generator_1 != OFFICIAL_REFERENCE:
        reasons.append(f"the reference is not {OFFICIAL_REFERENCE}")
    if anchors.difficulty and len({row.index for row in rows}) < len(anchors.difficulty):
        reasons.append(f"on {len(rows)} of {len(anchors.difficulty)} instructions")
    return "; ".join(reasons)
