"""What there is to say of a trained student: the model card and the report say the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from reflectune.recipe.train import TrainSettings
from reflectune.records import Record
from reflectune.training.curves import Point

_MAIN = ("method", "epochs", "batch", "learning_rate", "scheduler", "warmup", "max_length", "held_out", "seed")
_ADAPTERS = ("lora_rank", "lora_alpha", "lora_dropout")
_LEFT_OUT = {"student", "template"}
"""What has a place of its own, and may be a path of whoever trained."""
_EVALUATIONS = (
    "Win rate against the base model, by a pairwise judge",
    "AlpacaEval 2, length-controlled win rate",
    "Benchmarks (lm-eval)",
)
_MINUTE, _HOUR = 60, 3600


class Figures(Record):
    """What the curves came to.

    Attributes:
        steps: Optimiser steps.
        first_loss: The mean loss of the first tenth of the steps, in nats a token.
        last_loss: That of the last tenth.
        held_out_before: The held-out loss before the first step.
        held_out_after: The last one measured.
        tokens: Tokens that carried loss.
        tokens_per_second: How many of them a second, measurements and checkpoints aside.
    """

    steps: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    held_out_before: float | None = None
    held_out_after: float | None = None
    tokens: int = 0
    tokens_per_second: float | None = None

    @classmethod
    def of(cls, points: Sequence[Point]) -> Self:
        """The figures of the points of a run."""
        losses = [point.loss for point in points if point.loss is not None]
        tenth = max(1, len(losses) // 10)
        held_out = [(point.step, point.held_out_loss) for point in points if point.held_out_loss is not None]
        tokens = [point.tokens for point in points if point.tokens is not None]
        return cls(
            steps=max((point.step for point in points), default=0),
            first_loss=math.fsum(losses[:tenth]) / tenth if losses else None,
            last_loss=math.fsum(losses[-tenth:]) / tenth if losses else None,
            held_out_before=held_out[0][1] if held_out and held_out[0][0] == 0 else None,
            held_out_after=held_out[-1][1] if held_out and held_out[-1][0] > 0 else None,
            tokens=max(tokens, default=0),
            tokens_per_second=_speed(points),
        )


def _speed(points: Sequence[Point]) -> float | None:
    done, seconds, before = 0, 0.0, 0
    for point in points:
        if point.tokens is not None and point.tokens_per_second:
            done += point.tokens - before
            seconds += (point.tokens - before) / point.tokens_per_second
            before = point.tokens
    return done / seconds if seconds else None


FACTS = "facts.json"
"""The file of a student's folder that says what it was trained on and how."""


class Facts(Record):
    """A trained student.

    Attributes:
        name: What it is called.
        base: The model that it was made of: its id on the hub, or its name.
        settings: How it was trained, with what was left open decided.
        adapters: Whether its folder holds adapters only, which need the base model; not so where they are merged.
        data: The name of the data, without folders.
        data_sha256: The hash of the file's content.
        dataset: The data set's id on the hub, where it has one.
        rows: Rows that were learnt from.
        held_out: Rows that the loss was measured on.
        cut: Rows that were learnt from without their end.
        dropped: How many rows were neither, by reason.
        template: The name of the prompt template.
        template_hash: A hash of its text.
        system: The system prompt that every row began with; `None` where they had none, or different ones.
        figures: What the curves came to.
        read_tokens: Tokens that were read in all, those without loss included.
        seconds: How long training took.
        peak_memory: The most bytes of a GPU's memory.
        devices: The devices, by name.
        versions: Versions of what it was trained with, by package.
        gguf: The name of the GGUF file, where there is one.
        license: The licence, as stated by whoever trained it.
        evaluation: Results by the name of the test; `None` where it was not run.
    """

    name: str
    base: str
    settings: TrainSettings
    adapters: bool = False
    data: str
    data_sha256: str = ""
    dataset: str | None = None
    rows: int
    held_out: int = 0
    cut: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    template: str
    template_hash: str = ""
    system: str | None = None
    figures: Figures = Figures()
    read_tokens: int | None = None
    seconds: float | None = None
    peak_memory: int | None = None
    devices: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    gguf: str | None = None
    license: str | None = None
    evaluation: dict[str, str | None] = Field(default_factory=dict)

    def told_settings(self) -> list[tuple[str, str]]:
        """The main settings and those that differ from their default, by name."""
        main = (*_MAIN, *(_ADAPTERS if self.settings.method != "full" else ()))
        fields = type(self.settings).model_fields
        differing = [
            name
            for name, field in fields.items()
            if name not in {*main, *_LEFT_OUT} and getattr(self.settings, name) != field.get_default()
        ]
        return [(name.replace("_", " "), _told(getattr(self.settings, name))) for name in (*main, *differing)]

    def told_rows(self) -> list[tuple[str, str]]:
        """How many rows were used, and how many were not, by reason; the most frequent first."""
        counts = [("learnt from", self.rows), ("held out", self.held_out)]
        if self.cut:
            counts.insert(1, ("of them without their end", self.cut))
        reasons = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        counts += [(f"left out: {reason}", count) for reason, count in reasons]
        return [(name, f"{count:,}") for name, count in counts]

    def told_figures(self) -> list[tuple[str, str]]:
        """What the run came to; what was not measured is left out."""
        return list(self._figures())

    def _figures(self) -> Iterator[tuple[str, str]]:
        found = self.figures
        yield from _between("held-out loss", found.held_out_before, found.held_out_after)
        yield from _between("loss (mean of the first and the last tenth)", found.first_loss, found.last_loss)
        yield "optimiser steps", f"{found.steps:,}"
        yield "tokens with loss", f"{found.tokens:,}"
        if self.read_tokens is not None:
            yield "tokens read", f"{self.read_tokens:,}"
        if found.tokens_per_second is not None:
            yield "tokens with loss a second", f"{found.tokens_per_second:,.0f}"
        if self.seconds is not None:
            yield "time", duration(self.seconds)
        if self.peak_memory is not None:
            yield "most memory of a GPU", f"{self.peak_memory / 2**30:.1f} GiB"

    def told_evaluation(self) -> list[tuple[str, str]]:
        """Results of tests; those that the program knows and that were not run say so."""
        results = {**dict.fromkeys(_EVALUATIONS), **self.evaluation}
        return [(name, result or "not run") for name, result in results.items()]


def duration(seconds: float) -> str:
    """A time for people: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{seconds:.0f} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def _between(name: str, before: float | None, after: float | None) -> Iterator[tuple[str, str]]:
    if before is not None and after is not None:
        yield name, f"{before:.3f} → {after:.3f}"
    elif after is not None:
        yield name, f"{after:.3f}"


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Path):
        return value.name
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "default" if value is None else str(value)
