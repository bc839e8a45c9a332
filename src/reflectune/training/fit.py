"""The stage: rows as tokens in, a model folder out. Load, build, run, save."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import RunError, SettingsError
from reflectune.recipe import TrainSettings
from reflectune.records import digest
from reflectune.student.runtime import torch_and_transformers
from reflectune.training import curves
from reflectune.training.batches import Schedule, check_split, held_out_packs, schedule, steps_of
from reflectune.training.checkpoints import last_whole, remove_broken, step_of
from reflectune.training.curves import Point
from reflectune.training.dataset import TrainingData
from reflectune.training.packs import Packs
from reflectune.training.student import Pupil, load_model, stop_at
from reflectune.training.trainer import Reading, Watch, arguments, build_trainer

CHECKPOINTS = "checkpoints"
CURVES = "curves.jsonl"
MERGED = "merged"
_MARK = "training.json"
_FREE = frozenset(
    "batch_tokens checkpoints deepspeed evaluations gguf gradient_checkpointing keep_checkpoints merge report_to".split()
)
"""Settings that may change between a run and its resumption: they do not change what is learnt."""


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
        bfloat16: Whether products are computed in bfloat16.
        tokens: Tokens that are read in all.
        trainable: Those of them that carry loss.
    """

    split: Schedule
    settings: TrainSettings
    bfloat16: bool
    tokens: int
    trainable: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """What training came to.

    Attributes:
        folder: The student's folder; where somebody stopped the run, it has checkpoints only.
        points: The curves.
        stopped: Whether somebody stopped it.
        resumed: The step that it went on from; 0 where it began anew.
        seconds: How long it took.
        peak_memory: The most bytes of a GPU's memory; `None` on a CPU.
    """

    folder: Path
    points: list[Point]
    stopped: bool
    resumed: int
    seconds: float
    peak_memory: int | None


def course_of(data: TrainingData, settings: TrainSettings, devices: Devices) -> Course:
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
    decided = settings.model_copy(update={"batch_tokens": tokens})
    trained = [sum(row.trains) for row in data.rows]
    return Course(
        split,
        decided,
        bfloat16,
        tokens=sum(lengths[row] for step in steps for row in step),
        trainable=sum(trained[row] for step in steps for row in step),
    )


def has_bfloat16(*, gpu: bool) -> bool:
    """Whether the device multiplies bfloat16 faster than float32."""
    torch, _ = torch_and_transformers()
    if gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def fit(
    data: TrainingData, pupil: Pupil, course: Course, devices: Devices, folder: Path, watch: Watch, *, fresh: bool
) -> Fitted:
    """Train a student, and write it as a folder that transformers loads.

    A run that was stopped or broke off goes on from its last whole checkpoint: the order of the rows, the optimiser and
    the step are those that it would have had.

    Args:
        data: The rows.
        pupil: The student.
        course: What is read.
        devices: What it is computed on.
        folder: Where it is written.
        watch: Who is told how it goes.
        fresh: Whether to begin anew where a run has been.

    Raises:
        OracleError: The student cannot be loaded.
        RunError: The loss is no number, memory is short, or the folder cannot be used.
        SettingsError: The folder holds a run with other settings or data.
    """
    began = time.monotonic()
    settings = course.settings
    resumed = _prepared(folder, _mark(data, pupil, course), devices, fresh=fresh)
    split = course.split
    held_out = _held_out(data, course, devices, pupil.blank)
    reading = Reading(split, Packs(data.rows, split, pupil.blank), held_out)
    with _memory_watched():
        model = load_model(pupil, settings, bfloat16=course.bfloat16)
        model.config.use_cache = False
        args = arguments(settings, folder / CHECKPOINTS, split, gpu=pupil.gpu, bfloat16=course.bfloat16)
        args.eval_on_start = held_out is not None and resumed is None
        if held_out is None:
            args.eval_strategy = "no"
        told = Watch(_written(folder / CURVES, watch.point) if devices.leads else lambda _: None, watch.stopping)
        trainer = build_trainer(pupil, model, reading, args, settings, told)
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        stopped = trainer.state.global_step < len(split.steps)
        if not stopped:
            _save(trainer, pupil, data.end_token, folder)
    torch, _ = torch_and_transformers()
    return Fitted(
        folder=folder,
        points=curves.read(folder / CURVES),
        stopped=stopped,
        resumed=step_of(resumed) if resumed else 0,
        seconds=time.monotonic() - began,
        peak_memory=torch.cuda.max_memory_allocated() if pupil.gpu else None,
    )


def _held_out(data: TrainingData, course: Course, devices: Devices, blank: int) -> Packs | None:
    if not data.held_out:
        return None
    lengths = [len(row.tokens) for row in data.held_out]
    tokens = course.settings.batch_tokens if course.settings.packing else 0
    return Packs(data.held_out, held_out_packs(lengths, devices=devices.count, batch_tokens=tokens or 0), blank)


def _mark(data: TrainingData, pupil: Pupil, course: Course) -> str:
    """What tells this run from one with other settings or data."""
    settings = course.settings.model_dump(mode="json", exclude=set(_FREE))
    steps = [sorted(row for pack in step for row in pack) for step in course.split.steps]
    return digest([settings, data.digest(), pupil.found.revision, pupil.template.text, digest(steps)])


def _prepared(folder: Path, mark: str, devices: Devices, *, fresh: bool) -> Path | None:
    """Make the folder ready; returns the checkpoint to go on from."""
    checkpoints = folder / CHECKPOINTS
    if not devices.leads:
        return None if fresh else last_whole(checkpoints)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _known(folder)
        if fresh:
            shutil.rmtree(checkpoints, ignore_errors=True)
            (folder / CURVES).unlink(missing_ok=True)
        elif known not in {None, mark}:
            raise SettingsError(
                f"{folder} holds a student that was trained with other settings or data.",
                mend="Name another folder with --output, or train it over with --fresh.",
            )
        remove_broken(checkpoints)
        (folder / _MARK).write_bytes(orjson.dumps({"mark": mark}))
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error}.", mend="Name another folder with --output.") from error
    last = last_whole(checkpoints)
    curves.cut(folder / CURVES, step_of(last) if last else -1)
    return last


def _known(folder: Path) -> str | None:
    try:
        return str(orjson.loads((folder / _MARK).read_bytes())["mark"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _written(path: Path, tell: Callable[[Point], None]) -> Callable[[Point], None]:
    def told(point: Point) -> None:
        curves.append(path, point)
        tell(point)

    return told


def _save(trainer: Any, pupil: Pupil, end_token: int, folder: Path) -> None:
    """Write what was learnt, with the template and the token that ends an answer."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.config.use_cache = True
    stop_at(model, pupil.tokenizer, end_token)
    trainer.save_model(str(folder))  # the tokenizer and the generation settings too
    if trainer.args.should_save:
        model.generation_config.save_pretrained(folder)
        for name in ("README.md", "training_args.bin"):  # ours is another card, and the settings are in train.yaml
            (folder / name).unlink(missing_ok=True)


@contextmanager
def _memory_watched() -> Iterator[None]:
    """Say which knob helps where memory is short."""
    torch, _ = torch_and_transformers()
    mend = (
        "Lower --batch-tokens or --max-length, turn on --gradient-checkpointing, use --method lora or qlora, or spread"
        " the run over more devices. The last good checkpoint is kept; the same command goes on from it."
    )
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise RunError(f"Memory is short: {str(error).partition(chr(10))[0] or 'none is left'}", mend=mend) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise RunError(f"Memory is short: {str(error).partition(chr(10))[0]}", mend=mend) from error
        raise
