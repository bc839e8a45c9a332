"""axolotl: `axolotl train config.yml`. Written for 0.19; https://docs.axolotl.ai/docs/config-reference.html.

It alone of these tools can leave characters of an answer without loss (`training_detail`), so it alone takes traces
whose mistakes are masked.
"""

from __future__ import annotations

from typing import Any

from reflectune.errors import SettingsError
from reflectune.exports.kit import DEEPSPEED, TEMPLATE, Asked, Kit, as_yaml, counted, shared_notes, student_of
from reflectune.exports.schedule import every
from reflectune.exports.wording import Chat, Plain, messages
from reflectune.lessons import Lesson, Span
from reflectune.records import Failure
from reflectune.student.chat_text import LLAMA

_DETAIL = "training_detail"
_TRACKERS = {"wandb": "use_wandb", "mlflow": "use_mlflow", "tensorboard": "use_tensorboard", "trackio": "use_trackio"}


def kit(asked: Asked) -> Kit:
    """What is written for axolotl.

    Raises:
        SettingsError: The settings ask for what axolotl cannot do.
    """
    settings, survey = asked.settings, asked.survey
    student, note = student_of(settings)
    notes = [note, *shared_notes(asked)]
    if survey.masked and isinstance(asked.wording, Plain):
        raise SettingsError(
            f"{counted(survey.masked, 'row')} would have characters without loss: axolotl needs a chat template.",
            mend="Use --template chat or llama-3.1.",
        )
    if survey.marked and not survey.masked:
        notes.append(f"{counted(survey.marked, 'row')} with a marked mistake: with `loss: whole` it is learnt too.")
    if settings.method == "full" and settings.precision != "float32" and settings.deepspeed is None:
        notes.append("axolotl keeps weights in bfloat16 without float32 masters unless DeepSpeed or FSDP hold them.")
    if asked.wording.name not in {LLAMA, "chat"} and isinstance(asked.wording, Chat):
        notes.append("Name the token that ends a turn of your template as eot_tokens where it is not the end token.")
    if "swanlab" in settings.report_to:
        notes.append("swanlab is a plugin of axolotl with settings of its own: it is not set up here.")
    files = {"config.yml": as_yaml(_settings(asked, student) | _data(asked) | _adapters(asked) | _reports(asked))}
    if isinstance(asked.wording, Chat) and asked.wording.text:
        files[TEMPLATE] = asked.wording.text
    return Kit(rows=_Rows(asked), command="axolotl train config.yml", files=files, notes=tuple(filter(None, notes)))


class _Rows:
    """Makes the rows of the data file."""

    def __init__(self, asked: Asked) -> None:
        self._wording = asked.wording
        self._loss_on = asked.loss_on
        self._masks = bool(asked.survey.masked)

    def __call__(self, lesson: Lesson) -> list[dict[str, Any]] | Failure:
        if isinstance(self._wording, Plain):
            return self._wording.pair(lesson)
        said: list[dict[str, Any]] = [*messages(lesson)]
        if self._masks:
            said[-1][_DETAIL] = detail(len(lesson.example.response), lesson.silent(self._loss_on))
        return [{"messages": said}]


def detail(length: int, silent: tuple[Span, ...]) -> list[dict[str, Any]]:
    """Which characters of an answer carry loss, as axolotl reads it: pieces in order, their last character included.

    Args:
        length: Characters of the answer.
        silent: Those that carry no loss.
    """
    pieces, place = [], 0
    for begin, end in (*sorted(silent), (length, length)):
        if begin > place:
            pieces.append({"begin_offset": place, "end_offset": begin - 1, "train": True})
        if end > max(begin, place):
            pieces.append({"begin_offset": max(begin, place), "end_offset": end - 1, "train": False})
        place = max(place, end)
    return pieces


def _data(asked: Asked) -> dict[str, Any]:
    held = [_dataset(asked, "held_out.jsonl") | {"split": "train"}] if asked.held_out else None
    values: dict[str, Any] = {"datasets": [_dataset(asked, "train.jsonl")], "test_datasets": held, "val_set_size": 0.0}
    if isinstance(asked.wording, Chat):
        values |= _template(asked.wording)
        values["eot_tokens"] = ["<|eot_id|>"] if asked.wording.name == LLAMA else None
    return values | {"train_on_inputs": False, "dataset_prepared_path": "prepared"}


def _dataset(asked: Asked, file: str) -> dict[str, Any]:
    if isinstance(asked.wording, Plain):
        columns = {"field_instruction": "prompt", "field_output": "completion"}
        texts = {"format": "{instruction}", "no_input_format": "{instruction}"}
        return {"path": file, "ds_type": "json", "type": columns | texts}
    return {
        "path": file,
        "ds_type": "json",
        "type": "chat_template",
        **_template(asked.wording),
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        **({"message_field_training_detail": _DETAIL} if asked.survey.masked else {}),
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


def _template(chat: Chat) -> dict[str, Any]:
    if not chat.text:
        return {"chat_template": "tokenizer_default"}
    return {"chat_template": "jinja", "chat_template_jinja": TEMPLATE}


def _settings(asked: Asked, student: str) -> dict[str, Any]:
    settings, plan = asked.settings, asked.schedule
    again = settings.gradient_checkpointing is not False
    return {
        "base_model": student,
        "output_dir": "trained",
        "sequence_len": settings.max_length,
        "excess_length_strategy": "drop" if settings.drops_overlong else "truncate",
        "sample_packing": asked.packs,
        "eval_sample_packing": False,
        "pad_to_sequence_len": asked.packs,
        "attn_implementation": "flash_attention_2" if asked.packs else None,
        "num_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "micro_batch_size": plan.per_device,
        "gradient_accumulation_steps": plan.accumulation,
        "optimizer": "adamw_torch_fused",
        "learning_rate": settings.learning_rate,
        "lr_scheduler": asked.scheduler,
        "warmup_ratio": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "bf16": {"bfloat16": True, "float32": False, None: "auto"}[settings.precision],
        "gradient_checkpointing": again,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if again else None,
        "eval_steps": every(settings.evaluations) if asked.held_out else None,
        "save_steps": every(settings.checkpoints),
        "save_total_limit": settings.keep_checkpoints,
        "seed": settings.seed,
        "deepspeed": DEEPSPEED if settings.deepspeed else None,
    }


def _adapters(asked: Asked) -> dict[str, Any]:
    settings = asked.settings
    if settings.method == "full":
        return {}
    return {
        "adapter": settings.method,
        "load_in_4bit": True if settings.quantised else None,
        "lora_r": settings.lora_rank,
        "lora_alpha": asked.alpha,
        "lora_dropout": settings.lora_dropout,
        "lora_target_modules": list(settings.lora_targets) or None,
        "lora_target_linear": None if settings.lora_targets else True,
    }


def _reports(asked: Asked) -> dict[str, Any]:
    return {_TRACKERS[name]: True for name in asked.settings.report_to if name in _TRACKERS}
