"""Facility location: the lazy choice is the plain greedy one."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import MissingExtraError
from reflectune.facility import cover

NUMBERS = st.integers(-3, 3)
COUNTS = st.integers(0, 14)


def coverage(points: list[list[int]], chosen: list[int]) -> int:
    """How well all points are covered: each by the most similar of the chosen, or not at all."""
    similar = [[sum(a * b for a, b in zip(point, points[one], strict=True)) for one in chosen] for point in points]
    return sum(max([0, *row]) for row in similar)


def greedy(points: list[list[int]], count: int) -> list[int]:
    """Try every point at every step."""
    chosen: list[int] = []
    while len(chosen) < min(count, len(points)):
        left = [place for place in range(len(points)) if place not in chosen]
        chosen.append(max(left, key=lambda place: (coverage(points, [*chosen, place]), -place)))
    return chosen


def on_a_circle(*degrees: float) -> list[list[float]]:
    return [[float(np.cos(np.radians(angle))), float(np.sin(np.radians(angle)))] for angle in degrees]


# Whole numbers: every sum is exact, and so are ties.
@given(st.integers(1, 3).flatmap(lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width))), COUNTS)
def test_it_chooses_what_trying_every_point_chooses(points: list[list[int]], count: int) -> None:
    assert cover(points, count) == greedy(points, count)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 10))
def test_no_other_point_would_have_added_more(seed: int, size: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(size, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    similar = np.maximum(points @ points.T, 0)
    chosen = cover(points.tolist(), count)
    assert len(set(chosen)) == len(chosen) == min(size, count)
    covered = np.zeros(size)
    for place in chosen:
        gains = np.maximum(similar - covered, 0).sum(axis=1)
        assert gains[place] >= gains.max() - 1e-4
        covered = np.maximum(covered, similar[place])


def test_each_cluster_is_covered_before_any_is_covered_twice() -> None:
    clusters = on_a_circle(0, 1, 2, 3, 120, 121, 122, 240, 241)
    assert {place // 4 if place < 7 else 2 for place in cover(clusters, 3)} == {0, 1, 2}
    assert cover(clusters, 3)[0] in range(4)  # the largest first


@pytest.mark.parametrize(
    ("points", "count", "expected"),
    [
        ([], 3, []),
        ([[1.0, 0.0]], 0, []),
        ([[1.0, 0.0]], 5, [0]),
        ([[1.0, 0.0], [0.0, 1.0]], 2, [0, 1]),
        ([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], 2, [1, 0]),
        ([[1.0, 0.0]] * 4, 3, [0, 1, 2]),  # nothing is left to cover
        ([[1.0, 0.0], [-1.0, 0.0]], 2, [0, 1]),  # what is unlike takes nothing away
    ],
)
def test_ties_go_to_the_earlier_point(points: list[list[float]], count: int, expected: list[int]) -> None:
    assert cover(points, count) == expected


def test_more_points_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(0).integers(-3, 4, size=(50, 3)).tolist()
    whole = cover(points, 12)
    monkeypatch.setattr("reflectune.facility._AT_ONCE", 7)
    assert cover(points, 12) == whole == greedy(points, 12)


def test_without_numpy_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[stats\]'"):
        cover([[1.0]], 1)
