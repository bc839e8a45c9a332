"""What is written for LLaMA-Factory: against its documented schema, and by its own loader where it is installed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_rows import PLAIN, TRACES, read, small_student, written
from reflectune.errors import SettingsError

# LLaMA-Factory 0.9.5: hparams/{model,data,training,finetuning}_args.py and transformers' Seq2SeqTrainingArguments.
CHOICES: dict[str, set[Any]] = {
    "stage": {"pt", "sft", "rm", "ppo", "dpo", "kto"},
    "finetuning_type": {"lora", "oft", "freeze", "full"},
    "template": {"llama3", "vicuna", "alpaca"},
    "flash_attn": {"auto", "disabled", "sdpa", "fa2", "fa3"},
    "quantization_bit": {4, 8},
    "quantization_type": {"fp4", "nf4"},
    "quantization_method": {"bnb", "gptq", "awq", "aqlm", "quanto", "eetq", "hqq", "mxfp4", "fp8"},
    "lr_scheduler_type": {"cosine", "linear", "constant", "constant_with_warmup"},
}
KEYS = {
    *("model_name_or_path", "do_train", "dataset_dir", "dataset", "eval_dataset", "cutoff_len", "train_on_prompt"),
    *("mask_history", "packing", "neat_packing", "output_dir", "per_device_train_batch_size", "double_quantization"),
    *("per_device_eval_batch_size", "gradient_accumulation_steps", "learning_rate", "warmup_steps", "max_steps"),
    *("num_train_epochs", "weight_decay", "max_grad_norm", "bf16", "disable_gradient_checkpointing", "eval_strategy"),
    *("eval_steps", "eval_on_start", "save_strategy", "save_steps", "save_total_limit", "logging_steps", "seed"),
    *("report_to", "deepspeed", "lora_rank", "lora_alpha", "lora_dropout", "lora_target"),
}
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 Jul 2024\n\nYou translate {well}.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    "Translate.\n\nKatze<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\ncat {sic}<|eot_id|>"
).replace("<|begin_of_text|>", "<|im_start|>")  # the token that begins a text, in the tokenizer that is tested with


def config(folder: Path) -> dict[str, Any]:
    values = yaml.safe_load((folder / "llama-factory" / "train.yaml").read_text())
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "lora", "scheduler": "constant", "template": "llama-3.1"},
        {"method": "qlora", "packing": True, "batch": 4_096, "held_out": "1", "template": "vicuna"},
        {"max_steps": 10, "gradient_checkpointing": False, "template": "alpaca"},
    ],
)
def test_the_configuration_keeps_to_the_schema(tmp_path: Path, settings: dict[str, Any]) -> None:
    written(tmp_path, "llama-factory", PLAIN, **settings)
    values = config(tmp_path)
    assert not values.keys() - KEYS - CHOICES.keys()
    assert all(values[key] in allowed for key, allowed in CHOICES.items() if key in values)
    info = json.loads((tmp_path / "llama-factory" / "dataset_info.json").read_text())
    assert set(info) == {"reflectune"} | ({"reflectune_held_out"} if settings.get("held_out") else set())
    for name, dataset in info.items():
        assert dataset["formatting"] == "sharegpt"
        assert (tmp_path / "llama-factory" / dataset["file_name"]).is_file()
        assert values["dataset" if name == "reflectune" else "eval_dataset"] == name


def test_every_setting_reaches_llama_factory(tmp_path: Path) -> None:
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 3}}')
    made = written(
        tmp_path,
        "llama-factory",
        PLAIN * 600,
        devices=4,
        method="qlora",
        max_length=512,
        packing=True,
        batch=512,
        batch_tokens=2_048,
        lora_rank=8,
        lora_targets=("q_proj", "v_proj"),
        scheduler="linear",
        warmup=0.1,
        deepspeed=tmp_path / "zero.json",
        report_to=("wandb",),
    )
    values = config(tmp_path)
    assert (values["finetuning_type"], values["quantization_bit"]) == ("lora", 4)
    assert (values["lora_rank"], values["lora_alpha"], values["lora_target"]) == (8, 16, "q_proj,v_proj")
    assert values["packing"] is values["neat_packing"] is True
    packs = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * 4
    assert f"{packs} packs to a step stand for its 512 rows" in made.notes[0] + made.notes[1]
    assert (values["cutoff_len"], values["lr_scheduler_type"], values["report_to"]) == (512, "linear", ["wandb"])
    assert values["warmup_steps"] == 2
    assert values["train_on_prompt"] is False
    assert values["deepspeed"] == "deepspeed.json"
    assert (tmp_path / "llama-factory" / "deepspeed.json").read_text() == '{"zero_optimization": {"stage": 3}}'
    assert made.command == "FORCE_TORCHRUN=1 NPROC_PER_NODE=4 llamafactory-cli train train.yaml"
    assert made.command in (tmp_path / "llama-factory" / "README.md").read_text()


def test_turns_that_it_would_skip_in_silence_are_left_out_aloud(tmp_path: Path) -> None:
    said = [("user", "a"), ("assistant", "b"), ("tool", "c"), ("assistant", "d"), ("user", "e"), ("assistant", "f")]
    odd = [{"messages": [{"role": role, "content": text} for role, text in said]}]
    twice = [{"messages": [{"role": "user", "content": "a"}, *odd[0]["messages"][-2:]]}]
    good = [{"messages": odd[0]["messages"][:2]}]
    made = written(tmp_path, "llama-factory", odd + twice + good)
    assert [(one.reason, one.detail.partition(":")[0]) for one in made.left_out] == [
        ("turns", "row 1"),
        ("turns", "row 2"),
    ]
    assert len(read(tmp_path / "llama-factory" / "left_out.jsonl")) == 2
    assert made.rows == len(read(tmp_path / "llama-factory" / "train.jsonl")) == 1


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no template like wizardlm"):
        written(tmp_path, "llama-factory", PLAIN, template="wizardlm")
    with pytest.raises(SettingsError, match="gives loss to whole answers"):
        written(tmp_path, "llama-factory", TRACES, reflection=True)
    with pytest.raises(SettingsError, match="gives loss to whole answers"):  # marked mistakes, though nobody said so
        written(tmp_path, "llama-factory", TRACES)
    with pytest.raises(SettingsError, match="tokens of their own"):
        written(tmp_path, "llama-factory", TRACES[1:], reflection=True, tags="tokens")
    with pytest.raises(SettingsError, match="no whole number"):
        written(tmp_path, "llama-factory", PLAIN, method="lora", lora_alpha=1.5)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("llamafactory", reason="LLaMA-Factory is not installed")
    return str(small_student(tmp_path_factory.mktemp("student")))


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("llamafactory.hparams", reason="LLaMA-Factory is not installed")


def taught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What LLaMA-Factory makes of the data: each row as text, and the part that carries loss."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from transformers import AutoTokenizer

    monkeypatch.chdir(folder / "llama-factory")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = config(folder) | {"use_cpu": True, "bf16": False, "overwrite_cache": True}
        model, data, training, _, _ = get_train_args(values)
        # Its own loading of a tokenizer imports an older trl; this is what it comes to.
        module = {"tokenizer": AutoTokenizer.from_pretrained(model.model_name_or_path), "processor": None}
        template = get_template_and_fix_tokenizer(module["tokenizer"], data)
        made = get_dataset(template, model, data, training, stage="sft", **module)["train_dataset"]
    spell = module["tokenizer"].decode
    return [(spell(row["input_ids"]), spell([label for label in row["labels"] if label != -100])) for row in made]


@pytest.mark.model
@pytest.mark.usefixtures("factory")
def test_only_answers_carry_loss(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "llama-factory", PLAIN, student=student)
    rows = taught(tmp_path, monkeypatch)
    assert [loss for _, loss in rows] == [
        "They like it.<|im_end|>\n",
        "cat {sic}<|im_end|>\n",
        "They like it.<|im_end|>\nYes.<|im_end|>\nThey bark.<|im_end|>\n",
        "Because the air is still.<|im_end|>\n",
    ]
    assert rows[1][0].startswith("<|im_start|>system\nYou translate {well}.<|im_end|>\n<|im_start|>user\nTranslate.")


@pytest.mark.model
@pytest.mark.usefixtures("factory")
@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("vicuna", "You translate {well}. USER: Translate.\nInput:\nKatze ASSISTANT: cat {sic}<|im_end|>"),
        ("llama-3.1", LLAMA),
    ],
)
def test_its_own_templates_write_what_ours_do(
    student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str, text: str
) -> None:
    written(tmp_path, "llama-factory", PLAIN, student=student, template=template)
    rows = taught(tmp_path, monkeypatch)
    assert rows[1][0] == text


@pytest.mark.model
@pytest.mark.usefixtures("factory")
def test_alpaca_differs_by_a_line_break_only(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"instruction": "Translate.", "input": "Katze", "output": "cat"}]
    made = written(tmp_path, "llama-factory", rows, student=student, template="alpaca")
    ((text, loss),) = taught(tmp_path, monkeypatch)
    assert "paired with an input" in text
    assert text.endswith("### Instruction:\nTranslate.\n\n### Input:\nKatze\n\n### Response:\ncat<|im_end|>\n\n")
    assert loss.startswith("cat<|im_end|>")
    assert any("line break" in note for note in made.notes)
