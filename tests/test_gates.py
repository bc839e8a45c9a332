"""The quality gates for whole data sets: what they mark, what they leave alone, and the command that shows it."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import random
import string
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflectune.cli.gates import command
from reflectune.errors import InputError, MissingExtraError, SettingsError
from reflectune.formats import open_source
from reflectune.gates import GATES, Candidate, GateName, GateSettings, Mark, find_marks
from reflectune.gates.contamination import EvaluationIndex
from reflectune.gates.duplicate import bands, jaccard, shingles
from reflectune.gates.evaluation import EvaluationText, read_evaluation
from reflectune.gates.table import HashTable
from reflectune.gates.texts import Size, normal, read
from reflectune.recipe import Recipe
from reflectune.records import Recycled, Rewrite, Version
from reflectune.runs import Maker, RunDir
from test_cli import lines
from typed import reflectune

RIVER = (
    "Explain in plain words how a river finds its way to the sea, which forces shape its bed over thousands of years, "
    "and why some rivers split into many arms before they reach the coast while others do not."
)
TEA = (
    "Describe how black tea is grown, picked, withered, rolled and dried, and tell a newcomer which of these steps "
    "has the greatest say in how strong and how bitter the finished cup will taste."
)
POND_ZH = "池塘里的睡莲每天都会增加一倍，如果第三十天它们盖满了整个池塘，请问第几天盖满了一半，并说明理由。"
TEA_ZH = "请详细说明怎样用八十度的热水泡一壶绿茶，每一步需要多长时间，以及为什么水温不能太高。"


def row(name: object, instruction: str, response: str = "Yes.", old: tuple[str, str] = ("old", "older")) -> Candidate:
    return Candidate(
        str(name),
        Version(instruction=old[0], response=old[1]),
        Version(instruction=instruction, response=response),
    )


def marks(candidates: Iterable[Candidate], *gates: GateName, against: Iterable[Path] = (), **values: Any) -> list[Mark]:
    return list(find_marks(candidates, GateSettings(**values), gates=gates or GATES, against=list(against)))


def marked(found: Iterable[Mark]) -> set[str]:
    return {mark.id for mark in found}


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# texts


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't STOP -- at 3.5!", ["don", "t", "stop", "at", "3", "5"]),
        ("snake_case(x)", ["snake", "case", "x"]),
        ("Überraschung, déjà vu", ["überraschung", "déjà", "vu"]),
        ("用 Python 写代码。", ["用", "python", "写", "代", "码"]),
        ("ＡＢＣ１２", ["abc12"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("", []),
        ("?!", []),
    ],
)
def test_what_the_tokens_of_a_text_are(text: str, tokens: list[str]) -> None:
    assert read(text).tokens == tokens


@given(st.text(string.ascii_letters + string.digits + string.punctuation + " \n"))
def test_plain_text_is_read_as_other_text_is(text: str) -> None:
    assert read(text).tokens == read(text + " é").tokens[:-1]


@given(st.lists(st.sampled_from(["one", "two", "three", "四", "五", "六"]), max_size=30), st.integers(0, 10))
def test_a_window_depends_on_its_own_tokens_only(tokens: list[str], start: int) -> None:
    size = Size(words=3, characters=5)
    whole = list(size.windows(read(" ".join(tokens))))
    later = list(size.windows(read(" ".join(tokens[start:]))))
    assert whole[start:] == later
    for window in whole:
        weight = sum(3 if not token.isascii() else 5 for token in window)
        assert 15 <= weight < 20
    assert bool(whole) == size.reached_by(read(" ".join(tokens)))


def test_the_quoted_part_is_as_it_is_written() -> None:
    text = read("So: “Why, then,” he said, do RIVERS bend?")
    assert text.part(1, 4) == "Why, then,” he said"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What is  Tea?", "what is tea", True),
        ("Is a > b?", "Is a < b?", False),
        ("Explain C#.", "Explain C.", False),
        ("什么是茶？", "什么是茶", True),
        ("???", "!!!", False),
    ],
)
def test_what_counts_as_the_same_text(one: str, other: str, same: bool) -> None:
    assert (normal(one) == normal(other)) is same


# duplicates


def test_a_duplicate_is_told_with_the_first_of_its_kind() -> None:
    rows = [row("a", RIVER), row("b", TEA), row("c", f"  {RIVER.upper()}!"), row("d", RIVER)]
    found = marks(rows, "duplicate")
    assert [(mark.id, mark.other, mark.subject, mark.score) for mark in found] == [
        ("c", "a", "instruction", 1.0),
        ("d", "a", "instruction", 1.0),
    ]
    assert "the same as that of row a" in found[0].detail


def test_nearly_equal_instructions_and_responses_are_found() -> None:
    rows = [
        row("a", TEA, RIVER),
        row("b", "What are rivers?", RIVER.replace("plain words", "simple words")),
        row("c", TEA.replace("newcomer", "beginner"), "No."),
    ]
    found = {mark.id: mark for mark in marks(rows, "duplicate")}
    assert {name: (mark.subject, mark.other) for name, mark in found.items()} == {
        "b": ("response", "a"),
        "c": ("instruction", "a"),
    }
    assert all(0.8 <= (mark.score or 0) < 1 for mark in found.values())


def test_short_responses_may_be_equal() -> None:
    rows = [row("a", RIVER, "Yes, always."), row("b", TEA, "Yes, always.")]
    assert not marks(rows, "duplicate")
    assert marked(marks(rows, "duplicate", shared_response=2)) == {"b"}


def test_chinese_near_duplicates_are_compared_by_characters() -> None:
    rows = [row("a", POND_ZH), row("b", TEA_ZH), row("c", POND_ZH.replace("理由", "原因"))]
    (mark,) = marks(rows, "duplicate")
    assert (mark.id, mark.other) == ("c", "a")


def test_rows_that_were_alike_in_the_source_are_told_as_such() -> None:
    rewritten = [row("a", RIVER, old=(TEA, "x")), row("b", RIVER, old=(TEA, "y")), row("c", RIVER, old=("Why?", "z"))]
    before, new = marks(rewritten, "duplicate")
    assert before.detail.endswith("; their originals were alike too.")
    assert "originals" not in new.detail
    (untouched,) = marks([row("a", RIVER, old=(RIVER, "x")), row("b", RIVER, old=(RIVER, "y"))], "duplicate")
    assert untouched.detail.endswith("; it was so in the source.")


def test_a_row_is_compared_with_rows_that_stay() -> None:
    words = RIVER.split()
    steps = [" ".join(words[left_out:]) for left_out in (0, 2, 4, 6)]
    found = marks([row(number, text) for number, text in enumerate(steps)], "duplicate", near=0.9)
    assert [(mark.id, mark.other) for mark in found] == [("1", "0"), ("3", "2")]


WORDS = st.sampled_from([f"{a}{b}" for a in ("ba", "ke", "mo", "su") for b in ("lin", "ter", "dor", "wex", "pim")])
INSTRUCTIONS = st.lists(WORDS, min_size=6, max_size=14).map(" ".join)


@settings(deadline=None, max_examples=40)
@given(st.lists(INSTRUCTIONS, min_size=1, max_size=12, unique=True), st.data())
def test_every_planted_copy_is_found_in_any_order(texts: list[str], data: st.DataObject) -> None:
    copies = data.draw(st.lists(st.sampled_from(texts), max_size=8))
    planted = [*texts, *(f"{text.title()} ." for text in copies)]
    shuffled = data.draw(st.permutations(planted))
    for order in (planted, shuffled):
        found = marks([row(number, text) for number, text in enumerate(order)], "duplicate", near=1)
        assert len(found) == len(copies)
        assert all(normal(order[int(mark.id)]) == normal(order[int(mark.other)]) for mark in found)


@settings(deadline=None, max_examples=40)
@given(st.lists(INSTRUCTIONS, max_size=15), st.sampled_from([0.5, 0.7, 0.8, 0.9]))
def test_marks_are_true_and_what_stays_is_not_alike(texts: list[str], near: float) -> None:
    rows = [row(number, text) for number, text in enumerate(texts)]
    found = marks(rows, "duplicate", near=near)
    gone = marked(found)
    sets = [shingles(text, GateSettings()) for text in texts]
    for mark in found:
        assert jaccard(sets[int(mark.id)], sets[int(mark.other)]) >= near
        assert mark.other not in gone
        assert int(mark.other) < int(mark.id)


@pytest.mark.parametrize("near", [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_hardly_a_pair_at_the_threshold_goes_without_a_proposal(near: float) -> None:
    count, numbers = bands(near)
    assert (1 - near**numbers) ** count <= 0.01
    assert count <= 9 or numbers == 2


def test_near_duplicates_need_the_extra_and_equal_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[quality\]'"):
        marks([], "duplicate")
    assert marked(marks([row("a", TEA), row("b", TEA)], "duplicate", near=1)) == {"b"}


# contamination


def test_a_planted_question_is_shown_in_both_places(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "exam.jsonl", {"question": "Too short."}, {"question": f"{RIVER} Then stop.", "n": 3})
    rows = [row("a", TEA), row("b", "Tell me.", f"First of all, {RIVER.upper()} That is all.")]
    (mark,) = marks(rows, "contamination", against=[file])
    assert (mark.id, mark.subject, mark.other) == ("b", "response", f"{file}:2")
    assert mark.found.casefold() == mark.there.casefold() == RIVER.rstrip(".").casefold()
    assert f"row 2 ({mark.score:.0%} of its question)" in mark.detail
    assert "original" not in mark.detail


def test_thirteen_words_are_enough_and_twelve_are_not(tmp_path: Path) -> None:
    words = RIVER.split()
    file = jsonl(tmp_path / "exam.jsonl", {"q": RIVER})
    for count, expected in ((12, set()), (13, {"a"})):
        text = f"Something else: {' '.join(words[5 : 5 + count])}, and so on."
        assert marked(marks([row("a", text)], "contamination", against=[file])) == expected
        loose = marks([row("a", text)], "contamination", against=[file], ngram_words=count)
        assert marked(loose) == {"a"}


def test_a_short_question_counts_as_a_whole(tmp_path: Path) -> None:
    eight, five = "Which large river flows through the old town?", "Where do rivers begin, then?"
    file = jsonl(tmp_path / "exam.jsonl", {"q": eight}, {"q": five}, {"q": "Why?"})
    rows = [
        row("holds", f"Please tell me: {eight} Thank you."),
        row("is", five.lower()),
        row("more", f"{five} Please tell me."),
        row("part", "Which large river flows through the old city?"),
        row("answer", TEA, f"People ask: {eight}"),
        row("tiny", "Why?"),
    ]
    assert marked(marks(rows, "contamination", against=[file])) == {"holds", "is"}


def test_chinese_runs_are_counted_in_characters(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "exam.jsonl", {"题目": POND_ZH})
    rows = [row("a", f"小明问：{POND_ZH[4:30]}？"), row("b", f"小明问：{POND_ZH[4:20]}？"), row("c", TEA_ZH)]
    (mark,) = marks(rows, "contamination", against=[file])
    assert mark.id == "a"
    assert mark.found in POND_ZH.replace("，", ",")
    assert "characters with" in mark.detail


def test_counting_is_no_contamination(tmp_path: Path) -> None:
    numbers = " ".join(map(str, range(1, 40)))
    file = jsonl(tmp_path / "exam.jsonl", {"q": f"Sort these: {numbers}"})
    assert not marks([row("a", f"Add up {numbers} please")], "contamination", against=[file])


def test_what_the_original_already_held_is_told(tmp_path: Path) -> None:
    file = jsonl(tmp_path / "exam.jsonl", {"q": TEA})
    (mark,) = marks([row("a", f"Now {TEA}", old=(TEA, "x"))], "contamination", against=[file])
    assert mark.detail.endswith("as did the original.")


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, min_size=13, max_size=60), st.lists(WORDS, max_size=60), st.data())
def test_every_shared_run_is_found_and_nothing_else(there: list[str], around: list[str], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(there) - 13))
    count = data.draw(st.integers(0, len(there) - start))
    place = data.draw(st.integers(0, len(around)))
    mine = [*around[:place], *there[start : start + count], *around[place:]]
    index = EvaluationIndex(GateSettings())
    index.add(EvaluationText("exam", 1, "q", " ".join(there)))
    found = list(index.overlaps(read(" ".join(mine))))
    runs = {tuple(there[at : at + 13]) for at in range(len(there) - 12)}
    telling = {run for run in runs if len(set(run)) >= 5}
    assert bool(found) == any(tuple(mine[at : at + 13]) in telling for at in range(len(mine) - 12))
    for overlap in found:
        mine_there = mine[overlap.start : overlap.start + overlap.length]
        assert mine_there == there[overlap.there : overlap.there + overlap.length]


@given(st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.integers(0, 1000), max_size=300))
def test_the_table_gives_back_what_was_put_in(places: dict[int, int]) -> None:
    table = HashTable()
    first: dict[int, int] = {}
    for hashed, place in places.items():
        table.add(hashed, place)
        first.setdefault(hashed % 2**40, place)
    asked = [*places, *(hashed ^ 1 for hashed in places)]
    expected = [(at, first[hashed % 2**40]) for at, hashed in enumerate(asked) if hashed % 2**40 in first]
    assert list(table.find(asked)) == expected
    assert len(table) == len(first)


def test_the_table_grows() -> None:
    table = HashTable()
    hashes = [hash((number, "x")) for number in range(20_000)]
    for place, hashed in enumerate(hashes):
        table.add(hashed, place)
    assert list(table.find(hashes)) == list(enumerate(range(20_000)))


# evaluation files


def test_evaluation_files_of_every_kind_are_read(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", {"question": {"stem": "s1", "choices": [{"text": "c1"}, {"text": "c2"}]}, "n": 1})
    (tmp_path / "b.csv").write_text('"What is 1, or 2?",one,two,A\n"And then?",three,four,B\n')
    (tmp_path / "c.csv").write_text("Question,Best Answer\nWhy?,Because\n")
    (tmp_path / "d.tsv.gz").write_bytes(gzip.compress(b"Question\tAnswer\nHow?\tSo\n"))
    (tmp_path / "e.txt").write_text("line one\n\nline three\n")
    (tmp_path / "f.json").write_text('{"version": 1, "data": [{"turns": ["first", "second"]}]}')
    (tmp_path / "skipped.md").write_text("no data")
    texts = [(Path(text.source).name, text.row, text.field, text.text.strip()) for text in read_evaluation(tmp_path)]
    assert texts == [
        ("a.jsonl", 1, "question.stem", "s1"),
        ("a.jsonl", 1, "question.choices.0.text", "c1"),
        ("a.jsonl", 1, "question.choices.1.text", "c2"),
        ("b.csv", 1, "column 1", "What is 1, or 2?"),
        ("b.csv", 1, "column 2", "one"),
        ("b.csv", 1, "column 3", "two"),
        ("b.csv", 1, "column 4", "A"),
        ("b.csv", 2, "column 1", "And then?"),
        ("b.csv", 2, "column 2", "three"),
        ("b.csv", 2, "column 3", "four"),
        ("b.csv", 2, "column 4", "B"),
        ("c.csv", 1, "Question", "Why?"),
        ("c.csv", 1, "Best Answer", "Because"),
        ("d.tsv.gz", 1, "Question", "How?"),
        ("d.tsv.gz", 1, "Answer", "So"),
        ("e.txt", 1, "line", "line one"),
        ("e.txt", 3, "line", "line three"),
        ("f.json", 1, "turns.0", "first"),
        ("f.json", 1, "turns.1", "second"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("exam.jsonl", None, "no such evaluation file"),
        ("exam.zip", b"PK", "unknown kind of evaluation file '.zip'"),
        ("exam.jsonl", b'{"q": "cut', "broken JSON"),
        ("exam.jsonl", b'{"n": 1}\n', "holds no text"),
        ("exam.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("exam.jsonl.gz", b"plain", "not a sound gzip file"),
    ],
)
def test_an_evaluation_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        find_marks([], against=[path])
    assert str(path) in raised.value.what


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file that can be read"):
        find_marks([], against=[tmp_path])


# drift and length


def test_a_rewrite_in_another_language_is_marked() -> None:
    german = "Erkläre bitte in einfachen Worten, wie ein Fluss den Weg zum Meer findet und warum er sich teilt."
    rows = [
        row("to german", german, old=(RIVER, "x")),
        row("to chinese", TEA, TEA_ZH, old=("q", TEA)),
        row("stays", TEA, RIVER, old=(RIVER, TEA)),
        row("untouched", german, old=(german, "x")),
        row("too little to tell", "Ja!", old=(RIVER, "x")),
        row("a translation", TEA, RIVER, old=(TEA, TEA_ZH)),
    ]
    found = {mark.id: mark for mark in marks(rows, "drift")}
    assert {name: mark.detail for name, mark in found.items()} == {
        "to german": "The instruction went from en to de.",
        "to chinese": "The response went from en to zh.",
    }


def lengths(*counts: int, unit: str = "word ") -> Iterator[Candidate]:
    for number, count in enumerate(counts):
        yield row(number, (unit * count).strip(), old=((unit * 10).strip(), "older"))


def test_outliers_are_far_from_the_median_on_a_log_scale() -> None:
    usual = [20 + number % 7 for number in range(60)]
    found = marks(lengths(*usual, 2, 400), "length")
    assert {mark.id: (mark.score or 0) > 0 for mark in found} == {"60": False, "61": True}
    assert found[0].detail == "The instruction has 2 words; the median is 23."


def test_a_ratio_unlike_the_others_is_marked() -> None:
    rows = [row(number, "word " * (10 + number), old=("word " * (10 + number), "x")) for number in range(40)]
    rows = [row(r.id, r.new.instruction + "more", old=(r.old.instruction, "x")) for r in rows]
    found = marks([*rows, row("grown", "word " * 40, old=("word", "x"))], "length")
    assert [mark.id for mark in found] == ["grown"]
    assert "it had 1, and the median ratio is 1" in found[0].detail


def test_words_and_characters_are_not_compared() -> None:
    rows = [*lengths(*[12] * 40), *(row(f"zh{number}", "茶" * 90, old=("水" * 90, "x")) for number in range(40))]
    assert not marks(rows, "length")


def test_few_rewrites_have_no_outliers_but_floors_hold() -> None:
    rows = [*lengths(20, 20, 500), row("terse", "Go."), row("empty", RIVER, "...")]
    assert marked(marks(rows, "length")) == {"terse", "empty"}
    assert marked(marks(rows, "length", shortest_instruction=0, shortest_response=0)) == set()
    assert marked(marks(rows, "length", shortest_instruction=21)) == {"0", "1", "terse", "empty"}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 300), min_size=30, max_size=60), st.randoms(use_true_random=False))
def test_outliers_do_not_depend_on_the_order(counts: list[int], shuffle: random.Random) -> None:
    rows = list(lengths(*counts))
    shuffled = shuffle.sample(rows, len(rows))
    assert marked(marks(rows, "length")) == marked(marks(shuffled, "length"))


def test_an_unknown_gate_is_named() -> None:
    with pytest.raises(SettingsError, match="'style'"):
        find_marks([], gates=["style"])  # type: ignore[list-item]


# real data


def pairs(file: Path) -> list[Candidate]:
    examples = (entry.example for entry in open_source(file).rows())
    return [
        Candidate(
            example.id,
            Version(instruction="old", response="old"),
            Version(instruction=example.instruction, input=example.input, response=example.response),
        )
        for example in examples
        if example
    ]


def planted(rows: list[Candidate], questions: list[str]) -> Iterator[Candidate]:
    """The rows, with a question in every hundredth of them: in the instruction and the response by turns."""
    for number, candidate in enumerate(rows):
        new = candidate.new
        if number % 100 == 7 and number // 100 < len(questions):
            question = f"Here is a task. {questions[number // 100]} Be brief."
            half = "response" if number // 100 % 2 else "instruction"
            new = new.model_copy(update={half: question})
        yield Candidate(f"{number}", candidate.old, new)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("gsm8k/test.jsonl", "question"),
        ("ifeval/input_data.jsonl", "prompt"),
        ("math/math500_test.jsonl", "problem"),
    ],
)
def test_exactly_the_questions_that_were_planted_are_found(data: Path, file: str, column: str) -> None:
    questions = [json.loads(line)[column] for line in (data / file).read_text(encoding="utf-8").splitlines()]
    telling = [(number, text) for number, text in enumerate(questions, start=1) if len(text.split()) >= 25]
    chosen = random.Random(5).sample(telling, 20)
    rows = pairs(data / "instruct/cherry_alpaca_5_percent.json")[:2000]
    assert not marks(rows, "contamination", against=[data / file])
    found = marks(planted(rows, [text for _, text in chosen]), "contamination", against=[data / file])
    assert {mark.id: mark.other for mark in found} == {
        str(100 * place + 7): f"{data / file}:{number}" for place, (number, _) in enumerate(chosen)
    }


def test_rows_that_two_real_files_share_are_found(data: Path) -> None:
    cherry, alpaca = data / "instruct/cherry_alpaca_5_percent.json", data / "instruct/alpaca_random_first3000.json"
    there = {(pair.new.instruction, pair.new.input) for pair in pairs(cherry)}
    rows = pairs(alpaca)
    shared = {pair.id for pair in rows if (pair.new.instruction, pair.new.input) in there}
    assert len(shared) == 162
    found = marks(rows, "contamination", against=[cherry])
    tiny = {pair.id for pair in rows if pair.id in shared and len(read(pair.new.instruction).tokens) < 4}
    assert shared - marked(found) <= tiny
    assert len(marked(found) - shared) < 15


def test_every_kind_of_real_evaluation_file_is_read(data: Path) -> None:
    counted = {
        "mmlu/test/astronomy_test.csv": 152,
        "arc/ARC-Challenge-Test.jsonl": 1172,
        "hellaswag/hellaswag_val_first1000.txt": 6000,
        "truthfulqa/TruthfulQA_first500.csv": 500,
        "humaneval/HumanEval.jsonl.gz": 164,
        "mt_bench/question.jsonl": 80,
        "gsm8k/test.jsonl": 1319,
        "math/math500_test.jsonl": 500,
        "ifeval/input_data.jsonl": 541,
        "alpaca_eval/text_davinci_003/model_outputs.json": 805,
    }
    for file, rows in counted.items():
        assert max(text.row for text in read_evaluation(data / file)) == rows, file


def test_chinese_rows_of_one_file_are_found_in_another(data: Path) -> None:
    rows = pairs(data / "instruct/alpaca_zh_demo.json")[:60]
    texts = [pair for pair in pairs(data / "instruct/alpaca_zh_part00_first2000.json") if len(pair.new.response) > 80]
    holding = [
        row(number, pair.new.instruction, f"{pair.new.response}{texts[number].new.response}")
        for number, pair in enumerate(rows)
    ]
    found = marks(holding, "contamination", against=[data / "instruct/alpaca_zh_part00_first2000.json"])
    assert {mark.id for mark in found if mark.subject == "response"} == {str(number) for number in range(60)}


# the command


@dataclass(frozen=True)
class Stored:
    """A run folder whose rewrites are given."""

    path: Path

    @property
    def data(self) -> list[dict[str, Any]]:
        return lines(self.path / "recycled.jsonl")

    def gates(self, *arguments: str | Path) -> dict[str, Any]:
        done = reflectune("gates", self.path, *arguments, "--json", cwd=self.path.parent)
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout), "said": done.stderr}


REWRITES = [
    (RIVER, "By gravity."),
    (TEA, "By hand."),
    (f"{RIVER} ", "By itself."),
    (POND_ZH, "第二十九天。"),
    (TEA, ""),
]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    rows = [{"id": f"r{number}", "instruction": f"Old {number}?", "output": "x"} for number in range(len(REWRITES))]
    source = open_source(jsonl(tmp_path / "data.jsonl", *rows))
    path = tmp_path / "run"

    async def fill(run: RunDir) -> None:
        for example, (instruction, response) in zip(run.pending("recycle"), REWRITES, strict=True):
            new = Version(instruction=instruction, response=response)
            rewrite = Rewrite(kind="instruction", remarks=(), version=new)
            recycled = Recycled(
                id=example.id, language="en", versions={"original": example.version, "Q": new}, rewrites=(rewrite,)
            )
            body = recycled.model_dump_json().encode()
            await run.store.keep_result("recycle", example.id, "f:" + example.content_hash(), body, None)

    with RunDir(path) as run:
        run.made_by("recycle", Maker("f:", "oracle", "prompts"))
        run.ingest(source.rows())
        asyncio.run(fill(run))
        run.confirm("recycle")
        run.remember("mapping", source.mapping.model_dump_json())
    Recipe(data=str(tmp_path / "data.jsonl"), oracle="m@http://127.0.0.1:1/v1").save(path / "recipe.yaml")
    return Stored(path)


def test_the_command_marks_counts_and_shows(stored: Stored) -> None:
    exam = jsonl(stored.path.parent / "exam.jsonl", {"q": POND_ZH})
    told = stored.gates("--against", exam)
    assert told["marked"] == {"duplicate": 2, "contamination": 1, "drift": 0, "length": 1}
    assert (told["rows"], told["dropped"]) == (5, [])
    kept = lines(stored.path / "gates.jsonl")
    assert {(mark["id"], mark["gate"]) for mark in kept} == {
        ("r2", "duplicate"),
        ("r4", "duplicate"),
        ("r3", "contamination"),
        ("r4", "length"),
    }
    assert [entry["reflectune"]["gates"] for entry in stored.data] == [
        "",
        "",
        "duplicate",
        "contamination",
        "duplicate,length",
    ]
    assert f"in {exam}:1" in told["said"]
    assert "duplicate: row r2" in told["said"]


def test_rows_are_dropped_only_when_asked_and_come_back(stored: Stored) -> None:
    stored.gates()
    assert len(stored.data) == 5
    assert stored.gates("--drop", "duplicate")["dropped"] == ["duplicate"]
    assert [entry["id"] for entry in stored.data] == ["r0", "r1", "r3"]
    told = stored.gates("--quiet")
    assert (told["dropped"], told["said"], len(stored.data)) == (["duplicate"], "", 3)
    assert stored.gates("--drop", "none")["dropped"] == []
    assert len(stored.data) == 5


def test_one_gate_leaves_the_marks_of_the_others(stored: Stored) -> None:
    before = stored.gates()["marked"]
    assert before["duplicate"] == 2
    after = stored.gates("--gate", "length", "--shortest-instruction", "200")["marked"]
    assert after["duplicate"] == 2
    assert after["length"] == 5 > before["length"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--gate", "contamination"), 2, "--against"),
        (("--gate", "drift", "--against", "x.jsonl"), 2, "--gate contamination"),
        (("--near", "7"), 2, "--near"),
        (("--drop", "none", "--drop", "drift"), 2, "stands alone"),
        (("--gate", "style"), 2, "'style'"),
        (("--against", "absent.jsonl"), 1, "absent.jsonl"),
    ],
)
def test_what_cannot_be_done_is_explained(stored: Stored, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = reflectune("gates", stored.path, *arguments, cwd=stored.path.parent)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert not (stored.path / "gates.jsonl").exists()


def test_a_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    done = reflectune("gates", tmp_path, cwd=tmp_path)
    assert (done.returncode, "There is no run" in done.stderr) == (1, True)


def test_the_flags_have_the_defaults_of_the_settings() -> None:
    flags = inspect.signature(command).parameters
    shared = {name: flag.default for name, flag in flags.items() if name in GateSettings.model_fields}
    assert len(shared) == 8
    assert GateSettings(**shared) == GateSettings()
