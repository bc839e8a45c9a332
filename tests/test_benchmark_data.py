"""Benchmarks from local files: what is read, what is told, and what is refused."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import pytest

from benchmark_files import SUMS, arc, lines, make, table
from reflectune.errors import InputError, SettingsError
from reflectune.evaluate.benchmarks import hooks, rows
from reflectune.evaluate.benchmarks.catalogue import GENERATIVE, LOGPROB, benchmark_of
from reflectune.evaluate.benchmarks.local import Questions, read_local
from reflectune.evaluate.benchmarks.parts import parts_of
from reflectune.recipe import BenchmarkSettings


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make(tmp_path / "own")


def read(own: Path, name: Any, form: Any = "generative", shots: int = 0) -> Questions:
    return read_local(own, benchmark_of(name, form), shots)


def settings(**values: Any) -> BenchmarkSettings:
    return BenchmarkSettings.made_of(values, source="A test")


def test_questions_are_read_from_every_layout(own: Path) -> None:
    sums = read(own, "gsm8k")
    assert [(row["question"], row["answer"]) for row in sums.rows] == [(asked, str(right)) for asked, right in SUMS]
    assert sums.notes == ("6 of the 1,319 questions are in the file",)
    assert [row["answer"] for row in read(own, "math").rows] == ["\\frac{1}{2}", "3"]
    assert read(own, "ifeval").rows[0]["id"] == "7"
    assert read(own, "humaneval").rows[0]["entry_point"] == "twice"
    choices = read(own, "arc_challenge").rows
    assert [row["answer"] for row in choices] == ["B"] * 7
    assert choices[5]["options"] == "A. thing 15\nB. thing 25\nC. thing 35"


def test_mmlu_is_read_by_subject(own: Path) -> None:
    found = read(own, "mmlu")
    assert [row["id"] for row in found.rows] == [f"{name}/{n}" for n in range(1, 7) for name in ("botany", "tides")]
    assert found.rows[2]["answer"] == "B"
    assert found.notes[1] == "2 of 57 subjects"
    weighed = read(own, "mmlu", "logprob", 5)
    assert [row["answer"] for row in weighed.rows[:5]] == [0, 1, 2, 3, 0]
    assert len(weighed.examples) == 10


def test_worked_examples_are_never_asked(own: Path) -> None:
    for name, shots in (("arc_challenge", 3), ("hellaswag", 4)):
        whole, held = read(own, name, "logprob"), read(own, name, "logprob", shots)
        assert held.rows + held.examples == whole.rows
        assert len(held.examples) == shots
        assert held.notes[-1] == f"the last {shots} questions are the worked examples and are not asked"
    with_train = read(own, "gsm8k", shots=2)
    assert len(with_train.rows) == 6
    assert [row["question"] for row in with_train.examples] == ["1 and 1?"] * 2
    (own / "gsm8k/train.jsonl").unlink()
    assert len(read(own, "gsm8k", shots=2).rows) == 4


def test_hellaswag_begins_its_last_sentence_as_lm_eval_does(own: Path) -> None:
    row = read(own, "hellaswag", "logprob").rows[2]
    assert (row["activity_label"], row["ctx_a"], row["ctx_b"]) == ("Walking", "A man walks 2 miles.", "he")
    assert row["label"] == "1"
    assert len(row["endings"]) == 4


def test_truthfulqa_splits_its_answers(own: Path) -> None:
    [row] = read(own, "truthfulqa", "logprob").rows
    assert row["mc2_targets"] == {"choices": ["No", "It is wet", "Yes", "It is dust"], "labels": [1, 1, 0, 0]}
    assert row["mc1_targets"] == {"choices": ["No", "Yes", "It is dust"], "labels": [1, 0, 0]}


def test_gpqa_shuffles_always_alike(own: Path) -> None:
    [row] = read(own, "gpqa").rows
    assert row == read(own, "gpqa").rows[0]
    shown = dict(line.split(". ", 1) for line in row["options"].splitlines())
    assert shown[row["answer"]] == "right one"
    assert sorted(shown.values()) == ["right one", "wrong 1", "wrong 2", "wrong 3"]


def test_files_may_hold_odd_line_ends(own: Path) -> None:
    table(own / "mmlu/test/botany_test.csv", [["What is\u2028this\x85?", "a\x0bb", "b", "c", "d", "A"]])
    lines(own / "gsm8k/test.jsonl", [{"question": "1\u2028?", "answer": "#### 1"}])
    assert read(own, "mmlu").rows[0]["question"] == "What is\u2028this\x85?"
    assert read(own, "gsm8k").rows[0]["question"] == "1\u2028?"


@pytest.mark.parametrize(
    ("name", "form", "file", "text", "told"),
    [
        (
            "gsm8k",
            "generative",
            "gsm8k/test.jsonl",
            '{"question": "a", "answer": "b"}',
            "row 1: the answer has no line",
        ),
        ("gsm8k", "generative", "gsm8k/test.jsonl", '{"problem": "a"}', "row 1: it has no column 'answer'"),
        ("gsm8k", "generative", "gsm8k/test.jsonl", "{", "row 1: it is no JSON"),
        ("math", "generative", "math/test.jsonl", '{"problem": "a"}', "row 1: there is no answer"),
        ("mmlu", "generative", "mmlu/test/botany_test.csv", "a,b\n", "row 1: it has 2 columns"),
        ("mmlu", "logprob", "mmlu/test/botany_test.csv", "a,b,c,d,e,F\n", "row 1: "),
        ("hellaswag", "logprob", "hellaswag/hellaswag_val_own.txt", "a\nb\n", "a question takes six"),
        ("hellaswag", "logprob", "hellaswag/hellaswag_val_own.txt", "a\n9\n1\n2\n3\n4\n", "row 1: it is no"),
        ("arc_challenge", "logprob", "arc/ARC-Challenge-Test.jsonl", '{"question": "a"}', "row 1: "),
        ("truthfulqa", "logprob", "truthfulqa/TruthfulQA_own.csv", "Question\na\n", "row 1: it has no column"),
    ],
)
def test_a_bad_row_is_named(  # noqa: PLR0917
    own: Path, name: str, form: str, file: str, text: str, told: str
) -> None:
    (own / file).write_text(text)
    with pytest.raises(InputError) as caught:
        read(own, name, form)
    assert str(own / file) in caught.value.what
    assert told in caught.value.what
    assert caught.value.mend


def test_what_is_missing_is_named(own: Path, tmp_path: Path) -> None:
    for one in (*GENERATIVE, *LOGPROB):
        with pytest.raises(InputError, match=f"no file for {one.name} in .* is expected"):
            read_local(tmp_path, one, 0)
    (own / "mmlu/dev/tides_dev.csv").unlink()
    with pytest.raises(InputError, match=r"tides_dev\.csv, which holds the worked examples"):
        read(own, "mmlu", "logprob", 5)
    with pytest.raises(InputError, match="7 rows, and 25 are worked examples"):
        read(own, "arc_challenge", "logprob", 25)
    with pytest.raises(InputError, match=r"botany_dev\.csv has 5 worked examples in place of 10"):
        read(make(tmp_path / "again"), "mmlu", "logprob", 10)
    with pytest.raises(InputError, match=r"train\.jsonl has 3 worked examples in place of 8"):
        read(own, "gsm8k", shots=8)
    with pytest.raises(SettingsError, match="There is no folder"):
        parts_of(settings(tasks=["gsm8k"], data="nowhere"))


PACKED = gzip.compress(b'{"task_id": "t"}' * 99, mtime=0)


@pytest.mark.parametrize(
    "damaged",
    [PACKED[:-20], PACKED[:40] + bytes(9) + PACKED[40:], PACKED[:12] + b"\xff" * 30, b"no gzip", b""],
    ids=["cut", "in the middle", "not deflate", "no gzip", "empty"],
)
def test_a_damaged_archive_is_named(own: Path, damaged: bytes) -> None:
    path = own / "humaneval/HumanEval.jsonl.gz"
    path.write_bytes(damaged)
    with pytest.raises(InputError) as caught:
        read(own, "humaneval")
    assert str(path) in caught.value.what


@pytest.mark.parametrize(
    ("name", "form", "file"),
    [("mmlu", "generative", "mmlu/test/botany_test.csv"), ("gpqa", "generative", "gpqa/gpqa_diamond.csv")],
)
def test_a_table_that_is_none_is_named(own: Path, name: str, form: str, file: str) -> None:
    (own / file).write_text("x" * 140_000)
    before = csv.field_size_limit(131_072)  # one limit for the whole process: reading other data raises it
    try:
        with pytest.raises(InputError, match="is no table: field larger"):
            read(own, name, form)
    finally:
        csv.field_size_limit(before)


def test_what_is_asked_is_counted_and_told(own: Path) -> None:
    found = parts_of(settings(tasks=["gsm8k", "mmlu"], data=str(own), limit=2))
    assert [part.count for part in found] == [2, 2]
    assert found[0].notes[-1] == "only the first 2 are asked"
    assert found[1].notes[-1] == "only 2 are asked, spread over the subjects"
    weighed = parts_of(settings(tasks=["mmlu", "truthfulqa"], form="logprob", data=str(own), limit=2, shots=1))
    assert [(part.count, part.shots) for part in weighed] == [(4, 1), (1, 0)]
    assert weighed[0].notes[-2:] == ("only the first 2 of each subject are asked", "1 worked examples in place of 5")
    assert [part.count for part in parts_of(settings(tasks=["gsm8k", "mmlu"]))] == [1319, 14042]
    with pytest.raises(SettingsError, match="without worked examples"):
        parts_of(settings(tasks=["mmlu"], shots=5))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tasks": ["hellaswag"]}, "hellaswag has no generative form"),
        ({"tasks": ["gsm8k"], "form": "logprob"}, "gsm8k has no logprob form"),
        ({"tasks": ["math", "gsm8k", "gsm8k"]}, "the task gsm8k is named twice"),
        ({"tasks": ["gsm8k"], "arms": ["plain", "plain"]}, "the arm plain is named twice"),
        ({"tasks": ["mmlu"], "form": "logprob", "arms": ["prompt-only"]}, "logprob has no arms"),
        ({"tasks": ["gsm8k"], "tuned": "m", "arms": ["plain", "reflective"]}, "leave it out"),
        ({"tasks": ["humaneval"]}, "--run-code"),
        ({"tasks": []}, "A test: tasks is empty"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        settings(**values)


def test_rows_of_the_hub_are_the_same_questions() -> None:
    datasets = pytest.importorskip("datasets")
    hub: dict[str, list[dict[str, Any]]] = {
        "gsm8k": [{"question": "q", "answer": "So.\n#### 1,200"}],
        "math": [{"problem": "q", "answer": "2", "solution": "x", "unique_id": "u", "level": 1}],
        "ifeval": [
            {
                "key": 1,
                "prompt": "q",
                "instruction_id_list": ["punctuation:no_comma"],
                "kwargs": [{"num_words": None, "relation": None}],
            }
        ],
        "humaneval": [
            {"task_id": "t", "prompt": "def f():", "entry_point": "f", "test": "x", "canonical_solution": ""}
        ],
        "mmlu": [{"question": "q ", "choices": ["a", "b", "c", "d"], "answer": 2, "subject": "s"}],
        "arc_challenge": [
            {"id": "i", "question": "q", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2"}
        ],
        "gpqa": [
            {
                "Question": "q",
                "Correct Answer": "a",
                "Incorrect Answer 1": "b",
                "Incorrect Answer 2": "c",
                "Incorrect Answer 3": "d",
                "Record ID": "r",
            }
        ],
    }
    for one in GENERATIVE:
        made = getattr(hooks, f"questions_of_{one.name}")(datasets.Dataset.from_list(hub[one.name]))
        [row] = list(made)
        plain = getattr(rows, one.name.removesuffix("_challenge"))(hub[one.name][0], 1)
        assert row == plain, one.name


def test_mmlu_of_the_hub_is_spread_over_its_subjects() -> None:
    datasets = pytest.importorskip("datasets")
    asked = [{"question": "q", "choices": ["a", "b"], "answer": 1, "subject": name} for name in "aaabcc"]
    found = list(hooks.questions_of_mmlu(datasets.Dataset.from_list(asked)))
    assert [row["id"] for row in found] == ["a/1", "b/4", "c/5", "a/2", "c/6", "a/3"]


def test_an_answer_key_that_is_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match="not in list"):
        rows.arc(arc(1, key="Z"), 1)


def test_the_real_files_are_read(data: Path) -> None:
    sizes = {one.name: len(read_local(data, one, 0).rows) for one in GENERATIVE if one.name != "gpqa"}
    expected = {"gsm8k": 1319, "math": 500, "ifeval": 541, "humaneval": 164, "mmlu": 7658, "arc_challenge": 1172}
    assert sizes == expected
    weighed = {one.name: read_local(data, one, one.shots) for one in LOGPROB}
    assert {name: (len(found.rows), len(found.examples)) for name, found in weighed.items()} == {
        "arc_challenge": (1147, 25),
        "hellaswag": (990, 10),
        "mmlu": (7658, 145),
        "truthfulqa": (500, 0),
    }
    assert weighed["mmlu"].notes == ("7,658 of the 14,042 questions are in the file", "29 of 57 subjects")
    keys = [row["answer"] for row in read_local(data, benchmark_of("mmlu", "generative"), 0).rows]
    assert [keys.count(letter) for letter in "ABCD"] == [1769, 1855, 1948, 2086]
    gold = [row["label"] for row in read_local(data, benchmark_of("hellaswag", "logprob"), 0).rows]
    assert [gold.count(place) for place in "0123"] == [263, 232, 252, 253]
