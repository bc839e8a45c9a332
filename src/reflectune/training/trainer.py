"""TRL's trainer over packs of whole rows, with a loss over the tokens that carry one.

TRL brings adapters, quantised weights, many devices, checkpoints and trackers. What differs here: a step is a number of
rows, however they are packed; the head is computed for trained tokens only; and the held-out loss is a mean over
tokens, not over readings.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from reflectune.errors import RunError
from reflectune.optional import load_optional
from reflectune.recipe import TrainSettings
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.batches import Schedule
from reflectune.training.checkpoints import mark_whole
from reflectune.training.curves import Point
from reflectune.training.packs import Packs
from reflectune.training.student import Pupil, adapters


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
        stopping: Says whether somebody asked to stop.
    """

    point: Callable[[Point], None]
    stopping: Callable[[], bool] = lambda: False


def arguments(settings: TrainSettings, folder: Path, split: Schedule, *, gpu: bool, bfloat16: bool) -> Any:
    """How TRL is to train.

    Args:
        settings: What was asked for; `gradient_checkpointing` is decided by now.
        folder: Where checkpoints go.
        split: What is read.
        gpu: Whether it runs on a GPU.
        bfloat16: Whether products are computed in bfloat16.
    """
    trl = load_optional("trl", "reflectune train", extra="train")
    steps = len(split.steps)
    every = max(steps // settings.evaluations, 1)
    constant = settings.scheduler == "constant"
    known = {one.name for one in fields(trl.SFTConfig)}
    recompute = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return trl.SFTConfig(
        **{recompute: bool(settings.gradient_checkpointing)},
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=split.readings,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if constant else settings.scheduler,
        warmup_steps=math.ceil(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=bfloat16,
        use_cpu=not gpu,
        ddp_backend="gloo" if split.devices > 1 and not gpu else None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=max(-(-steps // settings.checkpoints), 1),
        save_total_limit=settings.keep_checkpoints,
        train_sampling_strategy="sequential",
        seed=settings.seed,
        report_to=list(settings.report_to) or "none",
        deepspeed=str(settings.deepspeed) if settings.deepspeed else None,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=gpu,
    )


def build_trainer(pupil: Pupil, model: Any, reading: Reading, args: Any, settings: TrainSettings, watch: Watch) -> Any:
    """TRL's trainer for a student.

    Returns:
        A trainer of transformers; `train(resume_from_checkpoint=...)` starts it.
    """
    _, transformers = torch_and_transformers()
    trainer = _trainer_class()(
        model=model,
        args=args,
        data_collator=reading.packs.collate,
        train_dataset=reading.packs.dataset(),
        eval_dataset=reading.held_out.dataset() if reading.held_out else None,
        processing_class=pupil.tokenizer,
        peft_config=adapters(pupil, settings),
        callbacks=[_callback_class()(reading, watch)],
    )
    trainer.held_out = reading.held_out
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


@cache
def _trainer_class() -> Any:
    """The class is made when it is first asked for: its base is a library that takes seconds to import."""
    torch, _ = torch_and_transformers()
    trl = load_optional("trl", "reflectune train", extra="train")

    class PackTrainer(trl.SFTTrainer):  # type: ignore[misc]
        """TRL's trainer, with a loss over whole steps."""

        held_out: Packs | None = None

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """This pack's share of the step's mean loss; over devices the shares are averaged, so it is scaled up."""
            if return_outputs:
                raise NotImplementedError("the head is computed for trained tokens only")
            return negative_log_likelihood(model, inputs) * self.accelerator.num_processes / num_items_in_batch

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            """Measure the held-out loss: the mean over the tokens of all held-out rows."""
            if self.held_out is None:
                return {}
            model = self.model_wrapped
            model.eval()
            total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
            mine = range(self.args.process_index, len(self.held_out.packs), self.args.world_size)
            with torch.no_grad(), self.compute_loss_context_manager():
                for number in mine:
                    inputs = self._prepare_inputs(self.held_out.collate([{"pack": self.held_out.packs[number]}]))
                    trained = inputs["labels"].ne(-100).sum()
                    total += torch.stack([negative_log_likelihood(model, inputs).double(), trained.double()])
            loss, count = self.accelerator.reduce(total).tolist()
            metrics = {"eval_loss": loss / count}
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return PackTrainer


def negative_log_likelihood(model: Any, inputs: dict[str, Any]) -> Any:
    """The sum of the negative log-likelihoods of a pack's trained tokens, in nats, as a tensor.

    Args:
        model: The student, as TRL has prepared it.
        inputs: A pack, as `collate` makes it.
    """
    torch, _ = torch_and_transformers()
    labels = inputs["labels"]
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    if labels.is_cuda:  # where TRL's own head goes over the trained tokens in tiles
        return -model(**rest, labels=labels, fused_lm_head=True).log_probs.sum()
    before = (labels[0, 1:] != -100).nonzero()[:, 0]
    logits = model(**rest, use_cache=False, logits_to_keep=before).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), labels[0, before + 1], reduction="sum")


@cache
def _callback_class() -> Any:
    _, transformers = torch_and_transformers()

    class Curves(transformers.TrainerCallback):  # type: ignore[misc]
        """Writes the curves, marks checkpoints that are whole, stops when asked to or where the loss is no number."""

        def __init__(self, reading: Reading, watch: Watch) -> None:
            self._watch = watch
            trainable = reading.packs.trainable
            self._tokens = [sum(trainable(pack) for pack in step) for step in reading.split.steps]
            self._began = self._step_began = time.monotonic()
            self._took = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._step_began = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self._took = time.monotonic() - self._step_began
            if self._watch.stopping():
                control.should_training_stop = control.should_save = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            measured = {"loss": logs.get("loss"), "held_out_loss": logs.get("eval_loss")}
            for name, value in measured.items():
                if value is not None and not math.isfinite(value):
                    raise RunError(
                        f"The {name.replace('_', ' ')} is {value} at step {state.global_step}.",
                        mend="The last good checkpoint is kept. Lower --learning-rate, raise --warmup, or use"
                        " --precision float32; then begin again with --fresh.",
                    )
            if "loss" in logs or "eval_loss" in logs:
                self._watch.point(self._point(state, logs))

        def _point(self, state: Any, logs: dict[str, float]) -> Point:
            step = state.global_step
            trained = "loss" in logs
            return Point(
                step=step,
                epoch=logs.get("epoch"),
                loss=logs.get("loss"),
                held_out_loss=logs.get("eval_loss"),
                learning_rate=logs.get("learning_rate"),
                grad_norm=logs.get("grad_norm"),
                tokens=sum(self._tokens[:step]) if trained else None,
                tokens_per_second=self._tokens[step - 1] / max(self._took, 1e-9) if trained and step else None,
                seconds=round(time.monotonic() - self._began, 3),
            )

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Curves
