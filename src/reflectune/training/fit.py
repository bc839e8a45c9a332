"""The stage: rows as tokens in, a model folder out. Load, build, run, save."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import RunError
from reflectune.student.runtime import torch_and_transformers
from reflectune.training import curves
from reflectune.training.batches import held_out_packs
from reflectune.training.callback import Reading, Watch
from reflectune.training.checkpoints import step_of
from reflectune.training.curves import Point
from reflectune.training.folder import CHECKPOINTS, CURVES, Job, prepare
from reflectune.training.outputs import make_readable, own_dtype
from reflectune.training.packs import Packs
from reflectune.training.student import Pupil, load_model, stop_at
from reflectune.training.trainer import arguments, build_trainer


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


def fit(job: Job, watch: Watch, *, fresh: bool) -> Fitted:
    """Train a student, and write it as a folder that transformers loads.

    A run that was stopped or broke off goes on from its last whole checkpoint: the order of the rows, the optimiser and
    the step are those that it would have had.

    Args:
        job: What is to be done.
        watch: Who is told how it goes.
        fresh: Whether to begin anew where a run has been.

    Raises:
        OracleError: The student cannot be loaded.
        RunError: The loss is no number, memory is short, or the folder cannot be used.
        SettingsError: The folder holds a run with other settings or data.
    """
    began = time.monotonic()
    pupil, folder, split = job.pupil, job.folder, job.course.split
    held_out = _held_out(job)
    reading = Reading(split, Packs(job.data.rows, split, pupil.blank), held_out)
    # what libraries print goes to standard error: standard output is for data
    with _memory_watched(), warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what peft and TRL still call
        warnings.filterwarnings("ignore", message=".*save_embedding_layers")  # new tags have embeddings: it is right
        args = arguments(job.course, folder / CHECKPOINTS, gpu=pupil.gpu)  # first: they say how weights are split
        resumed = prepare(job, fresh=fresh)
        if resumed:
            watch.resumed(step_of(resumed))
        model = load_model(pupil, bfloat16=job.course.bfloat16)
        model.config.use_cache = False
        args.eval_on_start = held_out is not None and resumed is None
        if held_out is None:
            args.eval_strategy = "no"
        told = Watch(_written(folder / CURVES, watch.point) if job.devices.leads else lambda _: None, watch.stopping)
        trainer = build_trainer(pupil, model, reading, args, told)
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        stopped = trainer.state.global_step < len(split.steps)
        if not stopped:
            _save(trainer, pupil, job.data.end_token, folder)
    torch, _ = torch_and_transformers()
    return Fitted(
        folder=folder,
        points=curves.read(folder / CURVES),
        stopped=stopped,
        resumed=step_of(resumed) if resumed else 0,
        seconds=time.monotonic() - began,
        peak_memory=torch.cuda.max_memory_allocated() if pupil.gpu else None,
    )


def _held_out(job: Job) -> Packs | None:
    rows, settings = job.data.held_out, job.course.settings
    if not rows:
        return None
    tokens = settings.batch_tokens if settings.packing else 0
    lengths = [len(row.tokens) for row in rows]
    split = held_out_packs(lengths, devices=job.devices.count, batch_tokens=tokens or 0)
    return Packs(rows, split, job.pupil.blank)


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
    split = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if split:
        trainer.saved_as = own_dtype(pupil)
    else:
        model.to(own_dtype(pupil))
    trainer.save_model(str(folder))  # the tokenizer and the generation settings too
    if trainer.args.should_save:
        model.generation_config.save_pretrained(folder)
        if split and (config := folder / "config.json").is_file():
            dtype = str(own_dtype(pupil)).removeprefix("torch.")
            config.write_bytes(orjson.dumps(orjson.loads(config.read_bytes()) | {"dtype": dtype}))
        (folder / "training_args.bin").unlink(missing_ok=True)  # the settings are in train.yaml
        make_readable(folder)


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
