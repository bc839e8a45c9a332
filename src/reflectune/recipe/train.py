"""How the student is fine-tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from reflectune.recipe.base import Settings

Method = Literal["full", "lora", "qlora"]
LossOn = Literal["whole", "after-reflection", "mistake-masked"]


class TrainSettings(Settings):
    """How the student is fine-tuned. The defaults are those of Reflection-Tuning (arXiv 2310.11716), for 7B.

    Attributes:
        student: The model that learns: a folder, a hub id, `hf:ID`, `local` or a `.gguf` file.
        method: All of its weights, low-rank adapters, or adapters over weights in four bits (a GPU and the extra
            `qlora`).
        template: The prompt template: `chat` (the tokenizer's own), `llama-3.1`, `vicuna`, `alpaca`, `wizardlm`, or a
            file; by default `chat` where the tokenizer has one. It is saved with the model.
        reflection: Whether the data are traces with `<thinking>`, `<reflection>` and `<output>`.
        loss: Which tokens of the answer carry loss: the whole answer; what follows the first `<reflection>`; or all but
            the mistake that a trace was planted with. By default the last for traces, else the whole.
        tags: Whether the tags stay plain text, or become tokens of their own with embeddings made of their words'.
        max_length: The most tokens of a row.
        overlong: What is done with a longer row: its end is cut off, or it is left out with the reason. By default
            traces are left out, others cut.
        epochs: How often each row is seen.
        max_steps: The most optimiser steps; by default as many as the epochs take.
        batch: Rows of one optimiser step, over all devices.
        learning_rate: The highest learning rate.
        scheduler: How it falls.
        warmup: The share of the steps in which it rises.
        weight_decay: Decay of the weights, as AdamW has it.
        max_grad_norm: Gradients are scaled down to this norm.
        lora_rank: Rank of the adapters.
        lora_alpha: Their scale; by default twice the rank.
        lora_dropout: Dropout before them.
        lora_targets: The layers that get one, by name; by default every linear layer but the head.
        precision: The numbers of the products; by default bfloat16 where the device has it, else float32.
        packing: Whether rows are read one after the other without padding. It changes the speed only: a step's rows
            and its loss are the same.
        batch_tokens: The most tokens that a device reads at once; by default what suits it, never under `max_length`.
        gradient_checkpointing: Whether activations are computed again to save memory; by default where it is needed.
        held_out: How many rows are kept apart to measure the loss on, as `64` or `2%`.
        held_out_data: A file of such rows, instead.
        evaluations: How often the held-out loss is measured, besides before the first step.
        checkpoints: How many checkpoints are written, evenly over the run.
        keep_checkpoints: How many of them are kept.
        seed: Seed of the order of the rows, the held-out rows and new weights.
        report_to: Trackers that are told the curves: tensorboard, wandb, trackio, mlflow, swanlab.
        deepspeed: A DeepSpeed configuration.
        needs_gpu: Whether to stop at once where there is no GPU.
        merge: Whether adapters are also merged into a model folder of their own.
        gguf: The numbers of a GGUF file that is written too.
    """

    student: str = Field(default="local", min_length=1)
    method: Method = "full"
    template: str | None = None
    reflection: bool = False
    loss: LossOn | None = None
    tags: Literal["text", "tokens"] = "text"
    max_length: int = Field(default=2048, ge=16)
    overlong: Literal["cut", "drop"] | None = None
    epochs: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    max_steps: int | None = Field(default=None, ge=1)
    batch: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=2e-5, gt=0, allow_inf_nan=False)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.03, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    lora_rank: int = Field(default=16, ge=1)
    lora_alpha: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_targets: tuple[str, ...] = ()
    precision: Literal["float32", "bfloat16"] | None = None
    packing: bool = True
    batch_tokens: int | None = Field(default=None, ge=16)
    gradient_checkpointing: bool | None = None
    held_out: str = Field(default="2%", pattern=r"^(\d+|\d{1,2}(\.\d+)?%)$")
    held_out_data: Path | None = None
    evaluations: int = Field(default=10, ge=1)
    checkpoints: int = Field(default=3, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    report_to: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow", "swanlab"], ...] = ()
    deepspeed: Path | None = None
    needs_gpu: bool = False
    merge: bool = False
    gguf: Literal["bfloat16", "float16", "q8_0"] | None = None

    @field_validator("held_out", mode="before")
    @classmethod
    def _as_text(cls, held_out: object) -> object:
        return str(held_out) if isinstance(held_out, int) and not isinstance(held_out, bool) else held_out

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.tags == "tokens" and not self.reflection:
            raise ValueError("tags become tokens only for traces, which --reflection says that the rows are")
        if self.tags == "tokens" and self.deepspeed:
            raise ValueError("tags as tokens are not for DeepSpeed, which splits the embeddings before they are made")
        if self.loss not in {None, "whole"} and not self.reflection:
            raise ValueError(f"a loss {self.loss} is for traces, which --reflection says that the rows are")
        if self.batch_tokens is not None and self.batch_tokens < self.max_length:
            raise ValueError(f"batch_tokens {self.batch_tokens} holds no row of max_length {self.max_length}")
        return self

    @property
    def loss_on(self) -> LossOn:
        """Which tokens of the answer carry loss."""
        return self.loss or ("mistake-masked" if self.reflection else "whole")

    @property
    def drops_overlong(self) -> bool:
        """Whether a row that is too long is left out rather than cut."""
        return self.reflection if self.overlong is None else self.overlong == "drop"

    @property
    def quantised(self) -> bool:
        """Whether the student's own weights are in four bits."""
        return self.method == "qlora"
