"""TRL: `trl sft --config config.yaml`. Written for 1.16; https://huggingface.co/docs/trl/sft_trainer.

Rows are prompt and completion, of which TRL gives loss to the completion alone, whatever the template. (Its loss on the
assistant's turns of whole conversations needs a template with generation marks, which most have not.) So a row with
earlier answers becomes one row for each answer: the same words carry loss after the same words, each once.
"""

from __future__ import annotations

from typing import Any

from reflectune.exports.kit import (
    DEEPSPEED,
    TEMPLATE,
    Asked,
    Kit,
    as_yaml,
    counted,
    refuse_masks,
    shared_notes,
    student_of,
)
from reflectune.exports.schedule import every
from reflectune.exports.wording import Chat, Plain, Wording, messages
from reflectune.lessons import Lesson
from reflectune.records import Failure


def kit(asked: Asked) -> Kit:
    """What is written for TRL.

    Raises:
        SettingsError: The settings ask for what TRL cannot do.
    """
    settings, wording = asked.settings, asked.wording
    student, note = student_of(settings)
    notes = [note, *refuse_masks(asked, "TRL"), *shared_notes(asked)]
    if settings.drops_overlong:
        notes.append("TRL cuts rows that are too long at their end and cannot leave them out.")
    if asked.packs:
        notes.append(
            "Packed rows do not see each other with FlashAttention only, which the configuration asks for: install "
            "flash-attn, or say --set packing=false."
        )
    if isinstance(wording, Chat) and asked.survey.with_history:
        notes.append(
            f"{counted(asked.survey.with_history, 'row')} with earlier turns became one for each answer, so that each "
            "answer carries loss once; a step counts answers."
        )
    files = {"config.yaml": as_yaml(_settings(asked, student) | _data(asked) | _adapters(asked))}
    if isinstance(wording, Chat) and wording.text:
        files[TEMPLATE] = wording.text
    command = "trl sft --config config.yaml"
    if asked.devices > 1:
        command = f"accelerate launch --num_processes {asked.devices} -m trl.scripts.sft --config config.yaml"
    return Kit(
        rows=_Rows(wording),
        command=command,
        files=files,
        train="data/train.jsonl",
        held_out="data/test.jsonl",
        notes=tuple(filter(None, notes)),
    )


class _Rows:
    """Makes the rows of the data file: one for each answer."""

    def __init__(self, wording: Wording) -> None:
        self._wording = wording

    def __call__(self, lesson: Lesson) -> list[dict[str, Any]] | Failure:
        if isinstance(self._wording, Plain):
            return self._wording.pair(lesson)
        said = messages(lesson)
        answers = [place for place, turn in enumerate(said) if turn["role"] == "assistant" and place]
        return [{"prompt": said[:place], "completion": [said[place]]} for place in answers]


def _data(asked: Asked) -> dict[str, Any]:
    own = isinstance(asked.wording, Chat) and asked.wording.text
    return {
        "dataset_name": "./data",
        "dataset_train_split": "train",
        "dataset_test_split": "test" if asked.held_out else None,
        "chat_template_path": TEMPLATE if own else None,
        "completion_only_loss": True,
        "max_length": asked.settings.max_length,
        "truncation_mode": "keep_start",
        "packing": asked.packs,
        "packing_strategy": "bfd" if asked.packs else None,
    }


def _settings(asked: Asked, student: str) -> dict[str, Any]:
    settings, plan = asked.settings, asked.schedule
    half = settings.precision != "float32"
    return {
        "model_name_or_path": student,
        "dtype": "bfloat16" if half and settings.method != "full" else "float32",
        "attn_implementation": "flash_attention_2" if asked.packs else None,
        "output_dir": "trained",
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": plan.per_device,
        "per_device_eval_batch_size": plan.per_device,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": asked.scheduler,
        "warmup_steps": plan.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": half,
        "gradient_checkpointing": settings.gradient_checkpointing is not False,
        "eval_strategy": "steps" if asked.held_out else "no",
        "eval_steps": every(settings.evaluations) if asked.held_out else None,
        "eval_on_start": asked.held_out,
        "save_strategy": "steps",
        "save_steps": every(settings.checkpoints),
        "save_total_limit": settings.keep_checkpoints,
        "seed": settings.seed,
        "report_to": list(settings.report_to) or "none",
        "deepspeed": DEEPSPEED if settings.deepspeed else None,
    }


def _adapters(asked: Asked) -> dict[str, Any]:
    settings = asked.settings
    if settings.method == "full":
        return {}
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    return {
        "use_peft": True,
        "lora_r": settings.lora_rank,
        "lora_alpha": asked.alpha,
        "lora_dropout": settings.lora_dropout,
        "lora_target_modules": list(settings.lora_targets) or ["all-linear"],
        **(four if settings.quantised else {}),
    }
