"""What happens between steps: curves are written, and a run that goes wrong is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from reflectune.errors import RunError
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.batches import Schedule
from reflectune.training.curves import Point
from reflectune.training.packs import Packs


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read in a run.

    Attributes:
        split: The packs of each step.
        packs: The same as a data set.
        held_out: The packs that the loss is measured on; `None` where no row is held out.
    """

    split: Schedule
    packs: Packs
    held_out: Packs | None


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told how a run goes.

    Attributes:
        point: Told of each step, and of each measurement.
        resumed: Told of the step that a run goes on from.
        stopping: Says whether somebody asked to stop.
    """

    point: Callable[[Point], None]
    stopping: Callable[[], bool] = lambda: False
    resumed: Callable[[int], None] = lambda _: None


class Between:
    """Writes the curves, and stops when asked to or where the loss is no number."""

    def __init__(self, reading: Reading, watch: Watch) -> None:
        self._watch = watch
        trainable = reading.packs.trainable
        steps = (sum(trainable(pack) for pack in step) for step in reading.split.steps)
        self._tokens = [0, *accumulate(steps)]
        self._began = self._step_began = time.monotonic()
        self._took = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Note when a step begins."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Note how long it took, and stop with a checkpoint where somebody asked to."""
        self._took = time.monotonic() - self._step_began
        if _anywhere(self._watch.stopping(), args):
            control.should_training_stop = control.should_save = True

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, float], **_: Any) -> None:
        """Tell what was measured.

        Raises:
            RunError: A loss is no number.
        """
        step = state.global_step
        _check(step, logs)
        if "eval_loss" in logs:
            self._watch.point(Point(step=step, held_out_loss=logs["eval_loss"], seconds=self._seconds()))
        elif "loss" in logs:
            trained = self._tokens[step] - self._tokens[step - 1]
            self._watch.point(
                Point(
                    step=step,
                    epoch=logs.get("epoch"),
                    loss=logs["loss"],
                    learning_rate=logs.get("learning_rate"),
                    grad_norm=logs.get("grad_norm"),
                    tokens=self._tokens[step],
                    tokens_per_second=trained / max(self._took, 1e-9),
                    seconds=self._seconds(),
                )
            )

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)


def callback(reading: Reading, watch: Watch) -> Any:
    """A callback of transformers."""
    _, transformers = torch_and_transformers()
    return type("Callback", (Between, transformers.TrainerCallback), {})(reading, watch)


def _anywhere(asked: bool, args: Any) -> bool:
    """Whether any of the processes was asked to stop: all of them stop after the same step."""
    if args.world_size == 1:
        return asked
    torch, _ = torch_and_transformers()
    votes = torch.tensor(int(asked), device=args.device)
    torch.distributed.all_reduce(votes)
    return bool(votes.item())


def _check(step: int, logs: dict[str, float]) -> None:
    for name, told in (("loss", "loss"), ("eval_loss", "held-out loss"), ("grad_norm", "norm of the gradients")):
        if name in logs and not math.isfinite(logs[name]):
            raise RunError(
                f"The {told} is {logs[name]} at step {step}.",
                mend="The last good checkpoint is kept. Lower --learning-rate, set warmup=0.1 or use"
                " --precision float32; then begin again with --fresh.",
            )
