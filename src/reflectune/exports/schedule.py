"""Rows of a step over devices, and steps of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reflectune.errors import SettingsError
from reflectune.recipe import TrainSettings

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a run is cut into steps.

    Attributes:
        per_device: Rows, or packs of rows, that a device reads at once.
        accumulation: How often it does before the weights change.
        devices: How many devices there are.
        rows_of_pack: Rows of a pack, on average; 1 where rows are not packed.
        steps: About how many steps the run has.
        warmup: In how many of them the learning rate rises.
    """

    per_device: int
    accumulation: int
    devices: int
    rows_of_pack: float
    steps: int
    warmup: int


def scheduled(settings: TrainSettings, rows: int, devices: int, *, tokens: float = 0.0) -> Schedule:
    """A step's rows over the devices.

    Args:
        settings: How the student is trained.
        rows: How many rows it learns from.
        devices: How many devices there are.
        tokens: Tokens of a row, on average, where the tool counts packs of `max_length` tokens and not rows.

    Raises:
        SettingsError: The rows of a step cannot be shared equally.
    """
    share, left = divmod(settings.batch, devices)
    if left or not share:
        raise SettingsError(
            f"A step of {settings.batch} rows cannot be shared equally by {devices} devices.",
            mend=f"Use a number of devices that divides {settings.batch}, or another batch with --set batch=N.",
        )
    fit = max(1, (settings.batch_tokens or settings.max_length) // settings.max_length)
    of_pack = max(1.0, settings.max_length / tokens) if tokens else 1.0
    share = max(1, round(share / of_pack))
    per_device = max(size for size in range(1, min(fit, share) + 1) if share % size == 0)
    steps_of_epoch = math.ceil(rows / (share * devices * of_pack))
    steps = settings.max_steps or math.ceil(steps_of_epoch * settings.epochs)
    return Schedule(per_device, share // per_device, devices, of_pack, steps, math.ceil(steps * settings.warmup))


def every(times: int) -> float:
    """The share of a run after which something is done that is done so many times, as Hugging Face's Trainer takes it.

    It is below 1, since 1 would mean every step.
    """
    return math.floor(min(1 / times, 1 - 1 / _MILLION) * _MILLION) / _MILLION


def held_out_rows(settings: TrainSettings, rows: int) -> int:
    """How many rows are kept apart to measure the loss on."""
    if settings.held_out_data is not None:
        return 0
    text = settings.held_out
    count = round(rows * float(text[:-1]) / 100) if text.endswith("%") else int(text)
    return max(0, min(count, rows - 1))
