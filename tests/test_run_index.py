from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reflectune.formats import Mapping
from reflectune.records import (
    Example,
    Failure,
    Recycled,
    Remark,
    Rewrite,
    Scored,
    Version,
    VersionName,
    VersionScores,
)
from reflectune.runs import Maker, RunDir, Selected
from reflectune.runs.deciding import Said, decide, deciding_in
from reflectune.web.index import Keeper, Keepers, Line, Question, making
from reflectune.web.index import keeper as keeping
from reflectune.web.index.folding import folded, joined, sought
from reflectune.web.index.tables import FILE

ORACLE, STUDENT = Maker("mark:", "oracle", "prompts"), Maker("student:", "student", "template")


@dataclass(frozen=True)
class Made:
    """A row of a run that is made up."""

    instruction: str
    response: str
    better: str = ""
    reason: str | None = None
    pending: bool = False
    score: int = 5
    ifd: float | None = None
    gates: tuple[str, ...] = ()

    def example(self, number: int) -> Example:
        return Example(f"row {number}", self.instruction, self.response)

    def result(self, number: int) -> Recycled:
        versions: dict[VersionName, Version] = {
            "original": Version(instruction=self.instruction, response=self.response)
        }
        if self.reason is None:
            versions["A"] = Version(instruction=self.instruction, response=self.better)
        failure = Failure(id=f"row {number}", stage="response", reason=self.reason) if self.reason else None
        remark = Remark(subject="response", criterion="detail", remark="…", score=self.score)
        rewrite = Rewrite(kind="response", remarks=(remark,), version=versions.get("A", versions["original"]))
        return Recycled(id=f"row {number}", language="en", versions=versions, rewrites=(rewrite,), failure=failure)

    @property
    def texts(self) -> list[str]:
        better = [self.better] if self.reason is None and not self.pending else []
        return [self.instruction, self.response, *better]

    @property
    def status(self) -> str:
        return "pending" if self.pending else "failed" if self.reason else "rewritten"


@dataclass(frozen=True)
class Read:
    number: int
    raw: dict[str, Any]
    example: Example | None = None
    failure: Failure | None = None


def keep(run: RunDir, number: int, row: Made) -> None:
    example = row.example(number)
    body = row.result(number).model_dump_json().encode()
    asyncio.run(run.store.keep_result("recycle", example.id, "mark:" + example.content_hash(), body, row.reason))


def make(path: Path, rows: list[Made]) -> Path:
    columns = {"instruction": "instruction", "response": "output"}
    with RunDir(path) as run:
        for stage, maker in (("recycle", ORACLE), ("score", STUDENT)):
            run.made_by(stage, maker)
            run.confirm(stage)
        read = (Read(n, {"instruction": row.instruction}, row.example(n)) for n, row in enumerate(rows))
        run.ingest(read, mapping=Mapping(shape="alpaca", columns=columns).model_dump_json())
        entries = [
            (f"row {n}", row.result(n).model_dump_json().encode(), row.reason)
            for n, row in enumerate(rows)
            if not row.pending
        ]
        run.store.keep_results("recycle", "mark:", entries)
        scores = [
            (
                f"row {n}",
                Scored(id=f"row {n}", versions={"A": VersionScores(ifd_ppl=row.ifd)}).model_dump_json().encode(),
                None,
            )
            for n, row in enumerate(rows)
            if row.ifd is not None
        ]
        run.store.keep_results("score", "student:", scores)
    with sqlite3.connect(path / "state.sqlite") as database:
        marks = [(f"row {n}", gate, "{}") for n, row in enumerate(rows) for gate in row.gates]
        database.executemany("INSERT INTO marks VALUES (?, ?, ?)", marks)
    return path


@contextmanager
def kept(path: Path) -> Iterator[Keeper]:
    keeper = Keeper(path)
    keeper.ask(Question())
    keeper.wait()
    yield keeper
    keeper.close()


def positions(keeper: Keeper, **asked: Any) -> list[int]:
    asked.setdefault("limit", 1000)
    answer = keeper.ask(Question(**asked))
    assert answer.total == len(answer.lines)
    return [line.position for line in answer.lines]


LETTERS = st.text(st.sampled_from('aAbß é"*\n天气人İ\x00\x1f😀'), max_size=12)
ROWS = st.lists(
    st.builds(
        Made,
        instruction=LETTERS,
        response=LETTERS,
        better=LETTERS,
        reason=st.sampled_from([None, "copy", "loop"]),
        pending=st.booleans(),
        score=st.integers(1, 10),
        ifd=st.none() | st.floats(0, 2),
        gates=st.sampled_from([(), ("drift",), ("drift", "length")]),
    ),
    min_size=1,
    max_size=8,
)


def plainly(rows: list[Made], question: str) -> list[int]:
    """The same search as a plain scan."""
    words = sought(question)
    return [n for n, row in enumerate(rows) if all(any(w in folded(text) for text in row.texts) for w in words)]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, question=LETTERS, pieces=st.data())
def test_search_finds_what_a_plain_scan_finds(rows: list[Made], question: str, pieces: st.DataObject) -> None:
    path = Path(tempfile.mkdtemp())
    try:
        make(path, rows)
        with kept(path) as keeper:
            text = pieces.draw(st.sampled_from([text for row in rows for text in row.texts]))
            begin = pieces.draw(st.integers(0, max(len(text) - 1, 0)))
            part = text[begin : begin + pieces.draw(st.integers(1, 5))]
            for asked in (question, f'"{part}', part.swapcase()):
                assert positions(keeper, search=asked) == plainly(rows, asked), asked
    finally:
        shutil.rmtree(path)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, descending=st.booleans(), low=st.none() | st.floats(0, 2))
def test_sorting_and_filtering_are_those_of_a_plain_list(rows: list[Made], descending: bool, low: float | None) -> None:
    path = Path(tempfile.mkdtemp())
    try:
        make(path, rows)
        with kept(path) as keeper:
            # only what a row was rewritten as is scored here
            ratio = {n: row.ifd if row.status == "rewritten" else None for n, row in enumerate(rows)}
            there = sorted((n for n in ratio if ratio[n] is not None), key=lambda n: ratio[n] or 0, reverse=descending)
            if descending:  # rows that are alike stay in the order of the data
                there.sort(key=lambda n: (-(ratio[n] or 0), n))
            missing = [n for n in ratio if ratio[n] is None]
            assert positions(keeper, sort="ifd_after", descending=descending) == there + missing
            if low is not None:
                above = [n for n in there if (ratio[n] or 0) >= low]
                assert positions(keeper, sort="ifd_after", descending=descending, low=low) == above
            for status in ("rewritten", "failed", "pending"):
                expected = [n for n, row in enumerate(rows) if row.status == status]
                assert positions(keeper, filters={"status": (status,)}) == expected
            expected = [n for n, row in enumerate(rows) if "drift" in row.gates]
            assert positions(keeper, filters={"gate": ("drift",)}) == expected
            assert positions(keeper, filters={"gate": ("none",)}) == [n for n in ratio if n not in expected]
            assert sum(keeper.facets()["status"].values()) == len(rows)
    finally:
        shutil.rmtree(path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [
        Made("Name the weather.", "Rain", better="It will rain tomorrow in the north.", score=3, ifd=0.5),
        Made("今天天气怎么样？", "晴", better="今天北京天气晴朗，最高气温二十度。", score=8, ifd=0.9),
        Made("Copy this.", "this", reason="copy", gates=("length",)),
        Made("Later", "later", pending=True),
    ]
    return make(tmp_path / "run", rows)


def test_pages_are_cut_from_one_order_and_the_total_is_exact(run: Path) -> None:
    with kept(run) as keeper:
        first = keeper.ask(Question(sort="score", descending=True, limit=2))
        second = keeper.ask(Question(sort="score", descending=True, limit=2, offset=2))
    assert (first.total, second.total) == (4, 4)
    assert [line.position for line in (*first.lines, *second.lines)] == [1, 2, 0, 3]


def test_a_line_says_what_became_of_the_row(run: Path) -> None:
    with RunDir(run) as folder:
        outcomes = [("row 0", Selected(kept=True, version="A", reason="new-response", detail="IFD"))]
        folder.keep_selection(outcomes)
    with deciding_in(run) as folder:
        decide(folder, "row 2", Said("edit", Version(instruction="Mine", response="mine")))
    with kept(run) as keeper:
        lines = {line.position: line for line in keeper.ask(Question()).lines}
    assert (lines[0].status, lines[0].kept, lines[0].won, lines[0].why) == ("rewritten", 1, "A", "new-response")
    assert (lines[0].instruction_before, lines[0].response_before, lines[0].response_after) == (3, 1, 7)
    assert (lines[0].ifd_after, lines[0].score) == (0.5, 3.0)
    assert (lines[1].response_before, lines[1].response_after) == (1, 15)
    assert lines[1].change is not None
    assert 0 < lines[1].change < 1
    assert (lines[2].status, lines[2].reason, lines[2].human, lines[2].gates) == ("failed", "copy", "edit", "")
    assert (lines[2].title, lines[2].ifd_after) == ("Mine", None)
    assert lines[3].change is None


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("weather", [0]),
        ("NAME north", [0]),
        ("name north copy", []),
        ("天气", [1]),
        ("天", [1]),
        ("气晴朗", [1]),
        ('"in the north"', [0]),
        ('"rain rain"', []),
        ("。", [1]),
        ('"', [0, 1, 2, 3]),
        ("%", []),
        ("th", [0, 2]),
        ("x' OR 1=1 --", []),
        ("NEAR(a b)", []),
    ],
)
def test_what_is_sought_is_found(run: Path, question: str, found: list[int]) -> None:
    with kept(run) as keeper:
        assert positions(keeper, search=question) == found


def test_only_what_has_changed_is_read_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    read = making.entry_of

    def noted(known: Any) -> Any:
        seen.append(known.row.id)
        return read(known)

    monkeypatch.setattr(making, "entry_of", noted)
    monkeypatch.setattr(keeping, "_REST", 0.0)
    with kept(run) as keeper:
        assert seen == ["row 0", "row 1", "row 2", "row 3"]
        seen.clear()
        with RunDir(run) as folder:
            folder.made_by("recycle", ORACLE)
            keep(folder, 3, Made("Later", "later", better="Now it is here"))
        keeper.wait()
        assert seen == ["row 3"]
        assert positions(keeper, search="now it is") == [3]
        assert positions(keeper, filters={"status": ("pending",)}) == []
        seen.clear()
        with deciding_in(run) as folder:
            decide(folder, "row 0", Said("reject"))
        keeper.wait()
        assert seen == ["row 0"]
        assert positions(keeper, filters={"human": ("reject",)}) == [0]
        seen.clear()
        with RunDir(run) as folder:
            folder.forget("recycle")
            folder.made_by("recycle", ORACLE)
            keep(folder, 0, Made("Name the weather.", "Rain", better="It will snow tomorrow in the north.", score=3))
        keeper.wait()
        assert positions(keeper, search="snow") == [0]
        assert positions(keeper, search='"will rain"') == []
        assert positions(keeper, filters={"human": ("stale",)}) == [0]


def test_a_row_that_was_decided_about_is_there_at_once(run: Path) -> None:
    with kept(run) as keeper:
        with deciding_in(run) as folder:
            decide(folder, "row 0", Said("edit", Version(instruction="Mine alone", response="mine")))
        keeper.take_in("row 0")
        assert positions(keeper, search="mine alone") == [0]
        keeper.wait()
        assert positions(keeper, search="mine alone") == [0]


def test_rows_that_are_gone_are_not_found(run: Path) -> None:
    with kept(run) as keeper:
        with RunDir(run) as folder:
            row = Made("Another", "one", pending=True)
            folder.ingest([Read(7, {"instruction": row.instruction}, row.example(7))])
        keeper.wait()
        assert positions(keeper) == [7]
        assert positions(keeper, search="weather") == []


def test_an_index_that_was_deleted_or_damaged_is_made_anew(run: Path) -> None:
    with kept(run) as keeper:
        for end in ("", "-wal", "-shm"):
            (run / f"{FILE}{end}").unlink(missing_ok=True)
        keeper.ask(Question())
        keeper.wait()
        assert positions(keeper, search="weather") == [0]
    (run / FILE).write_bytes(b"no database at all" * 1000)
    with kept(run) as keeper:
        assert positions(keeper, search="weather") == [0]


def test_a_folder_that_cannot_be_written_has_its_index_elsewhere(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("reflectune.web.index.tables.tempfile.TemporaryFile", refused)
    with kept(run) as keeper:
        assert positions(keeper, search="weather") == [0]
    assert not (run / FILE).exists()


def test_a_run_that_cannot_be_read_is_told_of_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"no database at all" * 1000)
    keepers = Keepers()
    keeper = keepers.of(tmp_path)
    assert keeper.ask(Question()).total == 0
    keeper.wait(5)
    assert "Cannot open" in keeper.state.error
    assert keepers.of(tmp_path) is keeper
    keepers.close()


def test_texts_do_not_run_into_each_other() -> None:
    assert folded("in the") in joined(["in the", "end"])
    assert "theend" not in joined(["in the", "end"])
    assert sought('A "b C" d"e') == ["a", "b c", "d", "e"]


def test_lines_are_what_the_index_has() -> None:
    from reflectune.web.index.entry import Entry

    names = set(Entry.__dataclass_fields__)
    assert set(Line.__dataclass_fields__) == names - {"mark"}
