"""Opening a data set: its container, its shape, its ids, its failures."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from reflectune.errors import InputError, MissingExtraError, SettingsError
from reflectune.formats import Mapping, Row, convert, open_source, parse_mapping, write_rows
from reflectune.records import Example, Message, Version

PAIR = {"instruction": "Name a fruit.", "output": "An apple."}


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, mapping: str | None = None) -> list[Row]:
    return list(open_source(path, mapping=parse_mapping(mapping) if mapping else None).rows())


def only(tmp_path: Path, row: dict[str, Any], mapping: str | None = None) -> Row:
    [found] = read(put(tmp_path / "data.jsonl", row), mapping)
    return found


def turns(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


@pytest.mark.parametrize(
    ("row", "described"),
    [
        (
            {"instruction": "a", "input": "i", "output": "b"},
            "alpaca: instruction <- instruction, input <- input, response <- output",
        ),
        (
            {"Instruction": "a", "Context": "i", "Response": "b", "category": "c"},
            "alpaca: instruction <- Instruction, input <- Context, response <- Response",
        ),
        (
            {"instruction": "a", "output": "b", "system": "s", "history": []},
            "alpaca: instruction <- instruction, response <- output, system <- system, history <- history",
        ),
        ({"prompt": "a", "completion": "b"}, "prompt-completion: instruction <- prompt, response <- completion"),
        ({"prompt": "a", "response": "b"}, "prompt-completion: instruction <- prompt, response <- response"),
        ({"question": "a", "answer": "b"}, "prompt-completion: instruction <- question, response <- answer"),
        ({"query": "a", "response": "b"}, "prompt-completion: instruction <- query, response <- response"),
        ({"input": "a", "output": "b"}, "prompt-completion: instruction <- input, response <- output"),
        (
            {"instruction": "a", "output": "b", "prompt": "rendered"},
            "alpaca: instruction <- instruction, response <- output",
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}], "system": "s"},
            "sharegpt: the last exchange of conversations, earlier turns as history, system <- system",
        ),
        (turns(("user", "a")), "messages: the last exchange of messages, earlier turns as history"),
        (
            {"instruction": "a", "instances": [{"input": "", "output": "b"}]},
            "seed-tasks: instruction <- instruction, input <- instances.0.input, response <- instances.0.output",
        ),
        (
            {"prompt": {"text": "a", "role": "prompter", "replies": []}},
            "oasst: the last exchange on the best-ranked path of prompt, earlier turns as history",
        ),
    ],
)
def test_a_shape_is_detected_and_described(tmp_path: Path, row: dict[str, Any], described: str) -> None:
    assert open_source(put(tmp_path / "data.jsonl", row)).describe() == described


def test_a_mapping_survives_json(tmp_path: Path) -> None:
    mapping = open_source(put(tmp_path / "data.jsonl", PAIR)).mapping
    assert Mapping.model_validate_json(mapping.model_dump_json()) == mapping


@pytest.mark.parametrize(
    "placeholder", ["<noinput>", "No input.", "`<noinput>`", r"\<noinput\>", "Noinput", "&lt;无输入&gt;", "无输入"]
)
def test_a_placeholder_is_no_input_and_stays_in_the_row(tmp_path: Path, placeholder: str) -> None:
    source = open_source(put(tmp_path / "data.jsonl", {**PAIR, "input": placeholder}))
    [row] = source.rows()
    assert row.example is not None
    assert row.example.input == ""
    written = source.mapping.write(row.raw, Version(instruction="New.", response="Newer."))
    assert written == {"instruction": "New.", "output": "Newer.", "input": placeholder}


@pytest.mark.parametrize("text", ["Na", "None of these animals bark", "Noinput is what he said", "no"])
def test_a_real_input_is_not_taken_for_a_placeholder(tmp_path: Path, text: str) -> None:
    example = only(tmp_path, {**PAIR, "input": text}).example
    assert example is not None
    assert example.input == text


def test_the_last_exchange_is_the_pair_and_the_rest_is_context(tmp_path: Path) -> None:
    raw = turns(
        ("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"), ("user", "bye")
    )
    source = open_source(put(tmp_path / "data.jsonl", raw))
    [row] = source.rows()
    assert row.example == Example(
        id=row.example.id if row.example else "",
        instruction="q2",
        response="a2",
        system="s",
        history=(Message("user", "q1"), Message("assistant", "a1")),
    )
    written = source.mapping.write(raw, Version(instruction="Q", response="A"))
    texts = [turn["content"] for turn in written["messages"]]
    assert texts == ["s", "q1", "a1", "Q", "A", "bye"]
    assert raw["messages"][3]["content"] == "q2"


def test_tool_turns_before_the_pair_are_context(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "time", "arguments": "{}"}}]}
    raw = turns(("user", "q1"), ("tool", "noon"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"))
    raw["messages"].insert(1, call)
    example = only(tmp_path, raw).example
    assert example is not None
    assert [turn.role for turn in example.history] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(example.history[1].content) == call["tool_calls"]


def test_the_best_ranked_path_of_a_tree_is_read(tmp_path: Path) -> None:
    def node(role: str, text: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"role": role, "text": text, "replies": list(replies), **more}

    best = node("assistant", "best", node("prompter", "and?", node("assistant", "more", rank=None)), rank=0)
    deleted = node("assistant", "gone", rank=-1, deleted=True)
    raw = {
        "prompt": node(
            "prompter", "q", node("assistant", "unranked"), node("assistant", "worse", rank=1), deleted, best
        )
    }
    source = open_source(put(tmp_path / "data.jsonl", raw))
    [row] = source.rows()
    assert row.example is not None
    assert (row.example.instruction, row.example.response) == ("and?", "more")
    assert row.example.history == (Message("user", "q"), Message("assistant", "best"))
    written = source.mapping.write(raw, Version(instruction="Q", response="A"))
    assert written["prompt"]["replies"][3]["replies"][0]["text"] == "Q"
    assert written["prompt"]["replies"][3]["replies"][0]["replies"][0]["text"] == "A"


def test_content_parts_survive_a_rewrite(tmp_path: Path) -> None:
    think = {"type": "reasoning", "value": "hm"}
    raw = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q", "cache": 1}, {"type": "text", "text": "r"}]},
            {"role": "assistant", "content": [think, {"type": "text", "value": "a"}], "loss_weight": 1.0},
        ]
    }
    source = open_source(put(tmp_path / "data.jsonl", raw))
    [row] = source.rows()
    assert row.example is not None
    assert (row.example.instruction, row.example.response) == ("q\nr", "a")
    written = source.mapping.write(raw, Version(instruction="Q", response="A"))
    assert written["messages"][0]["content"] == [{"type": "text", "text": "Q", "cache": 1}]
    assert written["messages"][1] == {
        "role": "assistant",
        "content": [think, {"type": "text", "value": "A"}],
        "loss_weight": 1.0,
    }


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a", "output": " \n"}, "no-response"),
        ({"instruction": "a", "output": None}, "no-response"),
        ({"instruction": "a"}, "no-response"),
        ({"instruction": "a", "output": float("nan")}, "no-response"),
        ({"instruction": " ", "output": "b"}, "no-instruction"),
        ({"output": "b"}, "no-instruction"),
        ({"instruction": {"text": "a"}, "output": "b"}, "not-text"),
        ({"instruction": "a", "output": True}, "not-text"),
        ({"instruction": "a", "output": ["b"]}, "not-text"),
        ({"instruction": "a", "output": "\ud83d"}, "not-text"),
        ({"instruction": "a", "output": "b\0"}, "control-characters"),
        ({"instruction": "a", "output": "b", "history": "none"}, "not-text"),
        ({"instruction": "a", "output": "b", "history": [["only one"]]}, "not-text"),
    ],
)
def test_a_bad_row_is_a_failure_with_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    good, bad = read(put(tmp_path / "data.jsonl", {**PAIR, "history": []}, row))
    assert good.failure is None
    assert bad.example is None
    assert bad.failure is not None
    assert (bad.failure.stage, bad.failure.reason) == ("read", reason)
    assert bad.failure.detail.startswith("row 2: ")
    assert bad.failure.raw == json.dumps(row)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (turns(("user", "q")), "no-response"),
        (turns(("user", "q"), ("assistant", "")), "no-response"),
        (turns(("assistant", "a")), "no-instruction"),
        (turns(("user", "q"), ("tool", "t"), ("assistant", "a")), "tool-call"),
        (turns(("user", "q"), ("alien", "a")), "not-text"),
        ({"messages": [{"content": "q"}]}, "not-text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "not-text"),
        ({"messages": "q"}, "not-text"),
        ({"messages": []}, "no-instruction"),
        ({}, "not-text"),
    ],
)
def test_a_bad_conversation_is_a_failure_with_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    good, bad = read(put(tmp_path / "data.jsonl", turns(("user", "q"), ("assistant", "a")), row))
    assert good.failure is None
    assert bad.failure is not None
    assert bad.failure.reason == reason


def test_the_raw_row_of_a_failure_is_short(tmp_path: Path) -> None:
    failure = only(tmp_path, {"instruction": "x" * 1_000_000, "output": ""}).failure
    assert failure is not None
    assert failure.raw is not None
    assert len(failure.raw) < 2_100
    assert failure.raw.endswith("characters)")


def test_a_row_without_a_pair_cannot_be_written() -> None:
    mapping = parse_mapping("instruction=a,response=b")
    with pytest.raises(InputError, match="b is missing or blank"):
        mapping.write({"a": "x"}, Version(instruction="i", response="r"))


def test_ids_are_the_rows_own_or_their_content(tmp_path: Path) -> None:
    rows = [PAIR, {**PAIR, "n": 2}, {**PAIR, "output": "A pear."}, PAIR, {**PAIR, "id": "own"}, {**PAIR, "id": 7}]
    bad = [{"instruction": "x", "output": ""}] * 2
    path = put(tmp_path / "data.jsonl", *rows, *bad)
    names = [(row.example or row.failure).id for row in read(path)]  # type: ignore[union-attr]
    first = Example(id="", instruction=PAIR["instruction"], response=PAIR["output"]).content_hash()[:16]
    assert names[:2] == [first, f"{first}-2"]
    assert names[2] not in {first, names[6]}
    assert names[3:6] == [f"{first}-3", "own", "7"]
    assert names[7] == f"{names[6]}-2"
    assert names == [(row.example or row.failure).id for row in read(path)]  # type: ignore[union-attr]


@pytest.mark.parametrize("own", ["", "  ", None, 1.5, True, ["x"], "x" * 300, "a\nb"])
def test_a_useless_own_id_gives_way_to_the_content(tmp_path: Path, own: Any) -> None:
    example = only(tmp_path, {**PAIR, "id": own}).example
    assert example is not None
    assert example.id == example.content_hash()[:16]


def test_a_repeated_own_id_names_both_rows(tmp_path: Path) -> None:
    path = put(tmp_path / "data.jsonl", {**PAIR, "id": 3}, PAIR, {**PAIR, "id": "3"})
    with pytest.raises(InputError, match=r"data\.jsonl: rows 1 and 3 have the same id '3'"):
        read(path)


def test_dotted_paths_and_numbers_are_mapped(tmp_path: Path) -> None:
    raw = {"q": {"text": 41}, "a.b": 42.5, "keep": [1]}
    mapping = parse_mapping("instruction=q.text,response=a.b")
    row = only(tmp_path, raw, "instruction=q.text,response=a.b")
    assert row.example is not None
    assert (row.example.instruction, row.example.response) == ("41", "42.5")
    assert mapping.write(raw, Version(instruction="41", response="42.5")) == raw
    assert mapping.write(raw, Version(instruction="41", response="43")) == {**raw, "a.b": "43"}


def test_a_conversation_can_be_mapped(tmp_path: Path) -> None:
    raw = {"dialogue": turns(("user", "q"), ("assistant", "a"))["messages"], "persona": "s"}
    example = only(tmp_path, raw, "messages=dialogue,system=persona").example
    assert example is not None
    assert (example.instruction, example.response, example.system) == ("q", "a", "s")


def test_an_input_without_a_field_follows_the_instruction() -> None:
    mapping = parse_mapping("instruction=q,response=a")
    written = mapping.write({"q": "x", "a": "y"}, Version(instruction="Sum up.", input="A text.", response="z"))
    assert written == {"q": "Sum up.\n\nA text.", "a": "z"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instrction=a,response=b", "Did you mean 'instruction'"),
        ("instruction=a", "no column for response"),
        ("", "no column for instruction and response"),
        ("instruction", "not of the form TARGET=COLUMN"),
        ("instruction=a,instruction=b,response=c", "given twice"),
        ("messages=a,response=b", "goes with nothing but system"),
    ],
)
def test_a_bad_map_is_a_settings_error(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_mapping(text)
    assert message in str(caught.value)


EXAMPLE = Example(
    id="x",
    instruction="i",
    response="r",
    input="in",
    system="s",
    history=(Message("user", "q"), Message("tool", "t"), Message("assistant", "a")),
)
BETTER = Version(instruction="I", response="R", input="IN")


def test_convert_keeps_everything() -> None:
    others = {"tag": 1, "messages": "taken"}
    chat = convert(EXAMPLE, BETTER, "messages", others=others)
    roles = ["system", "user", "tool", "assistant", "user", "assistant"]
    assert [turn["role"] for turn in chat["messages"]] == roles
    assert [turn["content"] for turn in chat["messages"]] == ["s", "q", "t", "a", "I\n\nIN", "R"]
    assert (chat["tag"], chat["messages_original"]) == (1, "taken")
    assert convert(EXAMPLE, BETTER, "alpaca") == {
        "instruction": "I",
        "input": "IN",
        "output": "R",
        "system": "s",
        "history": [["q", "t\n\na"]],
    }
    assert convert(EXAMPLE, BETTER, "prompt-completion")["prompt"] == "I\n\nIN"
    human = convert(EXAMPLE, BETTER, "sharegpt")["conversations"]
    assert [turn["from"] for turn in human] == ["system", "human", "observation", "gpt", "human", "gpt"]
    with pytest.raises(SettingsError, match="Did you mean 'alpaca'"):
        convert(EXAMPLE, BETTER, "alpacca")


def test_other_columns_are_those_that_were_not_read() -> None:
    mapping = parse_mapping("instruction=q.text,response=a")
    assert mapping.other_columns({"q": {"text": "x"}, "a": "y", "b": 1, "c": 2}) == {"b": 1, "c": 2}


@pytest.mark.parametrize("name", ["data.json", "data.jsonl", "data.json.gz", "data.jsonl.gz", "data.parquet"])
def test_rows_are_written_and_read_back(tmp_path: Path, name: str) -> None:
    rows = [{**PAIR, "n": n, "note": None, "tags": ["a", "é"], "score": 1.5} for n in range(3)]
    assert write_rows(tmp_path / name, iter(rows)) == 3
    assert [row.raw for row in open_source(tmp_path / name).rows()] == rows
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_table_holds_what_is_no_text_as_json(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", [{**PAIR, "history": [["q", "ä"]], "n": 1, "none": None}])
    [row] = open_source(tmp_path / "data.csv").rows()
    assert row.raw == {**PAIR, "history": '[["q", "ä"]]', "n": "1", "none": ""}
    assert row.example is not None
    assert row.example.history == (Message("user", "q"), Message("assistant", "ä"))


def test_equal_rows_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_rows(tmp_path / name, [PAIR])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_text_is_not_escaped(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.jsonl", [{"instruction": "说 🙂", "output": "\ud83d"}])
    assert (tmp_path / "data.jsonl").read_text(
        encoding="utf-8"
    ) == '{"instruction": "\\u8bf4 \\ud83d\\ude42", "output": "\\ud83d"}\n'
    write_rows(tmp_path / "data.jsonl", [{"instruction": "说 🙂"}])
    assert (tmp_path / "data.jsonl").read_text(encoding="utf-8") == '{"instruction": "说 🙂"}\n'


def test_no_rows_make_an_empty_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv", "a.parquet"):
        assert write_rows(tmp_path / name, []) == 0
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_a_broken_stream_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = put(tmp_path / "data.jsonl", PAIR)

    def rows() -> Any:
        yield PAIR
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_rows(path, rows())
    assert read(path)[0].raw == PAIR
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("data.txt", [PAIR], "cannot write this kind of file"),
        ("data.parquet.gz", [PAIR], "cannot write this kind of file"),
        ("no/such/folder/data.jsonl", [PAIR], "No such file or directory"),
        ("data.csv", [PAIR, {**PAIR, "new": 1}], "row 2 cannot be written: it has the column 'new'"),
        ("data.parquet", [PAIR, {**PAIR, "new": 1}] * 600, "row 1001 cannot be written"),
        ("data.csv", [{"a": "\ud83d"}], "half of a surrogate pair"),
        ("data.parquet", [{"a": 1}, {"a": "x"}], "does not fit"),
        ("data.jsonl", [{"a": b"x"}], "row 1 cannot be written: a value of the type bytes"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, rows: list[dict[str, Any]], message: str) -> None:
    if name == "data.parquet" and len(rows) > 1_000:
        rows = [PAIR] * 1_000 + rows[1:2]
    with pytest.raises(SettingsError) as caught:
        write_rows(tmp_path / name, rows)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("opening", ["", '"version": "1.0", "count": 2, '])
def test_an_object_around_an_array_is_read(tmp_path: Path, opening: str) -> None:
    text = f'{{{opening}"data": [{json.dumps(PAIR)}, {json.dumps(PAIR)}], "end": true}}'
    (tmp_path / "data.json").write_text(text)
    assert [row.raw for row in read(tmp_path / "data.json")] == [PAIR, PAIR]


def test_names_do_not_bind_json(tmp_path: Path) -> None:
    put(tmp_path / "lines.json", PAIR, PAIR)
    (tmp_path / "array.jsonl").write_text(json.dumps([PAIR, PAIR]))
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + json.dumps([PAIR, PAIR]).encode())
    (tmp_path / "dos.jsonl").write_bytes(f"{json.dumps(PAIR)}\r\n\r\n{json.dumps(PAIR)}\r\n".encode())
    for path in tmp_path.iterdir():
        assert [row.raw for row in read(path)] == [PAIR, PAIR], path.name


def test_numbers_keep_their_value(tmp_path: Path) -> None:
    numbers = {"big": 123456789012345678901234567890, "small": 1.1, "whole": 100000.0, "zero": -0.0}
    for name in ("a.json", "a.jsonl"):
        write_rows(tmp_path / name, [{**PAIR, **numbers}])
        assert json.dumps(read(tmp_path / name)[0].raw) == json.dumps({**PAIR, **numbers})


def test_a_field_of_three_megabytes_is_read_from_any_container(tmp_path: Path) -> None:
    rows = [{**PAIR, "output": 'é"\n,' * 600_000}, PAIR]
    for name in ("a.json", "a.jsonl", "a.csv", "a.parquet", "a.csv.gz"):
        write_rows(tmp_path / name, rows)
        assert [row.raw for row in read(tmp_path / name)] == rows, name


def test_tab_separated_values_are_read(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text('instruction\toutput\nName a fruit.\t"An\tapple."\n')
    assert read(tmp_path / "data.tsv")[0].raw == {"instruction": "Name a fruit.", "output": "An\tapple."}


@pytest.mark.parametrize("name", ["big.json", "big.jsonl"])
def test_memory_stays_flat(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = ({"instruction": f"Write {n}.", "output": "word " * 600} for n in range(10_000))
    write_rows(path, rows)
    assert path.stat().st_size > 30_000_000
    source = open_source(path)
    tracemalloc.start()
    count = sum(1 for row in source.rows() if row.example)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 5_000_000


HUB = """
import json, sys
from reflectune.errors import InputError
from reflectune.formats import open_source
source = open_source("org/letters")
try:
    open_source("org/letters:nope")
except InputError as fault:
    print(json.dumps([source.describe(), [row.raw for row in source.rows()], str(fault)]))
"""
LOADER = """
import datasets
datasets.load_dataset = lambda name, streaming: load(name.replace("org/", "{folder}/"), streaming=streaming)
"""


def test_a_data_set_that_the_datasets_library_loads_is_streamed(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "letters").mkdir()
    put(tmp_path / "letters" / "train.jsonl", PAIR)
    put(tmp_path / "letters" / "test.jsonl", PAIR, PAIR)
    # A folder stands in for the hub, which tests do not reach.
    stand_in = "from datasets import load_dataset as load\n" + LOADER.format(folder=tmp_path)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", stand_in + HUB],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    described, rows, fault = json.loads(done.stdout)
    assert described == "alpaca: instruction <- instruction, response <- output"
    assert rows == [PAIR]
    assert "no split 'nope'" in fault
    assert "train, test" in fault


@pytest.mark.parametrize(("name", "module"), [("org/name", "datasets"), ("data.parquet", "pyarrow")])
def test_a_missing_extra_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[hf\]'"):
        open_source(name)


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(b"instruction,output\r\na,b\r\n"))
    assert read(tmp_path / "data.csv.gz")[0].raw == {"instruction": "a", "output": "b"}
