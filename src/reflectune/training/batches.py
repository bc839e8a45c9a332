"""Which rows make an optimiser step, and how a step's rows are split over devices and readings.

A step is so many *rows*, whatever packing does: rows that are read one after the other save time and change nothing
else, since the loss of a step is the mean over the tokens that carry loss in all of its rows.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from reflectune.errors import SettingsError

Pack = tuple[int, ...]
"""Rows that are read one after the other, by their places; empty where a device has nothing to read."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is read in a run.

    Attributes:
        steps: The packs of each optimiser step: `devices` times `readings` of them. Device d reads the packs d,
            d + devices, and so on.
        devices: How many devices there are.
        readings: How often each device reads in a step: the gradient accumulation.
    """

    steps: tuple[tuple[Pack, ...], ...]
    devices: int
    readings: int

    @property
    def packs(self) -> list[Pack]:
        """Every pack, in the order in which they are read."""
        return [pack for step in self.steps for pack in step]


def check_split(batch: int, devices: int) -> None:
    """Ensure that a step's rows can be shared evenly.

    Raises:
        SettingsError: They cannot.
    """
    if batch % devices:
        near = sorted({max(batch // devices, 1) * devices, -(-batch // devices) * devices})
        raise SettingsError(
            f"{batch} rows of a step (batch) cannot be split evenly over {devices} devices.",
            mend=f"Set --batch to {' or '.join(str(number) for number in near)}.",
        )


def steps_of(rows: int, *, batch: int, epochs: float, seed: int, max_steps: int | None = None) -> list[list[int]]:
    """The rows of each optimiser step, by their places.

    Every epoch has an order of its own. The steps are of equal size, or differ by one row, so that the last one is not
    a small one whose gradient counts as much as a full one's; none has more than `batch` rows.

    Args:
        rows: How many rows there are.
        batch: The most rows of a step.
        epochs: How often each row is seen; of a broken number the last pass ends early.
        seed: What the orders are drawn with.
        max_steps: The most steps.
    """
    wanted = max(round(rows * epochs), 1)
    order = _endless(rows, seed)
    stream = [next(order) for _ in range(wanted)]
    count = -(-wanted // batch)
    cuts = [wanted * number // count for number in range(count + 1)]
    return [stream[begin:end] for begin, end in pairwise(cuts)][:max_steps]


def _endless(rows: int, seed: int) -> Iterator[int]:
    drawn = random.Random(seed)  # noqa: S311 - an order, no secret
    while True:
        yield from drawn.sample(range(rows), rows)


def schedule(steps: Sequence[Sequence[int]], lengths: Sequence[int], *, devices: int, batch_tokens: int) -> Schedule:
    """Split the rows of each step into packs that a device can read.

    Args:
        steps: The rows of each step.
        lengths: The tokens of each row; none is longer than `batch_tokens`.
        devices: How many devices share a step.
        batch_tokens: The most tokens that a device reads at once; 0 for one row at a time.
    """
    found = [_packed(step, lengths, devices, devices, batch_tokens) for step in steps]
    most = max(len(packs) for packs in found)
    even = [
        packs if len(packs) == most else _packed(step, lengths, devices, most, batch_tokens)
        for step, packs in zip(steps, found, strict=True)
    ]
    return Schedule(tuple(tuple(packs) for packs in even), devices, most // devices)


def held_out_packs(lengths: Sequence[int], *, devices: int, batch_tokens: int) -> Schedule:
    """All rows as packs, for measuring."""
    return schedule([range(len(lengths))], lengths, devices=devices, batch_tokens=batch_tokens)


def _packed(step: Sequence[int], lengths: Sequence[int], devices: int, least: int, batch_tokens: int) -> list[Pack]:
    """The fewest packs, at least so many and the same number for each device, as even as the longest rows first make.

    Longest-processing-time scheduling: R. L. Graham, Bounds on Multiprocessing Timing Anomalies (1969).
    """
    if not batch_tokens:
        empty = -len(step) % devices
        return [(row,) for row in step] + [()] * max(empty, least - len(step))
    ordered = sorted(step, key=lambda row: -lengths[row])
    total = sum(lengths[row] for row in step)
    count = max(least, -(-total // batch_tokens))
    count += -count % devices
    while True:
        loads: list[tuple[int, int]] = [(0, number) for number in range(count)]
        packs: list[list[int]] = [[] for _ in range(count)]
        for row in ordered:
            load, number = heapq.heappop(loads)
            packs[number].append(row)
            heapq.heappush(loads, (load + lengths[row], number))
        if max(loads)[0] <= batch_tokens or count >= len(step):
            return [tuple(pack) for pack in packs]
        count += devices
