"""The folder of a student: what may be written there, and what a run that was stopped goes on from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from reflectune.errors import RunError, SettingsError
from reflectune.formats import write_rows
from reflectune.records import digest
from reflectune.student.runtime import torch_and_transformers
from reflectune.training import curves
from reflectune.training.checkpoints import last_whole, remove_broken, step_of
from reflectune.training.course import Course, Devices
from reflectune.training.dataset import TrainingData
from reflectune.training.student import Pupil

CHECKPOINTS = "checkpoints"
CURVES = "curves.jsonl"
_MARK = "training.json"
_FREE = {
    *("batch_tokens", "checkpoints", "deepspeed", "evaluations", "gguf", "gradient_checkpointing"),
    *("keep_checkpoints", "merge", "report_to"),
}
"""Settings that may change between a run and its resumption: they do not change what is learnt."""
_OLD = ("adapter_*", "model*.safetensors*", "*config.json", "README.md", "report.html", "facts.json", "*.gguf", CURVES)
"""What an earlier student of another kind would leave beside a new one."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        data: The rows.
        pupil: The student.
        course: What is read.
        devices: What it is computed on.
        folder: Where the student is written.
    """

    data: TrainingData
    pupil: Pupil
    course: Course
    devices: Devices
    folder: Path


def check_folder(folder: Path, student: str) -> None:
    """Refuse a folder that holds something else than a student of ours.

    Raises:
        SettingsError: It is the student that is trained, a run, or a model that was not trained here.
    """
    mend = "Name another folder with --output."
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"{folder} is a file, and a student is a folder.", mend=mend)
    if Path(student).expanduser().is_dir() and folder.resolve() == Path(student).expanduser().resolve():
        raise SettingsError(f"{folder} is the student that is to be trained.", mend=mend)
    if (folder / "state.sqlite").exists():
        raise SettingsError(f"{folder} is a run, and a student is a folder of its own.", mend=mend)
    if folder.is_dir() and any(folder.iterdir()) and not _read_mark(folder):
        raise SettingsError(f"{folder} holds something else than a student that was trained here.", mend=mend)


def is_finished(job: Job) -> bool:
    """Whether this very student lies in the folder already, with all that is asked for."""
    noted, settings = _read_mark(job.folder), job.course.settings
    lacks_merged = settings.merge and settings.method != "full" and not (job.folder / "merged").is_dir()
    lacks_gguf = settings.gguf and not (job.folder / "student.gguf").is_file()
    return noted == {"mark": _mark(job), "finished": True} and not lacks_merged and not lacks_gguf


def is_other(job: Job) -> bool:
    """Whether a student that was trained with other settings or data lies in the folder."""
    return _read_mark(job.folder).get("mark") not in {None, _mark(job)}


def mark_finished(job: Job) -> None:
    """Say that everything of a student is written."""
    (job.folder / _MARK).write_bytes(orjson.dumps({"mark": _mark(job), "finished": True}))


def prepare(job: Job, *, fresh: bool) -> Path | None:
    """Make the folder ready, in the process that leads, and tell the others what to go on from.

    Returns:
        The checkpoint to go on from; `None` where the run begins anew.

    Raises:
        RunError: The folder cannot be written, or lacks the checkpoint on this machine.
        SettingsError: It holds a student that was trained with other settings or data.
    """
    last = _made_ready(job, fresh=fresh) if job.devices.leads else None
    step = step_of(last) if last else 0
    if job.devices.count > 1:
        torch, _ = torch_and_transformers()
        told = [step]
        torch.distributed.broadcast_object_list(told, src=0)
        step = told[0]
    if not step:
        return None
    checkpoint = job.folder / CHECKPOINTS / f"checkpoint-{step}"
    if not checkpoint.is_dir():
        raise RunError(
            f"{checkpoint} is not on this machine.", mend="Put the folder on a disk that all machines share."
        )
    return checkpoint


def _made_ready(job: Job, *, fresh: bool) -> Path | None:
    folder, mark = job.folder, _mark(job)
    checkpoints = folder / CHECKPOINTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            _clear(folder)
        elif is_other(job):
            raise SettingsError(
                f"{folder} holds a student that was trained with other settings or data.",
                mend="Name another folder with --output, or train it over with --fresh.",
            )
        remove_broken(checkpoints)
        (folder / _MARK).write_bytes(orjson.dumps({"mark": mark}))
        write_rows(folder / "dropped.jsonl", (one.model_dump() for one in job.data.refused))
        job.course.settings.save(folder / "train.yaml")
        last = last_whole(checkpoints)
        curves.cut(folder / CURVES, step_of(last) if last else -1)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error}.", mend="Name another folder with --output.") from error
    return last


def _mark(job: Job) -> str:
    """What tells this run from one with other settings or data."""
    settings = job.course.settings.model_dump(mode="json", exclude=_FREE)
    steps = [sorted(row for pack in step for row in pack) for step in job.course.split.steps]
    return digest([settings, job.data.digest(), job.pupil.found.revision, job.pupil.template.text, steps])


def _read_mark(folder: Path) -> dict[str, Any]:
    """What is noted of a student of ours; nothing where none is."""
    try:
        noted = orjson.loads((folder / _MARK).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return noted if isinstance(noted, dict) and "mark" in noted else {}


def _clear(folder: Path) -> None:
    """Remove what an earlier training left, so that the new student lies there alone."""
    if not _read_mark(folder):
        return
    for name in (CHECKPOINTS, "merged"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in _OLD:
        for path in folder.glob(pattern):
            path.unlink()
