"""What a tool is handed: its files, its rows, the command that starts it, and what it cannot do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from reflectune.errors import SettingsError
from reflectune.exports.schedule import Schedule, scheduled
from reflectune.exports.survey import Survey
from reflectune.exports.wording import Wording
from reflectune.lessons import Lesson
from reflectune.recipe import TrainSettings
from reflectune.recipe.train import LossOn
from reflectune.records import Failure
from reflectune.student.weights import EMBEDDED_ID

DEEPSPEED = "deepspeed.json"
TEMPLATE = "chat_template.jinja"
_TWICE = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What a configuration is made from.

    Attributes:
        settings: How the student is trained.
        wording: How rows are worded.
        survey: What the rows are like.
        loss_on: Which tokens of an answer carry loss.
        held_out: Whether rows are kept apart to measure the loss on.
        rows: How many rows are learnt from.
        devices: How many devices there are.
    """

    settings: TrainSettings
    wording: Wording
    survey: Survey
    loss_on: LossOn
    held_out: bool
    rows: int
    devices: int

    @property
    def packs(self) -> bool:
        """Whether rows are packed: not where a pack alone holds more rows than a device's share of a step."""
        settings = self.settings
        return settings.packing and settings.batch * self.survey.tokens >= self.devices * settings.max_length

    @property
    def schedule(self) -> Schedule:
        """Rows of a step, and steps; of a tool that packs to `max_length`, packs of a step."""
        return scheduled(self.settings, self.rows, self.devices, tokens=self.survey.tokens if self.packs else 0.0)

    @property
    def scheduler(self) -> str:
        """The schedule of the learning rate as transformers names it; its `constant` would forget the warm-up."""
        name = self.settings.scheduler
        return "constant_with_warmup" if name == "constant" and self.settings.warmup else name

    @property
    def alpha(self) -> int:
        """The scale of the adapters.

        Raises:
            SettingsError: It is no whole number, which these tools want.
        """
        alpha = self.settings.lora_alpha or _TWICE * self.settings.lora_rank
        if alpha != int(alpha):
            raise SettingsError(f"lora_alpha {alpha} is no whole number.", mend="The tool takes whole numbers only.")
        return int(alpha)


@dataclass(frozen=True, slots=True)
class Kit:
    """What is written for a tool.

    Attributes:
        rows: Makes what a row of ours is in the data file, or says why it is left out.
        command: What starts the training, typed in the folder.
        files: Further files by name, as text.
        train: The file of the rows that are learnt from.
        held_out: The file of those that the loss is measured on.
        notes: What the reader must know.
    """

    rows: Callable[[Lesson], list[dict[str, Any]] | Failure]
    command: str
    files: dict[str, str] = field(default_factory=dict)
    train: str = "train.jsonl"
    held_out: str = "held_out.jsonl"
    notes: tuple[str, ...] = ()


def counted(count: int, what: str) -> str:
    """How many of something, as people say it."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def as_yaml(values: dict[str, Any]) -> str:
    """Settings as YAML, without those that are `None`."""
    kept = {key: value for key, value in values.items() if value is not None}
    return yaml.dump(kept, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000)


class _Dumper(yaml.SafeDumper):
    """Writes small numbers with a point, since YAML 1.1 takes `2e-05` for a text."""


def _number(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    text = f"{mantissa}.0{exponent}{power}" if exponent and "." not in mantissa else text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _number)


def student_of(settings: TrainSettings) -> tuple[str, str]:
    """The student as other tools name it, a folder or a hub id, and a note where it is not what was named.

    Raises:
        SettingsError: It is a file or an endpoint, which they cannot train.
    """
    name = settings.student.removeprefix("hf:")
    if name == "local":
        return (
            EMBEDDED_ID,
            f"The embedded model is a converted file; {EMBEDDED_ID} is the same model as transformers has it.",
        )
    if name.startswith("local:") or name.endswith(".gguf") or "@" in name:
        raise SettingsError(
            f"Other tools cannot train {name}.", mend="Name a folder or a hub id with --student, as org/model."
        )
    return name, ""


def refuse_masks(asked: Asked, tool: str) -> tuple[str, ...]:
    """Notes of a tool that gives loss to whole answers only.

    Raises:
        SettingsError: Characters of some answer are to carry no loss.
    """
    survey = asked.survey
    if survey.masked:
        raise SettingsError(
            f"{tool} gives loss to whole answers, and {counted(survey.masked, 'row')} (row {survey.first_marked} "
            f"first) would have characters without loss, as {asked.loss_on} has it.",
            mend="Use --for axolotl or `reflectune train`; or say --set loss=whole to have all learnt.",
        )
    if survey.marked:
        first = f"row {survey.first_marked} is the first"
        return (
            f"{counted(survey.marked, 'row')} ({first}) with a marked mistake: with `loss: whole` it is learnt too.",
        )
    return ()


def shared_notes(asked: Asked) -> tuple[str, ...]:
    """What no tool is told, and what packing means."""
    settings, notes = asked.settings, []
    if settings.tags == "tokens":
        raise SettingsError(
            "Tags as tokens of their own, with embeddings made of their words', are for `reflectune train` only.",
            mend="Say --set tags=text.",
        )
    plan = asked.schedule
    if asked.packs:
        packs = counted(plan.per_device * plan.accumulation * plan.devices, "pack")
        notes.append(
            f"This tool counts packs of {settings.max_length:,} tokens, not rows. {packs} to a step stand for its "
            f"{settings.batch} rows, since a pack holds about {plan.rows_of_pack:.1f}: an estimate from words, made "
            "without a tokenizer. For steps of exactly as many rows say --set packing=false."
        )
    elif settings.packing:
        notes.append("Rows are not packed: a pack would hold more of them than a device reads in a step.")
    left = [name for name in ("merge", "gguf") if getattr(settings, name)]
    if left:
        notes.append(f"Not part of this training, to be done after it: {', '.join(left)}.")
    return tuple(notes)
