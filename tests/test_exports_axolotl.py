"""What is written for axolotl: against its documented schema, and by its own loader where it is installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from export_rows import PLAIN, THOUGHT, TRACES, WRONG, read, small_student, written
from reflectune.errors import SettingsError
from reflectune.exports.axolotl import detail

# axolotl 0.19: utils/schemas/{config,datasets,peft,training}.py.
KEYS = {
    *("base_model", "output_dir", "sequence_len", "excess_length_strategy", "sample_packing", "eval_sample_packing"),
    *("pad_to_sequence_len", "attn_implementation", "num_epochs", "max_steps", "micro_batch_size", "optimizer"),
    *("gradient_accumulation_steps", "learning_rate", "lr_scheduler", "warmup_ratio", "weight_decay", "max_grad_norm"),
    *("bf16", "gradient_checkpointing", "gradient_checkpointing_kwargs", "eval_steps", "save_steps", "seed"),
    *("save_total_limit", "deepspeed", "datasets", "test_datasets", "val_set_size", "chat_template", "eot_tokens"),
    *("chat_template_jinja", "train_on_inputs", "dataset_prepared_path", "adapter", "load_in_4bit", "lora_r"),
    *("lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_linear", "use_wandb", "use_tensorboard"),
}
DATASET = {
    *("path", "ds_type", "type", "split", "chat_template", "chat_template_jinja", "field_messages", "roles_to_train"),
    *("message_property_mappings", "message_field_training_detail", "train_on_eos"),
}


def config(folder: Path) -> dict[str, Any]:
    values = yaml.safe_load((folder / "axolotl" / "config.yml").read_text())
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "lora", "scheduler": "constant", "template": "llama-3.1", "overlong": "drop"},
        {"method": "qlora", "packing": True, "batch": 4_096, "held_out": "1", "report_to": ("wandb", "tensorboard")},
        {"max_steps": 10, "gradient_checkpointing": False, "template": "alpaca"},
    ],
)
def test_the_configuration_keeps_to_the_schema(tmp_path: Path, settings: dict[str, Any]) -> None:
    written(tmp_path, "axolotl", PLAIN, **settings)
    values = config(tmp_path)
    assert not values.keys() - KEYS
    for dataset in (*values["datasets"], *values.get("test_datasets", ())):
        assert not dataset.keys() - DATASET
        assert (tmp_path / "axolotl" / dataset["path"]).is_file()
    assert values["excess_length_strategy"] in {"drop", "truncate", "raise"}
    assert values.get("adapter") in {None, "lora", "qlora"}
    assert ("test_datasets" in values) == ("held_out" in settings)


def test_every_setting_reaches_axolotl(tmp_path: Path) -> None:
    (tmp_path / "zero.json").write_text("{}")
    made = written(
        tmp_path,
        "axolotl",
        PLAIN * 600,
        devices=4,
        method="qlora",
        max_length=512,
        packing=True,
        batch=512,
        lora_targets=("q_proj",),
        scheduler="constant",
        warmup=0.1,
        precision="bfloat16",
        deepspeed=tmp_path / "zero.json",
    )
    values = config(tmp_path)
    assert (values["adapter"], values["load_in_4bit"], values["lora_target_modules"]) == ("qlora", True, ["q_proj"])
    assert (values["sequence_len"], values["lr_scheduler"], values["warmup_ratio"]) == (
        512,
        "constant_with_warmup",
        0.1,
    )
    assert (values["sample_packing"], values["bf16"], values["deepspeed"]) == (True, True, "deepspeed.json")
    packs = values["micro_batch_size"] * values["gradient_accumulation_steps"] * 4
    assert any(f"{packs} packs to a step stand for its 512 rows" in note for note in made.notes)


def test_mistakes_carry_no_loss(tmp_path: Path) -> None:
    written(tmp_path, "axolotl", TRACES, reflection=True, loss="mistake-masked")
    rows = read(tmp_path / "axolotl" / "train.jsonl")
    pieces = rows[0]["messages"][-1]["training_detail"]
    silent = "".join(THOUGHT[piece["begin_offset"] : piece["end_offset"] + 1] for piece in pieces if not piece["train"])
    assert silent == "2 + 2 is 5."
    assert [piece["train"] for piece in rows[1]["messages"][-1]["training_detail"]] == [True]
    assert config(tmp_path)["datasets"][0]["message_field_training_detail"] == "training_detail"


def test_loss_after_the_reflection(tmp_path: Path) -> None:
    written(tmp_path, "axolotl", TRACES, reflection=True, loss="after-reflection")
    pieces = read(tmp_path / "axolotl" / "train.jsonl")[0]["messages"][-1]["training_detail"]
    assert [piece["train"] for piece in pieces] == [False, True]
    assert THOUGHT[: pieces[1]["begin_offset"]].rstrip().endswith("<reflection>")


def test_pieces_cover_an_answer_once() -> None:
    pieces = detail(20, ((3, 5), (4, 9), (18, 20)))
    assert [(piece["begin_offset"], piece["end_offset"], piece["train"]) for piece in pieces] == [
        (0, 2, True),
        (3, 4, False),
        (5, 8, False),
        (9, 17, True),
        (18, 19, False),
    ]


def test_masks_need_a_chat_template(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs a chat template"):
        written(tmp_path, "axolotl", TRACES, reflection=True, template="vicuna")
    made = written(tmp_path, "axolotl", TRACES, reflection=True, loss="whole")
    assert any("it is learnt too" in note for note in made.notes)


@pytest.fixture
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("axolotl.utils.config", reason="axolotl is not installed")
    return str(small_student(tmp_path_factory.mktemp("student")))


def taught(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What axolotl makes of the data: each row as text, and the part that carries loss."""
    from axolotl.prompt_strategies import load
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from datasets import load_dataset
    from transformers import AutoTokenizer

    monkeypatch.chdir(folder / "axolotl")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked = validate_config(DictDefault(config(folder)))
        dataset = checked.datasets[0]
        tokenizer = AutoTokenizer.from_pretrained(checked.base_model)
        named = isinstance(dataset.type, str)
        strategy = (
            load(dataset.type, tokenizer, checked, dataset)
            if named
            else (load("user_defined", tokenizer, checked, dataset.type.to_dict()))
        )
        rows = load_dataset("json", data_files=dataset.path, split="train", cache_dir=str(folder / "cache"))
        made = [strategy.tokenize_prompt(row) for row in rows]
    spell = tokenizer.decode
    return [(spell(row["input_ids"]), spell([label for label in row["labels"] if label != -100])) for row in made]


@pytest.mark.model
def test_only_answers_carry_loss(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "axolotl", PLAIN, student=student)
    rows = taught(tmp_path, monkeypatch)
    assert [loss for _, loss in rows] == [
        "They like it.<|im_end|>",
        "cat {sic}<|im_end|>",
        "They like it.<|im_end|>Yes.<|im_end|>They bark.<|im_end|>",
        "Because the air is still.<|im_end|>",
    ]


@pytest.mark.model
def test_a_text_template_is_written_out(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "axolotl", PLAIN, student=student, template="vicuna")
    rows = taught(tmp_path, monkeypatch)
    assert rows[1][0] == "You translate {well}. USER: Translate.\nInput:\nKatze ASSISTANT: cat {sic}<|im_end|>"
    assert rows[1][1] == " cat {sic}<|im_end|>"


@pytest.mark.model
def test_llama_is_written_beside_the_data(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "axolotl", PLAIN[:1], student=student, template="llama-3.1")
    ((text, loss),) = taught(tmp_path, monkeypatch)
    assert "<|start_header_id|>user<|end_header_id|>\n\nWhy do cats purr?<|eot_id|>" in text
    assert loss == "They like it.<|eot_id|>"


@pytest.mark.model
def test_it_leaves_the_mistake_without_loss(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "axolotl", TRACES, student=student, reflection=True)
    rows = taught(tmp_path, monkeypatch)
    assert rows[0][1] == THOUGHT[: WRONG[0]] + THOUGHT[WRONG[1] :] + "<|im_end|>"
    assert rows[1][1].startswith("<thinking>\n2.")
