"""What a training would take, for devices that need not be here and a student that need not be at hand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reflectune.cli.screen import err
from reflectune.errors import OracleError, SettingsError
from reflectune.formats.source import Row
from reflectune.recipe import TrainSettings
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.weights import find_student
from reflectune.training.batches import check_split, steps_of
from reflectune.training.dataset import held_out_count
from reflectune.training.plan import GIB, MemoryPlan, plan_for
from reflectune.training.shape import SHAPES, Shape

_SIZE = re.compile(r"llama.*?(7b|13b|70b|405b)", re.IGNORECASE)
_GPU_TOKENS = 8192


def plan_elsewhere(
    settings: TrainSettings, rows: Iterable[Row], devices: int, memory: float
) -> tuple[dict[str, Any], MemoryPlan]:
    """The steps and the memory of a training on GPUs, without any weights or tokens.

    Args:
        settings: How the student is trained.
        rows: The data.
        devices: How many GPUs there are to be.
        memory: GiB of each.

    Raises:
        SettingsError: A step cannot be split over the devices, or the student's shape is not known.
    """
    check_split(settings.batch, devices)
    usable = sum(row.example is not None for row in rows)
    if settings.held_out_data is None:
        usable -= held_out_count(settings.held_out, usable)
    steps = steps_of(
        max(usable, 1), batch=settings.batch, epochs=settings.epochs, seed=settings.seed, max_steps=settings.max_steps
    )
    shape = shape_of(settings.student)
    tokens = settings.batch_tokens or max(settings.max_length, _GPU_TOKENS)
    capacity = int(memory * GIB)
    plan = plan_for(settings, shape, devices, capacity, tokens)
    found = {
        "rows": usable,
        "steps": len(steps),
        "devices": devices,
        "parameters": shape.parameters,
        "memory": plan.parts | {"total": plan.total},
        "capacity": capacity,
        "fits": plan.total <= capacity,
    }
    return found, plan


def shape_of(student: str) -> Shape:
    """The shape of a student: by its configuration where it can be read, else by its name.

    Raises:
        SettingsError: Neither says it.
    """
    found = _SIZE.search(student)
    if found and not Path(student).exists():
        return SHAPES[f"llama-{found[1].lower()}"]
    _, transformers = torch_and_transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(find_student(student).folder)
    except (OSError, ValueError, OracleError):
        raise SettingsError(
            f"The shape of {student} is not known here, and its configuration cannot be fetched.",
            mend="Name a folder with its config.json with --student; 7B, 13B, 70B and 405B Llamas are known by name.",
        ) from None
    return Shape.of_config(config.get_text_config().to_dict(), Path(student).name)


def show_plan(plan: MemoryPlan, capacity: int) -> None:
    """Print what a device holds, and whether it fits."""
    setup = plan.setup
    again = "computed again" if setup.checkpointing else "kept"
    split = "whole on each device" if setup.sharding == "none" else f"split by {setup.sharding}"
    err.print(f"{setup.tokens:,} tokens at once on each device, activations {again}, weights {split}")
    for name, size in plan.table():
        err.print(f"  {name:<34}{size:>12}")
    err.print(plan.verdict(capacity))
