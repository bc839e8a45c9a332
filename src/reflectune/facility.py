"""Facility location: the few points of a space that cover all of them best."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from reflectune.optional import load_optional

_AT_ONCE = 2048


def cover(points: Sequence[Sequence[float]], count: int) -> list[int]:
    """Choose points one after the other, each time the one that adds most to how well all points are covered.

    A point is covered as well as it is similar (by cosine, at least 0) to the most similar chosen one. The greedy
    choice reaches at least 1 - 1/e of the best possible (Nemhauser, Wolsey, Fisher 1978); gains only fall as points are
    chosen, so a gain is computed again only when it may be the highest (Minoux 1978). Ties go to the earlier point.
    Time grows with the square of the number of points, memory linearly.

    Args:
        points: [n, d], each of length 1.
        count: How many to choose.

    Returns:
        The places of the chosen points, in the order in which they were chosen.

    Raises:
        MissingExtraError: numpy is not installed.
    """
    numpy = load_optional("numpy", "The rule diverse", "stats")
    space = numpy.asarray(points, dtype=numpy.float32)
    covered = numpy.zeros(len(space), dtype=numpy.float32)
    gains = [
        (-float(gain), begin + place)
        for begin in range(0, len(space), _AT_ONCE)
        for place, gain in enumerate(numpy.maximum(space[begin : begin + _AT_ONCE] @ space.T, 0).sum(axis=1))
    ]
    heapq.heapify(gains)
    chosen: list[int] = []
    while gains and len(chosen) < count:
        _, place = heapq.heappop(gains)
        with numpy.errstate(invalid="ignore"):  # finite points: what BLAS may flag is what it read beyond odd shapes
            similar = space @ space[place]
        gain = float(numpy.maximum(similar - covered, 0).sum())
        if gains and (-gain, place) > gains[0]:
            heapq.heappush(gains, (-gain, place))
            continue
        chosen.append(place)
        covered = numpy.maximum(covered, similar)
    return chosen
