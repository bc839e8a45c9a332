"""TRL's trainer over packs of whole rows, with a loss over the tokens that carry one.

TRL brings adapters, quantised weights, many devices, checkpoints and trackers. What differs here: a step is a number of
rows, however they are packed; the head is computed for trained tokens only; and the held-out loss is a mean over
tokens, not over readings.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from reflectune.optional import load_optional
from reflectune.student.runtime import torch_and_transformers
from reflectune.training.callback import Reading, Watch, callback
from reflectune.training.checkpoints import keep_newest, mark_whole
from reflectune.training.course import Course
from reflectune.training.masks import NO_LOSS
from reflectune.training.packs import Packs
from reflectune.training.student import Pupil, adapters


def arguments(course: Course, folder: Path, *, gpu: bool) -> Any:
    """How TRL is to train.

    Args:
        course: What is read, and the settings.
        folder: Where checkpoints go.
        gpu: Whether it runs on a GPU.
    """
    settings, split = course.settings, course.split
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
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=course.bfloat16,
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


def build_trainer(pupil: Pupil, model: Any, reading: Reading, args: Any, watch: Watch) -> Any:
    """TRL's trainer for a student.

    Returns:
        A trainer of transformers; `train(resume_from_checkpoint=...)` starts it.
    """
    _, transformers = torch_and_transformers()
    trl = load_optional("trl", "reflectune train", extra="train")
    trainer = type("Trainer", (PackTrainer, trl.SFTTrainer), {})(
        model=model,
        args=args,
        data_collator=reading.packs.collate,
        train_dataset=reading.packs.dataset(),
        eval_dataset=reading.held_out.dataset() if reading.held_out else None,
        processing_class=pupil.tokenizer,
        peft_config=adapters(pupil),
        callbacks=[callback(reading, watch)],
    )
    trainer.held_out = reading.held_out
    trainer.in_pieces = getattr(model, "gives_loss", False)
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


class PackTrainer:
    """TRL's trainer, with a loss over whole steps."""

    held_out: Packs | None = None
    saved_as: Any = None
    in_pieces: bool = False

    accelerator: Any
    args: Any
    callback_handler: Any
    control: Any
    log: Any
    model: Any
    model_wrapped: Any
    state: Any
    compute_loss_context_manager: Any
    _prepare_inputs: Any

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write weights that were split over devices in the numbers of `saved_as`, where it is set."""
        if self.saved_as is not None and state_dict is not None:
            tied = getattr(self.accelerator.unwrap_model(self.model), "all_tied_weights_keys", {})
            state_dict = {
                name: weight.to(self.saved_as) if weight.is_floating_point() else weight
                for name, weight in state_dict.items()
                if name not in tied
            }
        super()._save(output_dir, state_dict)  # type: ignore[misc]

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: ours comes at the end, and says what was trained."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, say that it is whole once every process has written, and only then remove others."""
        most, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
        finally:
            self.args.save_total_limit = most
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self.args.output_dir)
            mark_whole(folder / f"checkpoint-{self.state.global_step}")
            keep_newest(folder, most)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This pack's share of the step's mean loss; over devices the shares are averaged, so it is scaled up."""
        if return_outputs:
            raise NotImplementedError("the head is computed for trained tokens only")
        loss = negative_log_likelihood(model, inputs, in_pieces=self.in_pieces)
        return loss * self.accelerator.num_processes / num_items_in_batch

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure the held-out loss: the mean over the tokens of all held-out rows."""
        if self.held_out is None:
            return {}
        torch, _ = torch_and_transformers()
        model = self.model_wrapped
        model.eval()
        total = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        mine = range(self.args.process_index, len(self.held_out.packs), self.args.world_size)
        with torch.no_grad(), self.compute_loss_context_manager():
            for number in mine:
                inputs = self._prepare_inputs(self.held_out.collate([{"pack": self.held_out.packs[number]}]))
                trained = inputs["labels"].ne(NO_LOSS).sum()
                loss = negative_log_likelihood(model, inputs, in_pieces=self.in_pieces)
                total += torch.stack([loss.double(), trained.double()])
        sum_of_losses, count = self.accelerator.reduce(total).tolist()
        metrics = {"eval_loss": sum_of_losses / count}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def negative_log_likelihood(model: Any, inputs: dict[str, Any], *, in_pieces: bool = False) -> Any:
    """The sum of the negative log-likelihoods of a pack's trained tokens, in nats, as a tensor.

    Args:
        model: The student, as TRL has prepared it.
        inputs: A pack, as `collate` makes it.
        in_pieces: Whether the model gives the loss itself, a piece of the tokens at a time (`head.add_head`).
    """
    torch, _ = torch_and_transformers()
    labels = inputs["labels"]
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    if labels.is_cuda:  # where TRL's own head goes over the trained tokens in tiles
        return -model(**rest, labels=labels, fused_lm_head=True).log_probs.sum()
    before = (labels[0, 1:] != NO_LOSS).nonzero()[:, 0]
    if in_pieces:
        return model(**rest, trained=before, targets=labels[0, before + 1])
    logits = model(**rest, use_cache=False, logits_to_keep=before).logits[0]
    return torch.nn.functional.cross_entropy(logits.float(), labels[0, before + 1], reduction="sum")
