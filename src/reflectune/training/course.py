"""What a run will read and on what, decided before any weights are loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from reflectune.errors import SettingsError
from reflectune.recipe import TrainSettings
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.batches import Schedule, check_split, schedule, steps_of
from reflectune.training.dataset import TrainingData
from reflectune.training.plan import MemoryPlan, plan_for
from reflectune.training.shape import Shape
from reflectune.training.student import Pupil


@dataclass(frozen=True, slots=True)
class Devices:
    """What a run is computed on.

    Attributes:
        count: How many processes share a step; each has a device of its own.
        rank: Which of them this is.
        gpu: Whether they are GPUs.
    """

    count: int
    rank: int
    gpu: bool

    @classmethod
    def found(cls, *, gpu: bool) -> Devices:
        """Those that `torchrun` or `accelerate launch` started, or the one of this process."""
        return cls(int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0")), gpu)

    def capacity(self) -> int:
        """Bytes of a GPU, or this process's share of what memory the machine has to give."""
        torch, _ = torch_and_transformers()
        if self.gpu:
            return int(torch.cuda.get_device_properties(0).total_memory)
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // here

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0


@dataclass(frozen=True, slots=True)
class Course:
    """What a run will read, decided before anything is loaded.

    Attributes:
        split: The packs of each step.
        settings: The settings, with what was left open decided.
        plan: How much memory it takes; `None` for a student that memory is not planned for.
        capacity: Bytes of a device.
        tokens: Tokens that are read in all.
        trainable: Those of them that carry loss.
    """

    split: Schedule
    settings: TrainSettings
    plan: MemoryPlan | None
    capacity: int
    tokens: int
    trainable: int

    @property
    def bfloat16(self) -> bool:
        """Whether products are computed in bfloat16."""
        return self.settings.precision == "bfloat16"


def check_launch() -> None:
    """Refuse to train in one process that sees several GPUs, of which it would use one.

    Raises:
        SettingsError: It does.
    """
    torch, _ = torch_and_transformers()
    if torch.cuda.device_count() > 1 and "WORLD_SIZE" not in os.environ:
        raise SettingsError(
            f"This process sees {torch.cuda.device_count()} GPUs, and trains on one.",
            mend="Start it with torchrun --nproc-per-node N -m reflectune, or show it one: CUDA_VISIBLE_DEVICES=0.",
        )


def course_of(data: TrainingData, pupil: Pupil, settings: TrainSettings, devices: Devices) -> Course:
    """What a run will read.

    Raises:
        SettingsError: A step cannot be split over the devices.
    """
    check_split(settings.batch, devices.count)
    bfloat16 = settings.precision == "bfloat16" if settings.precision else has_bfloat16(gpu=devices.gpu)
    tokens = settings.batch_tokens or max(settings.max_length, 8192 if devices.gpu else 2048)
    lengths = [len(row.tokens) for row in data.rows]
    steps = steps_of(
        len(lengths), batch=settings.batch, epochs=settings.epochs, seed=settings.seed, max_steps=settings.max_steps
    )
    split = schedule(steps, lengths, devices=devices.count, batch_tokens=tokens if settings.packing else 0)
    alpha = settings.lora_alpha or 2.0 * settings.lora_rank
    open_ = {"batch_tokens": tokens, "precision": "bfloat16" if bfloat16 else "float32", "lora_alpha": alpha}
    decided, capacity = settings.model_copy(update=open_), devices.capacity()
    plan = _plan(pupil, decided, devices.count, capacity)
    if settings.gradient_checkpointing is None:
        again = plan.setup.checkpointing if plan else devices.gpu
        decided = decided.model_copy(update={"gradient_checkpointing": again})
    trained = [sum(row.trains) for row in data.rows]
    return Course(
        split,
        decided,
        plan,
        capacity,
        tokens=sum(lengths[row] for step in steps for row in step),
        trainable=sum(trained[row] for step in steps for row in step),
    )


def _plan(pupil: Pupil, settings: TrainSettings, devices: int, capacity: int) -> MemoryPlan | None:
    try:
        shape = Shape.of_config(pupil.config.get_text_config().to_dict(), pupil.found.name)
    except SettingsError:  # a student of another kind is trained all the same
        return None
    return plan_for(settings, shape, devices, capacity)


def has_bfloat16(*, gpu: bool) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    torch, _ = torch_and_transformers()
    if gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
