"""What a column of figures comes to: its mean, its spread, and how sure the mean is.

Intervals are percentile bootstraps of 1,000 resamples with a fixed seed; scipy draws them. The figures are sorted
first, so that the order of the rows changes nothing. Figures that are all alike have no interval: no resample differs,
which says nothing of those that were not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from reflectune.optional import load_optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

Part = tuple[float, float]
"""What counts of something, and what there is of it."""

RESAMPLES = 1000
CONFIDENCE = 0.95
_SEED = 0
_DRAWN_AT_ONCE = 500_000
"""Figures that lie in memory at once while resamples are drawn: 4 MB, and as much for their places."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a mean lies with a confidence of 95%.

    Attributes:
        low: From here.
        high: To here.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A column of figures.

    Attributes:
        count: How many rows have the figure.
        mean: Its mean.
        median: Its median.
        deviation: Its standard deviation (n - 1); `None` for a single row.
        interval: Of the mean; `None` for a single row, or where all are alike.
    """

    count: int
    mean: float
    median: float
    deviation: float | None
    interval: Interval | None

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two means are apart.

    Attributes:
        mean: The mean after, less the mean before; of rows that have both, where they are paired.
        interval: Of that difference; `None` where there are too few rows, or all are alike.
        pairs: How many rows have both figures; 0 where the rows are not paired.
    """

    mean: float
    interval: Interval | None
    pairs: int

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def summarised(figures: Sequence[float]) -> Summary | None:
    """What a column comes to; `None` where it is empty.

    Raises:
        MissingExtraError: numpy or scipy is not installed.
    """
    column = _sorted(figures)
    if not column.size:
        return None
    several = column.size > 1
    return Summary(
        count=int(column.size),
        mean=float(column.mean()),
        median=float(_numpy().median(column)),
        deviation=float(column.std(ddof=1)) if several else None,
        interval=_interval((column,), _mean) if several else None,
    )


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference | None:
    """The mean change of rows that have both figures; `None` where there are none.

    Args:
        before: A figure of each row.
        after: The same figure of the same rows, in the same order.

    Raises:
        MissingExtraError: numpy or scipy is not installed.
    """
    changes = _sorted([new - old for old, new in zip(before, after, strict=True)])
    if not changes.size:
        return None
    interval = _interval((changes,), _mean) if changes.size > 1 else None
    return Difference(float(changes.mean()), interval, int(changes.size))


def unpaired_difference(before: Sequence[float], after: Sequence[float]) -> Difference | None:
    """The difference of the means of different rows; `None` where one side has none.

    Raises:
        MissingExtraError: numpy or scipy is not installed.
    """
    old, new = _sorted(before), _sorted(after)
    if not old.size or not new.size:
        return None
    interval = _interval((old, new), _apart) if min(old.size, new.size) > 1 else None
    return Difference(float(new.mean() - old.mean()), interval, 0)


def ratio_difference(before: Sequence[Part], after: Sequence[Part]) -> Difference | None:
    """How far two ratios of sums are apart, of rows that are paired; `None` where there are none.

    Args:
        before: Of each row what counts, and what there is.
        after: The same of the same rows, in the same order.

    Raises:
        MissingExtraError: numpy or scipy is not installed.
    """
    rows = sorted((*old, *new) for old, new in zip(before, after, strict=True))
    if not rows:
        return None
    columns = tuple(_numpy().asarray(rows, dtype=float).T)
    interval = _interval(columns, _ratios_apart, paired=True) if len(rows) > 1 else None
    return Difference(float(_ratios_apart(*columns, axis=0)), interval, len(rows))


def _mean(column: Any, axis: int) -> Any:
    return column.mean(axis=axis)


def _apart(before: Any, after: Any, axis: int) -> Any:
    return after.mean(axis=axis) - before.mean(axis=axis)


def _ratios_apart(*columns: Any, axis: int) -> Any:
    before, before_of, after, after_of = (column.sum(axis=axis) for column in columns)
    return after / after_of - before / before_of


def _interval(columns: tuple[Column, ...], statistic: Any, *, paired: bool = False) -> Interval | None:
    found = (
        _scipy_stats()
        .bootstrap(
            columns,
            statistic,
            n_resamples=RESAMPLES,
            batch=max(1, _DRAWN_AT_ONCE // sum(column.size for column in columns)),
            vectorized=True,
            paired=paired,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=_numpy().random.default_rng(_SEED),
        )
        .confidence_interval
    )
    return Interval(float(found.low), float(found.high)) if found.low < found.high else None


def _sorted(figures: Sequence[float]) -> Column:
    column: Column = _numpy().sort(_numpy().asarray(figures, dtype=float))
    return column


def _numpy() -> Any:
    return load_optional("numpy", "Statistics", "stats")


def _scipy_stats() -> Any:
    return load_optional("scipy.stats", "Statistics", "stats")
