"""Rows that the exports are tested with, and a small student that has the real tokenizer of SmolLM2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reflectune.exports import Exported, Order, export_for
from reflectune.formats import open_source
from reflectune.recipe import TrainSettings
from reflectune.student.weights import find_student

PLAIN = [
    {"instruction": "Why do cats purr?", "output": "They like it."},
    {"instruction": "Translate.", "input": "Katze", "output": "cat {sic}", "system": "You translate {well}."},
    {
        "instruction": "And dogs?",
        "output": "They bark.",
        "history": [["Why do cats purr?", "They like it."], ["Sure?", "Yes."]],
    },
    {"instruction": "Why do birds sing at dawn?", "output": "Because the air is still."},
]
THOUGHT = "<thinking>\n2 + 2 is 5.\n<reflection>\nNo: it is 4.\n</reflection>\n</thinking>\n<output>\n4\n</output>"
WRONG = THOUGHT.index("2 + 2"), THOUGHT.index("\n<reflection>")
TRACES = [
    {"instruction": "2 + 2?", "output": THOUGHT, "trace": {"mistakes": [list(WRONG)]}},
    {
        "instruction": "1 + 1?",
        "output": "<thinking>\n2.\n</thinking>\n<output>\n2\n</output>",
        "trace": {"mistakes": []},
    },
]


def written(folder: Path, tool: str, rows: list[dict[str, Any]], *, devices: int = 1, **settings: Any) -> Exported:
    """Rows written for a tool into `folder/tool`; by default nothing is held out and nothing is packed."""
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    chosen = TrainSettings(**{"held_out": "0", "packing": False, "student": "org/model", "batch": 8} | settings)
    return export_for(open_source(data), Order(tool, chosen, folder / tool, devices))


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def small_student(folder: Path, width: int = 16) -> Path:
    """A student of a few thousand weights with the tokenizer of the embedded model, as a folder of transformers.

    The tokens that Llama's format is made of are added to it.
    """
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(find_student("local").folder)
    tokenizer.add_tokens(["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], special_tokens=True)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
