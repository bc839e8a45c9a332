"""Real data sets: every row is a pair or a failure with its reason, and every row can be written back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reflectune.errors import InputError
from reflectune.formats import open_source, parse_mapping
from reflectune.records import Version


class Expected(NamedTuple):
    """What is known of a file, counted by other means than the reader."""

    rows: int
    shape: str = "alpaca"
    failures: dict[str, int] = {}  # noqa: RUF012
    inputs: int = 0
    systems: int = 0
    histories: int = 0
    mapping: str | None = None


DPO = "instruction=conversations.-1.value,response=chosen.value,history=conversations"
FILES = {
    "instruct/alpaca_en_demo.json": Expected(999, inputs=404),
    "instruct/alpaca_random_first3000.json": Expected(3_000, failures={"no-response": 1}, inputs=1_151),
    "instruct/alpaca_zh_demo.json": Expected(1_000, inputs=139),
    "instruct/alpaca_zh_part00_first2000.json": Expected(2_000, failures={"no-response": 4}, inputs=853),
    "instruct/belle_zh_seed_tasks.json": Expected(175, "seed-tasks", inputs=126),
    "instruct/cherry_alpaca_5_percent.json": Expected(3_111, inputs=518),
    "instruct/cherry_alpaca_5_percent_compressed.json": Expected(3_111),
    "instruct/dolly_3k_first1000.json": Expected(1_000, inputs=131),
    "instruct/dpo_en_demo_first100.json": Expected(100, "mapped", systems=29, histories=37, mapping=DPO),
    "instruct/oumi_alpaca_format.json": Expected(2, inputs=1),
    "instruct/oumi_alpaca_format.jsonl": Expected(2, inputs=1),
    "instruct/seed_tasks.jsonl": Expected(175, "seed-tasks", inputs=125),
    "multiturn/fastchat_dummy_conversation.json": Expected(500, "sharegpt", histories=333),
    "multiturn/glaive_toolcall_en_demo.json": Expected(300, "sharegpt", {"tool-call": 101}, histories=160),
    "multiturn/oasst_en_tree_first50.jsonl": Expected(50, "oasst", histories=19),
    "multiturn/reason_tool_use_demo_50.jsonl": Expected(50, "messages", {"tool-call": 31}, systems=19),
    "multiturn/tinker_conversations.jsonl": Expected(128, "messages", systems=25),
    "multiturn/v1_sft_demo.jsonl": Expected(500, "messages"),
    "parquet/reasoning_dataset.parquet": Expected(5, "mapped", mapping="instruction=question,response=solution"),
}


def is_there(data: Path, name: str) -> Path:
    path = data / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_a_pair_or_a_failure(data: Path, name: str) -> None:
    expected = FILES[name]
    source = open_source(is_there(data, name), mapping=parse_mapping(expected.mapping) if expected.mapping else None)
    rows = list(source.rows())
    examples = [row.example for row in rows if row.example]
    assert source.mapping.shape == expected.shape
    assert [row.number for row in rows] == list(range(1, expected.rows + 1))
    assert Counter(row.failure.reason for row in rows if row.failure) == expected.failures
    assert len(examples) == expected.rows - sum(expected.failures.values())
    assert sum(bool(example.input.strip()) for example in examples) == expected.inputs
    assert sum(bool(example.system) for example in examples) == expected.systems
    assert sum(bool(example.history) for example in examples) == expected.histories
    names = [(row.example or row.failure).id for row in rows]  # type: ignore[union-attr]
    assert len(set(names)) == expected.rows
    assert names == [(row.example or row.failure).id for row in source.rows()]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FILES)
def test_every_pair_can_be_written_back(data: Path, name: str) -> None:
    expected = FILES[name]
    source = open_source(is_there(data, name), mapping=parse_mapping(expected.mapping) if expected.mapping else None)
    for row in source.rows():
        if not (example := row.example):
            continue
        same = Version(instruction=example.instruction, response=example.response, input=example.input)
        written = source.mapping.write(row.raw, same)
        assert written == row.raw
        assert list(written) == list(row.raw)
        before = repr(row.raw)
        new = source.mapping.read(source.mapping.write(row.raw, Version(instruction="New?", response="Yes.")))
        assert (new.instruction, new.response, new.input) == ("New?", "Yes.", "")
        assert (new.system, new.history) == (example.system, example.history)
        assert repr(row.raw) == before


def test_the_best_ranked_replies_are_read(data: Path) -> None:
    def best(node: dict[str, Any]) -> list[dict[str, Any]]:
        ranked = sorted(node["replies"], key=lambda reply: reply.get("rank", 99))
        return [node, *best(ranked[0])] if ranked else [node]

    for row in open_source(is_there(data, "multiturn/oasst_en_tree_first50.jsonl")).rows():
        path = best(row.raw["prompt"])
        answers = [node["text"] for node in path if node["role"] == "assistant"]
        assert row.example is not None
        assert row.example.response == answers[-1]
        assert row.example.id == row.raw["message_tree_id"]
        assert len(row.example.history) == 2 * (len(answers) - 1)


def test_the_tool_turns_of_earlier_exchanges_are_context(data: Path) -> None:
    rows = open_source(is_there(data, "multiturn/glaive_toolcall_en_demo.json")).rows()
    with_tools = [row for row in rows if row.example and any(turn.role == "tool" for turn in row.example.history)]
    assert len(with_tools) == 52
    for row in with_tools:
        assert row.example is not None
        assert [turn["value"] for turn in row.raw["conversations"][:-2]] == [t.content for t in row.example.history]


def test_preference_data_says_how_to_be_read(data: Path) -> None:
    with pytest.raises(InputError, match="chosen and rejected") as caught:
        open_source(is_there(data, "instruct/dpo_en_demo_first100.json"))
    assert f"--map {DPO}" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        (
            "instruct/WizardLM_testset.jsonl",
            "no response column among its columns: 'idx', 'Skill', 'Difficulty', 'Instruction'",
        ),
        ("parquet/dataset.parquet", "among its columns: 'dish'"),
        ("parquet/reasoning_dataset.parquet", "no response column among its columns: 'solution', 'question'"),
    ],
)
def test_a_file_without_responses_says_so(data: Path, name: str, columns: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(is_there(data, name))
    assert columns in caught.value.what
    assert "--map instruction=" in caught.value.mend
