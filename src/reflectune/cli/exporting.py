"""Write data and the configuration of another trainer, and say what that trainer cannot do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reflectune.cli.screen import err
from reflectune.cli.train_asked import Asked
from reflectune.errors import SettingsError
from reflectune.exports import Exported, Order, export_for
from reflectune.exports.kit import counted
from reflectune.formats import open_source


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written.

    Attributes:
        data: A run's folder, or data.
        tool: The trainer that it is for.
        output: The folder to write.
        recipe: A shipped recipe's name, or a file.
        given: The flags that were given.
        assignments: Further settings, as `key=value`.
        devices: How many devices will share a step's rows.
    """

    data: str
    tool: str
    output: Path | None
    recipe: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    devices: int = 1


def carry_out(wanted: Wanted) -> None:
    """Write the folder, and say what came of it.

    Raises:
        InputError: The data cannot be read, or hold nothing to learn.
        RunError: The run has written no data.
        SettingsError: No folder is named, or the trainer cannot do what is asked for.
    """
    if wanted.output is None:
        raise SettingsError(
            f"--for {wanted.tool} writes a folder.", mend=f"Name it, as --output {wanted.tool.replace('-', '_')}."
        )
    asked = Asked(data=wanted.data, recipe=wanted.recipe, given=wanted.given, assignments=wanted.assignments)
    source = open_source(asked.file)
    err.print(source.describe())
    settings = asked.settings()
    _told(export_for(source, Order(wanted.tool, settings, wanted.output, wanted.devices)))


def _told(exported: Exported) -> None:
    held = f", {exported.held_out:,} to measure the loss on" if exported.held_out else ""
    err.print(f"{exported.folder}: {counted(exported.rows, 'row')}{held}. {', '.join(exported.files)}")
    for reason, count in Counter(one.reason for one in exported.left_out).most_common():
        err.print(
            f"{counted(count, 'row')} left out: {reason}; see {exported.folder / 'left_out.jsonl'}", style="yellow"
        )
    for note in exported.notes:
        err.print(note, style="yellow")
    if exported.command:
        err.print(f"Start it there with: {exported.command}")
