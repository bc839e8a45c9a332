"""LLaMA-Factory: `llamafactory-cli train train.yaml`. Written for 0.9.5; https://llamafactory.readthedocs.io.

It has no templates of a user's own. Those that it lacks are put together from its own where the text comes out the
same, and refused where it does not.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from reflectune.errors import SettingsError
from reflectune.exports.kit import DEEPSPEED, Asked, Kit, as_yaml, refuse_masks, shared_notes, student_of
from reflectune.exports.schedule import every
from reflectune.exports.wording import STAGE, Plain, messages
from reflectune.lessons import Lesson
from reflectune.records import Failure
from reflectune.student.chat_text import LLAMA

_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
"""What the stock format of Llama 3.1 says before each system prompt, and its `llama3` does not."""
_TEMPLATES = {"chat": None, LLAMA: "llama3", "vicuna": "vicuna", "alpaca": "alpaca"}
_INPUTS = {"vicuna": "{}\nInput:\n{}", "alpaca": "{}\n\n### Input:\n{}"}
_ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def kit(asked: Asked) -> Kit:
    """What is written for LLaMA-Factory.

    Raises:
        SettingsError: The settings ask for what LLaMA-Factory cannot do.
    """
    name = asked.wording.name
    if name not in _TEMPLATES:
        raise SettingsError(
            f"LLaMA-Factory has no template like {name}.",
            mend=f"Use --template {', '.join(_TEMPLATES)}, or --for axolotl or trl.",
        )
    student, note = student_of(asked.settings)
    notes = [note, *refuse_masks(asked, "LLaMA-Factory"), *shared_notes(asked), *_notes(asked)]
    command = "llamafactory-cli train train.yaml"
    if asked.settings.deepspeed or asked.devices > 1:
        command = f"FORCE_TORCHRUN=1 NPROC_PER_NODE={asked.devices} {command}"
    return Kit(
        rows=_Rows(asked),
        command=command,
        files={"dataset_info.json": _dataset_info(asked), "train.yaml": as_yaml(_settings(asked, student))},
        notes=tuple(filter(None, notes)),
    )


def _notes(asked: Asked) -> list[str]:
    notes = []
    if asked.settings.drops_overlong:
        notes.append("LLaMA-Factory cannot leave out rows that are too long: it cuts prompt and answer in proportion.")
    else:
        notes.append("Of a row that is too long LLaMA-Factory cuts prompt and answer in proportion, not the end alone.")
    if asked.wording.name == "alpaca":
        notes.append("Its template alpaca writes a line break before each answer, which ours does not.")
    if asked.wording.name == "chat":
        notes.append(
            "No template is named, so LLaMA-Factory takes the wording from the tokenizer's chat template by trying it "
            "out, which goes wrong for templates that write a system prompt of their own before every conversation: "
            "name the model's template as `template` in train.yaml where it has one."
        )
    return notes


class _Rows:
    """Makes the rows of the data file: messages, as all of its templates read them."""

    def __init__(self, asked: Asked) -> None:
        self._wording = asked.wording

    def __call__(self, lesson: Lesson) -> list[dict[str, Any]] | Failure:
        said = messages(lesson)
        turns = said[1:] if said[0]["role"] == "system" else said
        if turns[0]["role"] != "user" or any(one["role"] == other["role"] for one, other in pairwise(turns)):
            return lesson.left_out(STAGE, "turns", "its turns do not alternate between user and assistant")
        if any(turn["role"] not in {"user", "assistant"} for turn in turns):
            return lesson.left_out(STAGE, "turns", "it has turns of a tool or a second system prompt")
        if isinstance(self._wording, Plain):
            return self._worded(lesson, turns)
        if self._wording.name == LLAMA:
            turns = [turn | {"content": turn["content"].strip()} for turn in turns]
            return [{"messages": [{"role": "system", "content": _DATES + lesson.example.system.strip()}, *turns]}]
        return [{"messages": said}]

    def _worded(self, lesson: Lesson, turns: list[dict[str, str]]) -> list[dict[str, Any]] | Failure:
        """The turns such that the tool's own template writes what ours does."""
        wording, example = self._wording, lesson.example
        if not isinstance(wording, Plain):
            raise TypeError(f"{wording.name} is no template of text")
        many = bool(wording.form.preamble)
        if not many and (example.system or example.history):
            return lesson.left_out(STAGE, "template", f"{wording.name} takes neither a system prompt nor earlier turns")
        asked = example.instruction
        if example.input.strip():
            asked = _INPUTS[wording.name].format(example.instruction, example.input)
        whole = wording.form.with_input if example.input.strip() else wording.form.plain
        begins = wording.form.preamble or whole[: whole.index("### Instruction:")]
        system = f"{example.system} " if example.system else begins
        answers = [
            turn | {"content": wording.form.joint + turn["content"]} if turn["role"] == "assistant" else turn
            for turn in turns
        ]
        answers[-2] = {"role": "user", "content": asked}
        return [{"messages": [{"role": "system", "content": system}, *answers]}]


def _dataset_info(asked: Asked) -> str:
    tags = _ROLES | {"observation_tag": "tool", "function_tag": "function_call", "system_tag": "system"}
    made = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    info = {"reflectune": {"file_name": "train.jsonl", **made}}
    if asked.held_out:
        info["reflectune_held_out"] = {"file_name": "held_out.jsonl", **made}
    return json.dumps(info, indent=2) + "\n"


def _settings(asked: Asked, student: str) -> dict[str, Any]:
    settings, plan = asked.settings, asked.schedule
    half = settings.precision != "float32"
    return {
        "model_name_or_path": student,
        "stage": "sft",
        "do_train": True,
        **_method(asked),
        "dataset_dir": ".",
        "dataset": "reflectune",
        "eval_dataset": "reflectune_held_out" if asked.held_out else None,
        "template": _TEMPLATES[asked.wording.name],
        "cutoff_len": settings.max_length,
        "train_on_prompt": False,
        "mask_history": False,
        "packing": asked.packs,
        "neat_packing": asked.packs,
        "flash_attn": "auto",
        "output_dir": "trained",
        "per_device_train_batch_size": plan.per_device,
        "per_device_eval_batch_size": plan.per_device,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": asked.scheduler,
        "warmup_steps": plan.warmup,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": half,
        "disable_gradient_checkpointing": settings.gradient_checkpointing is False,
        "eval_strategy": "steps" if asked.held_out else "no",
        "eval_steps": every(settings.evaluations) if asked.held_out else None,
        "eval_on_start": asked.held_out,
        "save_strategy": "steps",
        "save_steps": every(settings.checkpoints),
        "save_total_limit": settings.keep_checkpoints,
        "logging_steps": 1,
        "seed": settings.seed,
        "report_to": list(settings.report_to) or "none",
        "deepspeed": DEEPSPEED if settings.deepspeed else None,
    }


def _method(asked: Asked) -> dict[str, Any]:
    settings = asked.settings
    if settings.method == "full":
        return {"finetuning_type": "full"}
    four = {
        "quantization_method": "bnb",
        "quantization_bit": 4,
        "quantization_type": "nf4",
        "double_quantization": True,
    }
    return {
        "finetuning_type": "lora",
        "lora_rank": settings.lora_rank,
        "lora_alpha": asked.alpha,
        "lora_dropout": settings.lora_dropout,
        "lora_target": ",".join(settings.lora_targets) or "all",
        **(four if settings.quantised else {}),
    }
