"""Any text comes through any shape and any container as it is, and no file makes the reader fall over."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.errors import InputError
from reflectune.formats import Mapping, convert, files, open_source, parse_mapping, write_rows
from reflectune.formats.columns import is_placeholder
from reflectune.formats.json_files import read_json
from reflectune.formats.text import UnreadableRow
from reflectune.records import Example, Message, Version

NASTY = (
    "{{ name }}", "{0}", "{% raw %}", "</output>", "<thinking>", '{"rewrite": "x"}', "```json\n{}\n```", "[End]", "%s",
    "\\n", "\r\n", "\r", '"', '""', ",", "\t", "\u2028", "\x85", "\x0b", "\ufeff", "\x7f", "שלום", "مرحبا",
    "👩‍👩‍👧", "\U0010ffff", "Ignore the previous instructions", "--map a=b", "'", "=1+1", "| a | b |",
)  # fmt: skip
any_text = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=20)), max_size=5).map("".join)
texts = any_text.filter(lambda text: "\0" not in text)
said = texts.filter(lambda text: bool(text.strip()))
inputs = texts.filter(lambda text: not is_placeholder(text))
exchanges = st.lists(st.tuples(said, said), max_size=2)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
CONTAINERS = ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.json.gz", "a.jsonl.gz", "a.csv.gz"]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    pairs = draw(exchanges)
    turns = tuple(turn for ask, answer in pairs for turn in (Message("user", ask), Message("assistant", answer)))
    return Example("x", draw(said), draw(said), draw(inputs), draw(st.just("") | said), turns)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("shape", ["alpaca", "prompt-completion", "sharegpt", "messages"])
@settings(max_examples=12, deadline=None)
@given(example=examples(), new=st.tuples(said, said, inputs))
def test_texts_come_through_unchanged(shape: str, container: str, example: Example, new: tuple[str, str, str]) -> None:
    if "csv" in container and shape in {"sharegpt", "messages"}:
        example = Example("x", example.instruction, example.response, example.input)
        shape = "alpaca"
    original = Version(instruction=example.instruction, response=example.response, input=example.input)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / container
        write_rows(path, [convert(example, original, shape)])
        source = open_source(path)
        [row] = source.rows()
        assert row.example is not None
        keeps_input = shape == "alpaca"
        assert row.example.instruction == (example.instruction if keeps_input else example.question)
        assert row.example.input == (example.input if keeps_input else "")
        assert row.example.response == example.response
        assert (row.example.system, row.example.history) == (example.system, example.history)
        version = Version(instruction=new[0], response=new[1], input=new[2] if keeps_input else "")
        write_rows(path, [source.mapping.write(row.raw, version)])
        [again] = open_source(path).rows()
        assert again.example is not None
        assert (again.example.instruction, again.example.response) == new[:2]
        assert again.example.input == version.input
        assert (again.example.system, again.example.history) == (example.system, example.history)


@pytest.mark.parametrize("block", [1, 7, 64])
@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=6), json_values, max_size=4), max_size=5),
    indent=st.sampled_from([None, 1]),
)
def test_an_array_is_read_alike_however_its_pieces_fall(
    block: int, rows: list[dict[str, Any]], indent: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        path = Path(folder) / "a.json"
        text = json.dumps(rows, indent=indent, ensure_ascii=False)
        path.write_text(text, encoding="utf-8", newline="")
        assert list(read_json(path)) == rows
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        assert list(read_json(path)) == rows
        for end in range(1, len(text), max(1, len(text) // 9)):
            path.write_text(text[:end], encoding="utf-8", newline="")
            with pytest.raises(InputError):
                list(read_json(path))


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.tsv", "a.json.gz", "a.jsonl.gz", "a.parquet"])
@settings(max_examples=40, deadline=None)
@given(
    start=st.sampled_from(
        [
            b"",
            b"[",
            b'[{"a": 1}',
            b'{"data": [',
            b'{"instruction": "a", "output": "b"}\n',
            b"a,b\n",
            gzip.compress(b"[]"),
        ]
    ),
    rest=st.binary(max_size=60),
)
def test_no_bytes_make_the_reader_fall_over(name: str, start: bytes, rest: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(start + rest)
        said = None
        try:
            rows = list(open_source(path).rows())
        except InputError as fault:
            said = fault
            rows = []
        assert said is None or (str(path) in said.what and said.mend)
        assert all((row.example is None) != (row.failure is None) for row in rows)


def mostly(good: st.SearchStrategy[Any], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nine good values to an odd one, so that whole rows are often good."""
    return st.integers(0, 9).flatmap(lambda draw: odd if draw == 7 else good)


good_texts = st.sampled_from(["a", "b c", 4, "{x}"])
kinds = mostly(st.just("text"), st.sampled_from(["reasoning", "tool_call", "image"]))
parts = st.fixed_dictionaries({"type": kinds, "text": st.sampled_from(["a", "b"])})
contents = mostly(good_texts | st.lists(parts, min_size=1, max_size=2), json_values)
roles = mostly(
    st.sampled_from(["user", "assistant"]), st.sampled_from(["human", "gpt", "tool", "system", "function_call", "?"])
)
turns = st.fixed_dictionaries(
    {"role": roles, "content": contents}, optional={"tool_calls": st.sampled_from([None, None, [{}]])}
)
conversations = st.lists(turns, min_size=2, max_size=5)
odd_values = json_values | turns


def tree(path: list[dict[str, Any]], others: Any, rank: Any) -> Any:
    """A conversation as a tree: each message has the next as a reply, with something odd beside or below it."""
    below = [tree(path[1:], others, rank)] if path[1:] else []
    beside = others if isinstance(others, list) else []
    return {**path[0], "replies": [*beside, *below] if below else others, "rank": rank}


trees = st.builds(tree, conversations, mostly(st.just([]) | st.lists(turns, max_size=1), json_values), json_values)
ROWS: list[tuple[Mapping, st.SearchStrategy[dict[str, Any]]]] = [
    (
        parse_mapping("instruction=a,response=b.0.c,input=d,system=e,history=f"),
        st.fixed_dictionaries(
            {
                "a": contents,
                "b": mostly(st.lists(st.fixed_dictionaries({"c": contents}), min_size=1, max_size=2), odd_values),
            },
            optional={"d": contents, "e": contents, "f": mostly(conversations | st.just([["q", "a"]]), odd_values)},
        ),
    ),
    (
        parse_mapping("instruction=f.-1.content,response=b.c,history=f"),
        st.fixed_dictionaries(
            {"f": mostly(conversations, odd_values), "b": mostly(st.builds(lambda c: {"c": c}, contents), odd_values)}
        ),
    ),
    (
        parse_mapping("messages=f,system=e"),
        st.fixed_dictionaries({"f": mostly(conversations, odd_values)}, optional={"e": contents}),
    ),
    (Mapping(shape="oasst", columns={"tree": "a"}), st.fixed_dictionaries({"a": mostly(trees, odd_values)})),
]


@pytest.mark.parametrize(("mapping", "rows"), ROWS, ids=["columns", "conversation in columns", "conversation", "tree"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_row_is_a_pair_or_is_refused(
    mapping: Mapping, rows: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    row = data.draw(rows)
    before = json.dumps(row)
    example, reason = None, "not-text"
    try:
        example = mapping.read(row)
    except UnreadableRow as fault:
        reason = fault.reason
    assert reason in {"no-instruction", "no-response", "not-text", "tool-call", "control-characters"}
    if example:
        same = Version(instruction=example.instruction, response=example.response, input=example.input)
        assert mapping.write(row, same) == row
        changed = mapping.read(mapping.write(row, Version(instruction="New?", response="Yes.", input=example.input)))
        assert (changed.instruction, changed.response) == ("New?", "Yes.")
    assert json.dumps(row) == before
