"""The whole way on real rows: train the embedded model, export it, and have it answer in the embedded runtime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reflectune.cli import app
from reflectune.oracles.naming import open_oracle
from reflectune.records import Message, Request, Sampling

pytestmark = pytest.mark.model


async def test_the_embedded_model_learns_from_real_rows_and_answers(tmp_path: Path, data: Path) -> None:
    cherry = str(data / "instruct" / "cherry_alpaca_5_percent.json")
    flags = ("--recipe", "smoke", "--limit", "20", "--held-out", "4", "--batch", "4", "--max-length", "160")
    output = ("--output", str(tmp_path / "out"), "--gguf", "q8_0", "--json")
    done = CliRunner().invoke(app, ["train", cherry, *flags, *output])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["rows"], summary["held_out"], summary["steps"]) == (16, 4, 4)
    assert summary["held_out_after"] < summary["held_out_before"] - 0.01
    for name in (
        "adapter_model.safetensors",
        "README.md",
        "report.html",
        "train.yaml",
        "curves.jsonl",
        "dropped.jsonl",
    ):
        assert (tmp_path / "out" / name).is_file(), name
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").replace("\\", "")
    assert "cherry_alpaca_5_percent.json" in card
    oracle = open_oracle(f"local:{tmp_path / 'out' / 'student.gguf'}")
    try:
        asked = Request((Message("user", "What is the capital of France?"),), Sampling(temperature=0, max_tokens=40))
        reply = await oracle.complete(asked)
    finally:
        await oracle.aclose()
    assert "Paris" in reply.text
