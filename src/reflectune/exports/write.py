"""Read the data, ask a tool's module what it needs, and write the folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from reflectune.errors import InputError, SettingsError
from reflectune.exports import axolotl, llama_factory, messages, trl
from reflectune.exports.kit import DEEPSPEED, TEMPLATE, Asked, Kit, counted
from reflectune.exports.schedule import held_out_rows
from reflectune.exports.survey import survey
from reflectune.exports.wording import STAGE, wording
from reflectune.formats import Source, open_source, write_rows
from reflectune.lessons import Lesson, lesson_of
from reflectune.recipe import TrainSettings
from reflectune.records import Failure

Tool = Literal["llama-factory", "axolotl", "trl", "messages"]
TOOLS: tuple[str, ...] = get_args(Tool)
LEFT_OUT = "left_out.jsonl"
README = "README.md"
_TITLE = "# Training with "
_OWN = (LEFT_OUT, README, DEEPSPEED, TEMPLATE, "held_out.jsonl", "data/test.jsonl")
_KITS: dict[str, Callable[[Asked], Kit]] = {
    "llama-factory": llama_factory.kit,
    "axolotl": axolotl.kit,
    "trl": trl.kit,
    "messages": messages.kit,
}


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written.

    Attributes:
        tool: Whom it is for.
        settings: How the student is trained.
        output: The folder that it goes to; files of an earlier export in it are replaced.
        devices: How many devices there will be.
    """

    tool: str
    settings: TrainSettings
    output: Path
    devices: int = 1


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        files: The names of the files in it.
        rows: How many rows are learnt from.
        held_out: How many the loss is measured on.
        left_out: Rows that could not be written, each with its reason.
        notes: What the reader must know.
        command: What starts the training, typed in the folder.
    """

    folder: Path
    files: tuple[str, ...]
    rows: int
    held_out: int
    left_out: tuple[Failure, ...]
    notes: tuple[str, ...]
    command: str


def export_for(source: Source, order: Order) -> Exported:
    """Write data and the configuration of another trainer, side by side.

    Args:
        source: The data.
        order: Whom it is for, and how the student is trained.

    Raises:
        InputError: No row can be learnt from.
        SettingsError: The tool cannot do what the settings ask for, or the folder cannot be written.
    """
    asked = _asked(source, order)
    kit = _KITS[order.tool](asked)
    work = _Work(order.output, kit.rows)
    settings, count = order.settings, asked.survey.rows
    drawn = random.Random(settings.seed)  # noqa: S311 - a draw that can be repeated, no secret
    apart = set(drawn.sample(range(count), count - asked.rows))
    learnt = work.rows(kit.train, (lesson for place, lesson in _lessons(source) if place not in apart))
    if not learnt:
        raise InputError(f"{source.name}: no row fits the template", mend=f"{work.left_out[0].detail}; use --template")
    held = 0
    if settings.held_out_data is not None and asked.held_out:
        held = work.rows(kit.held_out, (lesson for _, lesson in _lessons(open_source(settings.held_out_data))))
    elif apart:
        held = work.rows(kit.held_out, (lesson for place, lesson in _lessons(source) if place in apart))
    work.left_out.extend(one for one in _rows(source) if isinstance(one, Failure))
    work.texts(kit.files)
    work.copied(settings.deepspeed if kit.command else None)
    if work.left_out:
        work.rows(LEFT_OUT, None)
    if kit.command:
        work.texts({README: _readme(order, kit, work)})
    return Exported(
        folder=order.output,
        files=tuple(work.files),
        rows=learnt,
        held_out=held,
        left_out=tuple(work.left_out),
        notes=kit.notes,
        command=kit.command,
    )


def _asked(source: Source, order: Order) -> Asked:
    settings = order.settings
    seen = survey(_rows(source), settings.loss_on, settings.max_length)
    loss_on = settings.loss_on
    if settings.loss is None and seen.marked and not seen.masked:  # data that mark mistakes are not learnt whole
        loss_on = "mistake-masked"
        seen = survey(_rows(source), loss_on, settings.max_length)
    if not seen.rows:
        raise InputError(f"{source.name}: no row can be learnt from", mend="Look at the rows' responses and columns.")
    trains = order.tool != "messages"
    apart = held_out_rows(settings, seen.rows) if trains else 0
    held_out = trains and (apart > 0 or settings.held_out_data is not None)
    return Asked(settings, wording(settings.template), seen, loss_on, held_out, seen.rows - apart, order.devices)


def _rows(source: Source) -> Iterator[Lesson | Failure]:
    return (lesson_of(row, STAGE) for row in source.rows())


def _lessons(source: Source) -> Iterator[tuple[int, Lesson]]:
    """The rows that can be learnt from, each with its place among them."""
    return enumerate(one for one in _rows(source) if isinstance(one, Lesson))


def _is_export(folder: Path) -> bool:
    """Whether all that lies in a folder may be an earlier export's."""
    readme = folder / README
    if readme.is_file():
        return readme.read_text(encoding="utf-8", errors="replace").startswith(_TITLE)
    return all(path.name.endswith((".jsonl", ".jinja")) or path.name == "data" for path in folder.iterdir())


class _Work:
    """Writes files into a folder, and remembers them and what was left out."""

    def __init__(self, folder: Path, rows: Callable[[Lesson], list[dict[str, Any]] | Failure]) -> None:
        if (folder / "state.sqlite").exists() or folder.is_file():
            raise SettingsError(f"{folder} is a run or a file.", mend="Name another folder with --output.")
        if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder):
            raise SettingsError(f"{folder} holds other things.", mend="Name another folder with --output.")
        self.folder = folder
        self.files: list[str] = []
        self.left_out: list[Failure] = []
        self._rows = rows
        self._count = 0
        for name in _OWN:  # an earlier export's, which this one may not write again
            (folder / name).unlink(missing_ok=True)

    def rows(self, name: str, lessons: Iterable[Lesson] | None) -> int:
        """Write rows, and say how many; what cannot be written is left out with its reason.

        `None` writes what was left out.
        """
        self._made(name)
        self._count = 0
        source = (one.model_dump() for one in self.left_out) if lessons is None else self._written(lessons)
        write_rows(self.folder / name, source)
        return self._count

    def texts(self, files: dict[str, str]) -> None:
        """Write files of text."""
        for name, text in files.items():
            self._made(name).write_text(text, encoding="utf-8")

    def copied(self, deepspeed: Path | None) -> None:
        """Copy the configuration of DeepSpeed, where there is one."""
        if deepspeed is None:
            return
        try:
            self.texts({DEEPSPEED: deepspeed.read_text(encoding="utf-8")})
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"There is no DeepSpeed configuration {deepspeed}.", mend="Check the path.") from error

    def _made(self, name: str) -> Path:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{path.parent} cannot be made: {error}", mend="Name another folder.") from error
        self.files.append(name)
        return path

    def _written(self, lessons: Iterable[Lesson]) -> Iterator[dict[str, Any]]:
        for lesson in lessons:
            rows = self._rows(lesson)
            if isinstance(rows, Failure):
                self.left_out.append(rows)
            else:
                self._count += 1
                yield from rows


def _readme(order: Order, kit: Kit, work: _Work) -> str:
    notes = [f"- {note}" for note in kit.notes]
    if work.left_out:
        notes.append(f"- {counted(len(work.left_out), 'row')} left out: {LEFT_OUT} has each with its reason.")
    lines = [
        f"{_TITLE}{order.tool}",
        "",
        "Type in this folder:",
        "",
        f"    {kit.command}",
        "",
        f"Files: {', '.join(work.files)}. The trained model goes to `trained`.",
    ]
    return "\n".join([*lines, *(["", "Know before you start:", "", *notes] if notes else [])]) + "\n"
