"""Training from Python: what the command does, without what it shows."""

from __future__ import annotations

from pathlib import Path

from reflectune.formats import open_source
from reflectune.recipe import TrainSettings
from reflectune.training.callback import Watch
from reflectune.training.course import Devices, check_launch, course_of
from reflectune.training.dataset import held_out_of, hold_out, read_data
from reflectune.training.fit import Fitted, fit
from reflectune.training.folder import Job, check_folder
from reflectune.training.masks import Masker
from reflectune.training.outputs import check_outputs, write_outputs
from reflectune.training.student import find_pupil


def train(
    data: str | Path, settings: TrainSettings, output: Path, *, watch: Watch | None = None, fresh: bool = False
) -> Fitted:
    """Fine-tune a student on a data set, and write it as a folder that transformers loads.

    Args:
        data: A file, or a data set of the hub.
        settings: How.
        output: The folder to write; a run that was stopped there goes on.
        watch: Who is told how it goes.
        fresh: Whether to begin anew where a run has been.

    Raises:
        InputError: The data cannot be read, or too few rows can be learnt from.
        MissingExtraError: The extra `train` is not installed.
        OracleError: The student cannot be loaded.
        RunError: The loss is no number, memory is short, or the folder cannot be used.
        SettingsError: The student cannot be trained so.
    """
    check_launch()
    check_folder(output, settings.student)
    pupil = find_pupil(settings)
    check_outputs(pupil)
    masker = Masker(pupil.tokenizer, pupil.template, settings.max_length, drops_overlong=settings.drops_overlong)
    rows = read_data(open_source(data).rows(), masker, settings.loss_on)
    if settings.held_out_data is None:
        found = hold_out(rows, settings.held_out, settings.seed, str(data))
    else:
        others = read_data(open_source(settings.held_out_data).rows(), masker, settings.loss_on)
        found = held_out_of(rows, others, str(data))
    devices = Devices.found(gpu=pupil.gpu)
    job = Job(found, pupil, course_of(found, pupil, settings, devices), devices, output)
    fitted = fit(job, watch or Watch(lambda _: None), fresh=fresh)
    if devices.leads and not fitted.stopped:
        write_outputs(output, pupil, job.course.settings)
    return fitted
