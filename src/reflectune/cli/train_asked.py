"""What is to be trained: the recipe, what was asked for beside it, and where the rows are."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from reflectune.cli.dataset import is_run
from reflectune.cli.recycle import name_of
from reflectune.errors import MissingExtraError, RunError, SettingsError
from reflectune.recipe import TrainSettings, overridden
from reflectune.runs.deciding import refuse_behind
from reflectune.training.devices import DEVICE_CONFIGS, device_config


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be trained.

    Attributes:
        data: A run's folder, or data.
        recipe: A shipped recipe's name, or a file.
        given: The flags that were given.
        assignments: Further settings, as `key=value`.
        output: The folder to write.
        limit: How many rows are taken.
        map: Which columns hold what.
        elsewhere: How many GPUs of how many GiB to plan for, where that is asked.
        fresh: Whether to begin anew.
        replace: Whether to begin anew where a student of other settings or data lies.
        quiet: Whether to show only errors.
    """

    data: str
    recipe: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    output: Path | None = None
    limit: int | None = None
    map: str | None = None
    elsewhere: tuple[int, float] | None = None
    fresh: bool = False
    replace: bool = False
    quiet: bool = False

    def settings(self) -> TrainSettings:
        """The recipe, with what was asked for laid over it.

        Raises:
            SettingsError: There is no such recipe, or it does not fit.
        """
        values = recipe_values(self.recipe) if self.recipe else {}
        if self.recipe:
            TrainSettings.made_of(values, source=f"The recipe {self.recipe}")
        values = overridden(values | self.given, self.assignments)
        return with_devices(TrainSettings.made_of(values, source="The command"))

    @property
    def folder(self) -> Path:
        """Where the student is written."""
        if self.output is not None:
            return self.output
        return (Path(self.data) if Path(self.data).is_dir() else Path("runs") / name_of(self.data)) / "student"

    @property
    def file(self) -> str:
        """The data that is read: of a run what was selected, else what was recycled; or its traces.

        Raises:
            RunError: The run has written neither.
        """
        if (traces := Path(self.data) / "traces.jsonl").is_file():
            return str(traces)
        if not is_run(self.data):
            return self.data
        found = (Path(self.data) / name for name in ("selected.jsonl", "recycled.jsonl"))
        for path in found:
            if path.is_file():
                refuse_behind(Path(self.data), path.name)
                return str(path)
        raise RunError(f"The run {self.data} has written no data yet.", mend="Recycle it, or select from it, first.")


def with_devices(settings: TrainSettings) -> TrainSettings:
    """The settings with the file of a DeepSpeed configuration that is named.

    Raises:
        SettingsError: There is none.
    """
    asked = settings.deepspeed
    if asked is None or asked.is_file():
        return settings
    if asked.name in DEVICE_CONFIGS:
        return settings.model_copy(update={"deepspeed": device_config(asked.name)})
    shipped = ", ".join(name for name in DEVICE_CONFIGS if name.startswith("zero"))
    raise SettingsError(f"There is no DeepSpeed configuration {asked}.", mend=f"Name a file, or one of {shipped}.")


def recipe_values(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe, or of a YAML file.

    Raises:
        SettingsError: There is none, or it is no mapping.
    """
    shipped = files("reflectune.training").joinpath("recipes")
    known = sorted(one.name.removesuffix(".yaml") for one in shipped.iterdir() if one.name.endswith(".yaml"))
    path = shipped.joinpath(f"{name}.yaml") if name in known else Path(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise SettingsError(
            f"There is no recipe {name}.", mend=f"Name one of {', '.join(known)}, or a YAML file."
        ) from None
    except yaml.YAMLError as error:
        raise SettingsError(f"The recipe {name} is not YAML: {error}", mend="Mend the file.") from error
    if not isinstance(values, dict):
        raise SettingsError(f"The recipe {name} holds no settings.", mend="Write `key: value` lines.")
    return values


def check_trackers(settings: TrainSettings) -> None:
    """Refuse a tracker that is not installed, before anything is read.

    Raises:
        MissingExtraError: It is not.
    """
    for name in settings.report_to:
        try:
            version(name)
        except PackageNotFoundError:
            raise MissingExtraError(
                f"--report-to {name}: {name} is not installed.", mend=f"pip install {name}"
            ) from None
