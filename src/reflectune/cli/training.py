"""Train a student: read the rows, say what will be done, do it, and write what is to be known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

from reflectune.cli import preview as preview_of
from reflectune.cli.planning import plan_elsewhere, show_plan
from reflectune.cli.screen import Meter, Reading, err, say
from reflectune.cli.signals import drained_on_signals
from reflectune.cli.train_asked import Asked, check_trackers
from reflectune.errors import ReflectuneError, SettingsError
from reflectune.formats import Source, open_source, parse_mapping
from reflectune.formats.source import Row
from reflectune.pipeline.process import bound_to_parent
from reflectune.recipe import TrainSettings
from reflectune.records import Failure, digest
from reflectune.student.weights import EMBEDDED_ID
from reflectune.training import curves
from reflectune.training.batches import Schedule, check_split
from reflectune.training.callback import Watch
from reflectune.training.card import model_card
from reflectune.training.course import Course, Devices, check_launch, course_of
from reflectune.training.curves import Point
from reflectune.training.dataset import TrainingData, held_out_of, hold_out, read_data
from reflectune.training.facts import FACTS, Facts, Figures
from reflectune.training.fit import Fitted, fit
from reflectune.training.folder import CURVES, Job, check_folder, is_finished, is_other, mark_finished
from reflectune.training.masks import Masked, Masker
from reflectune.training.outputs import check_outputs, write_outputs
from reflectune.training.report import write_report
from reflectune.training.student import Pupil, find_pupil

_VERSIONS = ("reflectune", "torch", "transformers", "trl", "peft", "accelerate")
_SHOWN = 3


def carry_out(asked: Asked, *, preview: int | None, dry_run: bool, as_json: bool) -> None:
    """Train, show what it came to, and end with the exit code that says so."""
    bound_to_parent()
    settings = asked.settings()
    if asked.elsewhere:
        if not dry_run:
            raise SettingsError("--devices and --device-memory plan a run elsewhere.", mend="Add --dry-run.")
        _plan_elsewhere(asked, settings, as_json=as_json)
        return
    check_trackers(settings)
    check_split(settings.batch, Devices.found(gpu=False).count)
    pupil = find_pupil(settings)
    masker = Masker(pupil.tokenizer, pupil.template, settings.max_length, drops_overlong=settings.drops_overlong)
    if preview is not None:
        _preview(asked, masker, pupil, preview)
        return
    check_outputs(pupil)
    check_folder(asked.folder, settings.student)
    devices = Devices.found(gpu=pupil.gpu)
    quiet = asked.quiet or not devices.leads
    data = _read(asked, settings, masker, quiet=quiet)
    job = Job(data, pupil, course_of(data, pupil, settings, devices), devices, asked.folder)
    if not quiet:
        _announce(asked, job)
    if not dry_run:
        check_launch()
        if not asked.fresh and is_finished(job):
            _tell_finished(job, as_json=as_json, quiet=quiet)
        else:
            _train(asked, job, as_json=as_json)
    elif as_json:
        typer.echo(orjson.dumps(_dry(job)).decode())


def _tell_finished(job: Job, *, as_json: bool, quiet: bool) -> None:
    say(f"{job.folder} is finished. To train it over: --fresh.", quiet=quiet)
    if as_json and job.devices.leads:
        figures = Figures.of(curves.read(job.folder / CURVES)).model_dump()
        typer.echo(orjson.dumps(_rows_of(job) | figures | {"finished": True}).decode())


def _train(asked: Asked, job: Job, *, as_json: bool) -> None:
    quiet = asked.quiet or not job.devices.leads
    fitted = _fit(asked, job, quiet=quiet)
    if not job.devices.leads:
        return
    if fitted.stopped:
        err.print("Stopped with a checkpoint. The same command goes on.", style="yellow")
    else:
        facts = _written(asked, job, fitted)
        mark_finished(job)
        if not quiet:
            _show(asked, facts, fitted)
    if as_json:
        typer.echo(orjson.dumps(_summary(job, fitted)).decode())
    if fitted.stopped:
        raise typer.Exit(130)


def _source(asked: Asked, name: str) -> Source:
    return open_source(name, parse_mapping(asked.map) if asked.map else None)


def _rows(asked: Asked) -> Iterator[Row]:
    return islice(_source(asked, asked.file).rows(), asked.limit)


def _preview(asked: Asked, masker: Masker, pupil: Pupil, count: int) -> None:
    data = read_data(islice(_rows(asked), count), masker, pupil.settings.loss_on)
    found: list[Masked | Failure] = [*data.rows, *data.refused]
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    err.print(f"template {pupil.template.name}; tokens that carry loss are marked")
    with suppress(SystemExit):  # rich ends so where a reader such as less was left, and that is no error
        preview_of.show(found, pupil.tokenizer, console)


def _read(asked: Asked, settings: TrainSettings, masker: Masker, *, quiet: bool) -> TrainingData:
    data = read_data(_rows(asked), masker, settings.loss_on)
    if data.marked and settings.loss_on == "whole" and settings.loss is None:
        told = "rows mark a mistake, which carries loss as all of the answer does: --reflection leaves it out."
        say(Text(f"{data.marked:,} {told}", style="yellow"), quiet=quiet)
    if settings.held_out_data is not None:
        others = read_data(_source(asked, str(settings.held_out_data)).rows(), masker, settings.loss_on)
        found = held_out_of(data, others, asked.file)
    else:
        found = hold_out(data, settings.held_out, settings.seed, asked.file)
    if found.refused:
        say(f"{len(found.refused):,} rows are not learnt from:", quiet=quiet)
        for reason, count in sorted(found.reasons.items(), key=lambda entry: -entry[1]):
            some = [one for one in found.refused if one.reason == reason]
            named = ", ".join(one.id for one in some[:_SHOWN]) + (", ..." if count > _SHOWN else "")
            say(f"  {count:>6,} {reason} ({named}): {some[0].detail}", quiet=quiet)
    if found.hidden:
        told = "earlier answers carry no loss: the template writes them otherwise than when they are given."
        say(f"{found.hidden:,} {told}", quiet=quiet)
    if not found.held_out and settings.held_out not in {"0", "0%"}:
        say(f"No row is held out: {settings.held_out} of {len(data.rows):,} rows is none.", quiet=quiet)
    if found.cut:
        say(f"{found.cut:,} rows are longer than {settings.max_length:,} tokens: their end is cut off.", quiet=quiet)
    return found


def _announce(asked: Asked, job: Job) -> None:
    data, course, devices = job.data, job.course, job.devices
    settings, split = course.settings, course.split
    names = ("GPU", "GPUs") if devices.gpu else ("process", "processes")
    on = f"{devices.count} {names[devices.count > 1]}"
    err.print(
        f"{asked.file}: {len(data.rows):,} rows to learn from, {len(data.held_out):,} held out;"
        f" {course.trainable:,} of {course.tokens:,} tokens carry loss"
    )
    err.print(
        f"{settings.student}, {settings.method}, template {job.pupil.template.name}, loss on {settings.loss_on};"
        f" {settings.precision}"
    )
    err.print(
        f"{len(split.steps):,} steps of {_sizes(split)} rows (batch {settings.batch:,}) on {on}: each reads up to"
        f" {settings.batch_tokens:,} tokens at once, {split.readings} times a step"
    )
    if course.plan:
        show_plan(course.plan, course.capacity)


def _sizes(split: Schedule) -> str:
    """How many rows the steps have, as 15-16."""
    sizes = {sum(map(len, step)) for step in split.steps}
    return f"{min(sizes):,}" if len(sizes) == 1 else f"{min(sizes):,}-{max(sizes):,}"


def _plan_elsewhere(asked: Asked, settings: TrainSettings, *, as_json: bool) -> None:
    devices, memory = asked.elsewhere or (1, 0.0)
    found, plan = plan_elsewhere(settings, _rows(asked), devices, memory)
    if not asked.quiet:
        err.print(
            f"{asked.file}: {found['rows']:,} rows; {found['steps']:,} steps of {settings.batch:,} rows on {devices:,}"
            f" GPUs of {memory:g} GiB; {settings.student}, {settings.method}, {plan.shape.parameters:,} parameters"
        )
        show_plan(plan, found["capacity"])
    if as_json:
        typer.echo(orjson.dumps(found).decode())


def _rows_of(job: Job) -> dict[str, Any]:
    data = job.data
    return {
        "output": str(job.folder),
        "rows": len(data.rows),
        "held_out": len(data.held_out),
        "dropped": data.reasons,
        "cut": data.cut,
    }


def _dry(job: Job) -> dict[str, Any]:
    course = job.course
    return {
        **_rows_of(job),
        "steps": len(course.split.steps),
        "devices": course.split.devices,
        "readings": course.split.readings,
        "tokens": course.tokens,
        "trainable_tokens": course.trainable,
        "memory": course.plan.parts | {"total": course.plan.total} if course.plan else None,
        "capacity": course.capacity,
    }


def _fit(asked: Asked, job: Job, *, quiet: bool) -> Fitted:
    total = len(job.course.split.steps)
    with (
        Meter(total, 0, quiet=quiet, unit="steps") as meter,
        drained_on_signals("this step is finished first") as stopping,
    ):

        def told(point: Point) -> None:
            if point.held_out_loss is not None:
                say(f"step {point.step:>5,}  held-out loss {point.held_out_loss:.4f}", quiet=quiet)
            else:
                note = f"loss {point.loss:.4f} · lr {point.learning_rate:.2e}"
                speed = f"{point.tokens_per_second or 0:,.0f} tokens/s"
                meter.show(Reading(point.step, point.tokens or 0, {}, note=f"{note} · {speed}", idle=True))

        watch = Watch(told, stopping, lambda step: say(f"going on from step {step:,}", quiet=quiet))
        return fit(job, watch, fresh=asked.fresh or (asked.replace and is_other(job)))


def _written(asked: Asked, job: Job, fitted: Fitted) -> Facts:
    """Write merged adapters, the GGUF file, the card and the report."""
    data, pupil, course = job.data, job.pupil, job.course
    merged = gguf = fault = None
    try:
        merged, gguf = write_outputs(asked.folder, pupil, course.settings)
    except (ReflectuneError, OSError) as error:  # the student is there, and is described before this is told
        fault = error
    path = Path(asked.file)
    facts = Facts(
        name=asked.folder.resolve().name,
        base=EMBEDDED_ID if course.settings.student == "local" else pupil.found.name,
        settings=course.settings,
        adapters=course.settings.method != "full" and merged is None,
        data=path.name if asked.limit is None else f"{path.name}, the first {asked.limit:,} rows",
        data_sha256=_hash(path) if path.is_file() else "",
        dataset=None if path.is_file() else asked.file,
        rows=len(data.rows),
        held_out=len(data.held_out),
        cut=data.cut,
        dropped=data.reasons,
        template=pupil.template.name,
        template_hash=digest(pupil.template.text)[:16],
        system=next(iter(data.systems)) or None if len(data.systems) == 1 else None,
        figures=Figures.of(fitted.points),
        read_tokens=course.tokens,
        seconds=fitted.seconds,
        peak_memory=fitted.peak_memory,
        devices=_device_names(course, pupil),
        versions={name: version(name) for name in _VERSIONS},
        gguf=gguf.name if gguf else None,
    )
    write_report(asked.folder, fitted.points, facts)
    (asked.folder / FACTS).write_text(facts.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (asked.folder / "README.md").write_text(model_card(facts), encoding="utf-8")
    if fault is not None:
        raise fault
    return facts


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _device_names(course: Course, pupil: Pupil) -> tuple[str, ...]:
    if not pupil.gpu:
        return ("CPU",) * course.split.devices
    import torch

    return (torch.cuda.get_device_name(0),) * course.split.devices


def _summary(job: Job, fitted: Fitted) -> dict[str, Any]:
    figures = Figures.of(fitted.points)
    return {
        **_rows_of(job),
        **figures.model_dump(),
        "resumed_from": fitted.resumed,
        "stopped": fitted.stopped,
        "seconds": round(fitted.seconds, 3),
    }


def _show(asked: Asked, facts: Facts, fitted: Fitted) -> None:
    err.print(curves.drawn(fitted.points, min(err.width, 80)))
    for name, value in facts.told_figures():
        err.print(f"  {name:<44}{value}")
    folder = asked.folder
    err.print(f"student   {folder}{' (adapters)' if facts.settings.method != 'full' else ''}")
    if facts.settings.method != "full" and facts.settings.merge:
        err.print(f"merged    {folder / 'merged'}")
    if facts.gguf:
        err.print(f"gguf      {folder / facts.gguf}")
    err.print(f"report    {folder / 'report.html'}")
