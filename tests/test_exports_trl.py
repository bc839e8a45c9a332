"""What is written for TRL, read by TRL itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_rows import PLAIN, TRACES, read, small_student, written
from reflectune.errors import SettingsError

trl = pytest.importorskip("trl")
pytest.importorskip("datasets")


def parsed(folder: Path) -> Any:
    """The arguments that `trl sft --config config.yaml` makes of the file; an unknown key is an error."""
    from trl.scripts.utils import DatasetMixtureConfig

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = (trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig, DatasetMixtureConfig)
        return trl.TrlParser(kinds).parse_args_and_config(["--config", str(folder / "config.yaml"), "--use_cpu"])


def taught(folder: Path, monkeypatch: pytest.MonkeyPatch, split: str = "train") -> list[tuple[str, str]]:
    """What TRL makes of the data: each row as text, and the part that carries loss."""
    from datasets import load_dataset

    monkeypatch.chdir(folder)
    script, settings, model, _ = parsed(folder)
    settings.report_to, settings.gradient_checkpointing = [], False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = load_dataset(script.dataset_name, cache_dir=str(folder / "cache"))
        trainer = trl.SFTTrainer(
            model=model.model_name_or_path,
            args=settings,
            train_dataset=data[script.dataset_train_split],
            eval_dataset=data[script.dataset_test_split] if settings.eval_strategy != "no" else None,
            peft_config=trl.get_peft_config(model),
        )
    spell = trainer.processing_class.decode
    rows = trainer.train_dataset if split == "train" else trainer.eval_dataset
    return [(spell(row["input_ids"]), spell([label for label in row["labels"] if label != -100])) for row in rows]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_student(tmp_path_factory.mktemp("student")))


@pytest.mark.model
def test_only_answers_carry_loss_in_a_chat(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "trl", PLAIN, student=student)
    rows = taught(tmp_path / "trl", monkeypatch)
    assert [loss for _, loss in rows] == [
        f"{answer}<|im_end|>\n"
        for answer in ("They like it.", "cat {sic}", "They like it.", "Yes.", "They bark.", "Because the air is still.")
    ]
    assert "system\nYou translate {well}.<|im_end|>\n<|im_start|>user\nTranslate.\n\nKatze<|im_end|>" in rows[1][0]
    assert rows[4][0].count("<|im_start|>assistant\n") == 3


@pytest.mark.model
def test_a_text_template_is_written_out(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = written(tmp_path, "trl", PLAIN, student=student, template="vicuna", method="lora", held_out="1", seed=1)
    rows = taught(tmp_path / "trl", monkeypatch) + taught(tmp_path / "trl", monkeypatch, "test")
    assert sorted(loss for _, loss in rows) == [
        f" {answer}<|im_end|>" for answer in ("Because the air is still.", "They like it.", "cat {sic}")
    ]
    assert "You translate {well}. USER: Translate.\nInput:\nKatze ASSISTANT: cat {sic}<|im_end|>" in {
        text for text, _ in rows
    }
    assert [one.reason for one in made.left_out] == ["template"]
    assert "row 3" in made.left_out[0].detail


@pytest.mark.model
def test_llama_is_written_beside_the_data(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "trl", PLAIN[:1], student=student, template="llama-3.1")
    ((text, loss),) = taught(tmp_path / "trl", monkeypatch)
    assert text.endswith("<|start_header_id|>assistant<|end_header_id|>\n\nThey like it.<|eot_id|>")
    assert loss.lstrip() == "They like it.<|eot_id|>"  # this tokenizer, unlike Llama's, joins the line breaks before


def test_every_setting_reaches_trl(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text("{}")
    made = written(
        tmp_path,
        "trl",
        PLAIN * 600,
        devices=4,
        student="hf:org/model",
        method="qlora",
        max_length=512,
        epochs=2,
        batch=256,
        batch_tokens=2_048,
        learning_rate=2e-5,
        scheduler="constant",
        warmup=0.1,
        weight_decay=0.01,
        max_grad_norm=0.3,
        lora_rank=8,
        lora_dropout=0.1,
        lora_targets=("q_proj", "v_proj"),
        precision="bfloat16",
        held_out="2%",
        evaluations=4,
        checkpoints=1,
        keep_checkpoints=3,
        seed=7,
    )
    script, settings, model, _ = parsed(tmp_path / "trl")
    assert (script.dataset_name, script.dataset_test_split) == ("./data", "test")
    assert (model.model_name_or_path, model.dtype, model.attn_implementation) == ("org/model", "bfloat16", None)
    assert (model.load_in_4bit, model.lora_r, model.lora_alpha, model.lora_dropout) == (True, 8, 16, 0.1)
    assert model.lora_target_modules == ["q_proj", "v_proj"]
    assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps * 4 == 256
    assert settings.per_device_train_batch_size == 4
    assert (settings.learning_rate, str(settings.lr_scheduler_type.value)) == (2e-5, "constant_with_warmup")
    assert (settings.max_length, settings.num_train_epochs, settings.seed) == (512, 2, 7)
    assert (settings.weight_decay, settings.max_grad_norm, settings.bf16) == (0.01, 0.3, True)
    assert settings.completion_only_loss is True
    assert (settings.eval_steps, settings.save_steps, settings.save_total_limit) == (0.25, 0.999999, 3)
    assert settings.warmup_steps == 2
    assert settings.packing is False
    assert made.command.startswith("accelerate launch --num_processes 4")
    assert (made.rows, made.held_out) == (2_352, 48)


def test_packs_stand_for_rows(tmp_path: Path) -> None:
    long = [row | {"output": "word " * 300} for row in PLAIN]
    made = written(tmp_path, "trl", long, packing=True, batch=128, devices=8)
    _, settings, model, _ = parsed(tmp_path / "trl")
    assert (settings.packing, settings.packing_strategy) == (True, "bfd")
    assert model.attn_implementation == "flash_attention_2"
    assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps == 3
    assert "24 packs to a step stand for its 128 rows" in " ".join(made.notes)


def test_what_trl_cannot_mask_is_refused_or_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="row 1 first"):
        written(tmp_path, "trl", TRACES, reflection=True)
    made = written(tmp_path, "trl", TRACES, reflection=True, loss="whole")
    assert "with `loss: whole` it is learnt too" in (tmp_path / "trl" / "README.md").read_text()
    assert made.notes
    assert yaml.safe_load((tmp_path / "trl" / "config.yaml").read_text())["max_length"] == 2_048
    assert len(read(tmp_path / "trl" / "data" / "train.jsonl")) == 2
