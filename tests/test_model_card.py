"""The model card of a trained student."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest
import yaml

from reflectune.recipe.train import TrainSettings
from reflectune.training.card import model_card
from reflectune.training.facts import Facts, Figures

FULL = Facts(
    name="my-student",
    base="HuggingFaceTB/SmolLM2-135M-Instruct",
    settings=TrainSettings(learning_rate=1e-4, gguf="q8_0"),
    data="selected.jsonl",
    data_sha256="ab" * 32,
    rows=900,
    held_out=20,
    dropped={"too-long": 7},
    template="chat",
    template_hash="12ab",
    figures=Figures(steps=30, held_out_before=2.0, held_out_after=1.5, tokens=5000, tokens_per_second=123.4),
    seconds=90.0,
    devices=("2 CPU cores",),
    versions={"reflectune": "0.1.0", "torch": "2.13.0"},
    gguf="my-student.q8_0.gguf",
)


def parts(facts: Facts) -> tuple[dict[str, Any], str]:
    """The front matter and the text."""
    _, front, text = model_card(facts).split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_front_matter_is_what_the_hub_reads() -> None:
    front, _ = parts(FULL)
    assert front == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["reflection-tuning", "instruction-tuning", "sft", "reflectune", "gguf"],
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"license": "apache-2.0"}, {"license": "apache-2.0"}),
        ({"license": "Llama 3: yes"}, {"license": "other", "license_name": "Llama 3: yes"}),
        ({"dataset": "org/data"}, {"datasets": ["org/data"]}),
        ({"adapters": True}, {"library_name": "peft"}),
    ],
)
def test_what_is_stated_is_there(values: dict[str, Any], expected: dict[str, Any]) -> None:
    front, text = parts(FULL.model_copy(update=values))
    assert expected.items() <= front.items()
    assert values.get("license", "not stated") in text


def test_a_base_model_that_is_no_hub_id_is_not_claimed() -> None:
    assert "base_model" not in parts(FULL.model_copy(update={"base": "my-folder"}))[0]


def test_it_says_what_was_done() -> None:
    text = model_card(FULL)
    for line in (
        "HuggingFaceTB/SmolLM2-135M-Instruct, fine-tuned on selected.jsonl: all weights.",
        f"selected.jsonl, SHA-256 `{'ab' * 32}`.",
        "| learnt from | 900 |",
        "| left out: too-long | 7 |",
        "| held-out loss | 2.000 → 1.500 |",
        "| tokens with loss a second | 123 |",
        "| time | 1 min 30 s |",
        "| learning rate | 0.0001 |",
        "| gguf | q8\\_0 |",
        "| AlpacaEval 2, length-controlled win rate | not run |",
        "- 2 CPU cores",
        "- reflectune 0.1.0, torch 2.13.0",
        "It was trained with the prompt template chat (hash `12ab`), which is saved with its tokenizer:",
        'llama-cli --model my-student.q8_0.gguf --jinja --single-turn --prompt "Name three healthy foods."',
    ):
        assert line in text.splitlines(), line
    assert not re.search(r"\d\d:\d\d|\d{4}-\d\d", text), "a card carries no clock time"


@pytest.mark.parametrize("adapters", [False, True])
def test_the_program_is_python(adapters: bool) -> None:
    settings = TrainSettings(method="lora")
    text = model_card(FULL.model_copy(update={"adapters": adapters, "settings": settings, "gguf": None}))
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert program
    ast.parse(program[1])
    assert ("AutoPeftModelForCausalLM.from_pretrained(folder)" in program[1]) is adapters
    assert ("adapters, which this folder holds alone." in text) is adapters
    assert ("adapters, merged into the model." in text) is not adapters
    assert "llama-cli" not in text


def test_traces_are_explained() -> None:
    assert "<output>" not in model_card(FULL)
    reflecting = FULL.model_copy(update={"settings": TrainSettings(reflection=True)})
    assert "`<output>` holds." in model_card(reflecting)
    assert "reflection" in parts(reflecting)[0]["tags"]


def test_text_of_others_stays_text() -> None:
    evil = "a|b\n# c *d* <b>`e`</b> [f](g) &lt;"
    values = {"name": evil, "base": evil, "data": evil, "license": evil, "template": evil, "template_hash": evil}
    more = {
        "gguf": evil,
        "dropped": {evil: 1},
        "devices": (evil,),
        "versions": {evil: evil},
        "evaluation": {evil: evil},
    }
    front, text = parts(FULL.model_copy(update={**values, **more, "data_sha256": evil, "dataset": evil}))
    assert front["license_name"] == front["datasets"][0] == evil
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    assert "<b>" not in outside
    assert r"a\|b \# c \*d\* \<b\>\`e\`\</b\> \[f\](g) \&lt;" in outside
    assert [line for line in outside.splitlines() if line.startswith("# ")][1:] == []
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert program
    ast.parse(program[1])


def test_little_is_said_where_little_is_known() -> None:
    text = model_card(Facts(name="s", base="b", settings=TrainSettings(), data="d", rows=1, template="t"))
    assert text.endswith("## Made with\n\n- reflectune\n")
    assert "d.\n" in text
    assert "hash" not in text
