from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reflectune.cli import app
from reflectune.cli.dataset import of_run
from reflectune.cli.push import push_run
from reflectune.cli.train_asked import Asked
from reflectune.errors import InputError, RunError, SettingsError
from reflectune.formats import Mapping
from reflectune.gates.marks import Mark
from reflectune.recipe import Recipe
from reflectune.records import Example, Failure, Recycled, Rewrite, Scored, Version, VersionScores
from reflectune.runs import HUMAN, Decided, Maker, RunDir, StoredRow
from reflectune.runs.deciding import Said, behind, decide, decided, deciding_in
from reflectune.runs.export import export, export_of, written_rows
from reflectune.runs.merge import merge

OURS = Maker("mark:", "oracle", "prompts")
MENDED = Version(instruction="mine?", response="mine")


@dataclass(frozen=True)
class Row:
    number: int
    raw: dict[str, Any]
    example: Example | None = None
    failure: Failure | None = None


def made(name: str, reason: str | None = None, word: str = "new") -> Recycled:
    versions = {"original": Version(instruction=f"question {name}", response="old")}
    if reason is None:
        versions["QA"] = Version(instruction=f"{word} question {name}", response=f"{word} answer")
    failure = Failure(id=name, stage="instruction", reason=reason, raw="…") if reason else None
    rewrite = Rewrite(kind="response", remarks=(), version=versions["original"], of="Q")
    return Recycled(id=name, language="en", versions=versions, rewrites=(rewrite,), failure=failure)  # type: ignore[arg-type]


async def keep(run: RunDir, example: Example, reason: str | None = None, word: str = "new") -> None:
    body = made(example.id, reason, word).model_dump_json().encode()
    await run.store.keep_result("recycle", example.id, "mark:" + example.content_hash(), body, reason)


def run_of(path: Path, failed: tuple[str, ...] = ("3",), rows: range = range(6)) -> Path:
    """Rows 0 to 5: 3 failed, 4 is pending, 5 could not be read."""
    with RunDir(path) as run:
        run.made_by("recycle", OURS)
        read = [
            Row(
                number,
                {"instruction": f"question {number}", "output": "old"},
                Example(str(number), f"question {number}", "old"),
            )
            for number in rows
            if number != 5
        ]
        unread = Row(5, {"instruction": ""}, failure=Failure(id="5", stage="read", reason="no-instruction"))
        columns = {"instruction": "instruction", "response": "output"}
        mapping = Mapping(shape="alpaca", columns=columns).model_dump_json()
        run.ingest([*read, *([unread] if 5 in rows else [])], mapping=mapping)
        run.confirm("recycle")

        async def work() -> None:
            for row in read:
                if row.example and row.example.id != "4":
                    await keep(run, row.example, "copy" if row.example.id in failed else None)

        asyncio.run(work())
        Recipe.made_of({"data": "data.json", "oracle": "m"}, source="test").save(path / "recipe.yaml")
    return path


def say(path: Path, row: str, verdict: Any, version: Version | None = None, note: str = "") -> None:
    with deciding_in(path) as run:
        decide(run, row, Said(verdict, version, note))


def row_of(path: Path, name: str) -> StoredRow:
    with RunDir(path, look=True) as run:
        return next(run.rows("recycle", row=name))


def exported(path: Path, *, fill: bool = False) -> list[dict[str, Any]]:
    with RunDir(path, look=True) as run:
        return list(written_rows(run, export_of(run, fill=fill)))


def test_a_row_without_a_decision_is_as_it_was(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert [row["output"] for row in exported(tmp_path)] == ["new answer"] * 3
    assert {row["reflectune"]["human"] for row in exported(tmp_path)} == {""}
    assert not row_of(tmp_path, "0").decision


def test_the_export_follows_what_was_decided(tmp_path: Path) -> None:
    run_of(tmp_path)
    say(tmp_path, "0", "accept")
    say(tmp_path, "1", "reject", note="wrong")
    say(tmp_path, "2", "edit", MENDED)
    say(tmp_path, "3", "edit", MENDED)
    rows = {row["reflectune"]["id"]: row for row in exported(tmp_path)}
    assert list(rows) == ["0", "2", "3"]
    assert (rows["0"]["output"], rows["0"]["reflectune"]["version"], rows["0"]["reflectune"]["human"]) == (
        "new answer",
        "QA",
        "accept",
    )
    for name in ("2", "3"):
        assert (rows[name]["instruction"], rows[name]["output"]) == ("mine?", "mine")
        assert (rows[name]["reflectune"]["version"], rows[name]["reflectune"]["human"]) == ("human", "edit")
    assert rows["3"]["reflectune"]["failure"] == "copy"
    with RunDir(tmp_path) as run:
        counts = run.counts("recycle")
        assert (counts.rows, counts.done, counts.failed, counts.pending) == (6, 3, 2, 1)
        assert decided(run) == Decided(accepted=1, edited=2, mended=1, rejected=1)
        assert export(run, export_of(run)) == 3
    lost = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    assert lost == [
        {
            "id": "1",
            "of": "QA",
            "note": "wrong",
            "version": {"instruction": "new question 1", "response": "new answer", "input": ""},
        }
    ]


def test_undoing_a_decision_brings_the_row_back_and_the_list_of_the_rejected_goes(tmp_path: Path) -> None:
    run_of(tmp_path)
    say(tmp_path, "1", "reject")
    with RunDir(tmp_path) as run:
        export(run, export_of(run))
        assert (tmp_path / "rejected.jsonl").is_file()
        assert run.decisions.undo("1")
        assert not run.decisions.undo("1")
        assert export(run, export_of(run)) == 3
    assert not (tmp_path / "rejected.jsonl").exists()


def test_a_rejected_row_that_failed_does_not_stand_in_as_it_was(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert [row["recycled"] for row in exported(tmp_path, fill=True)] == [True, True, True, False, False]
    say(tmp_path, "3", "reject")
    assert [row["recycled"] for row in exported(tmp_path, fill=True)] == [True, True, True, False]


def test_a_decision_about_what_was_made_anew_is_stale_and_not_applied(tmp_path: Path) -> None:
    run_of(tmp_path)
    say(tmp_path, "1", "reject")
    with RunDir(tmp_path) as run:
        run.made_by("recycle", OURS)
        example = row_of(tmp_path, "1").example
        assert example is not None
        asyncio.run(keep(run, example, word="newer"))
    row = row_of(tmp_path, "1")
    assert row.decision is None
    assert row.stale is not None
    assert row.stale.verdict == "reject"
    assert len(exported(tmp_path)) == 3
    with RunDir(tmp_path, look=True) as run:
        assert decided(run) == Decided(stale=1)
    with RunDir(tmp_path) as run:  # and the same result as before makes it hold again
        run.made_by("recycle", OURS)
        asyncio.run(keep(run, example))
    assert row_of(tmp_path, "1").decision is not None


def test_a_decision_is_stale_while_its_row_is_pending(tmp_path: Path) -> None:
    run_of(tmp_path)
    say(tmp_path, "1", "accept")
    with RunDir(tmp_path) as run:
        run.forget("recycle")
    assert row_of(tmp_path, "1").stale is not None


@pytest.mark.parametrize(
    ("name", "said", "error", "words"),
    [
        ("3", Said("accept"), InputError, "failed"),
        ("4", Said("reject"), InputError, "not done"),
        ("5", Said("edit", MENDED), InputError, "could not be read"),
        ("9", Said("reject"), RunError, "no row 9"),
        ("1", Said("edit"), SettingsError, "an instruction and a response"),
        ("1", Said("edit", Version(instruction="a", response=" ")), SettingsError, "an instruction and a response"),
        ("1", Said("edit", Version(instruction="a", response="b\0")), SettingsError, "NUL"),
        ("1", Said("reject", note="\ud800"), SettingsError, "half a character"),
        ("1", Said("edit", MENDED, "\ud800"), SettingsError, "half a character"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    tmp_path: Path, name: str, said: Said, error: type[Exception], words: str
) -> None:
    run_of(tmp_path)
    with deciding_in(tmp_path) as run, pytest.raises(error, match=words):
        decide(run, name, said)
    with RunDir(tmp_path, look=True) as run:
        assert not run.decisions.all()


def test_a_row_that_was_made_anew_under_ones_eyes_is_to_be_looked_at_again(tmp_path: Path) -> None:
    run_of(tmp_path)
    seen = row_of(tmp_path, "1").hash
    with deciding_in(tmp_path) as run:
        decide(run, "1", Said("accept"), seen)
        with pytest.raises(InputError, match="anew"):
            decide(run, "1", Said("accept"), "another")


def test_a_run_of_the_layout_before_can_be_looked_at_and_is_brought_up_to_date_by_work(tmp_path: Path) -> None:
    run_of(tmp_path)
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("DROP TABLE decisions")
        database.execute("PRAGMA user_version = 5")
    assert len(exported(tmp_path)) == 3
    with RunDir(tmp_path, look=True) as run:
        assert not decided(run)
        assert run.decisions.mark() == ""
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (5,)
    say(tmp_path, "0", "reject")
    assert len(exported(tmp_path)) == 2
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        assert database.execute("PRAGMA user_version").fetchone() == (6,)


def test_the_rules_of_selection_stand_below_the_word_of_a_person(tmp_path: Path) -> None:
    run_of(tmp_path)
    ratios = VersionScores(ifd_ppl=0.5, rifd_ppl=0.5)
    with RunDir(tmp_path) as run:
        run.made_by("score", Maker("student:", "student", "template"))
        run.confirm("score")
        scores = [Scored(id=str(n), versions={"original": ratios, "QA": ratios}) for n in range(4)]
        run.store.keep_results("score", "student:", [(s.id, s.model_dump_json().encode(), None) for s in scores])
    say(tmp_path, "1", "reject", note="wrong")
    say(tmp_path, "3", "edit", MENDED)
    select = ("select", str(tmp_path), "--rule", "top-ifd", "--take", "2")
    assert CliRunner().invoke(app, select, catch_exceptions=False).exit_code == 0
    kept = [json.loads(line) for line in (tmp_path / "selected.jsonl").read_text().splitlines()]
    assert [(row["reflectune"]["id"], row["reflectune"]["version"]) for row in kept] == [
        ("0", "original"),
        ("3", "human"),
    ]
    assert kept[1]["output"] == "mine"
    assert "ifd_ppl" not in kept[1]["reflectune"]
    dropped = {row["id"]: row for row in map(json.loads, (tmp_path / "dropped.jsonl").read_text().splitlines())}
    assert (dropped["1"]["reason"], dropped["1"]["detail"]) == ("rejected-by-hand", "wrong")
    with RunDir(tmp_path, look=True) as run:
        said = {row.id: run.selected(row.example) for row in run.rows("recycle") if row.example}
        assert said["0"] is not None
        assert (said["0"].kept, said["0"].version, said["0"].reason) == (True, "original", "top-ifd")
        assert said["1"] is not None
        assert not said["1"].kept
        assert said["3"] is not None
        assert said["3"].version == "human"
        assert not behind(run, "selected.jsonl")


def test_statistics_follow_what_was_decided(tmp_path: Path) -> None:
    run_of(tmp_path)
    say(tmp_path, "1", "reject")
    say(tmp_path, "2", "edit", MENDED)
    before, after = of_run(tmp_path)
    assert [name for name, _ in before.rows] == [name for name, _ in after.rows] == ["0", "2"]
    assert dict(after.rows)["2"] == MENDED


def test_an_edit_has_not_been_through_the_quality_gates(tmp_path: Path) -> None:
    run_of(tmp_path)
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.executemany("INSERT INTO marks VALUES (?, 'drift', '{}')", [("1",), ("2",)])
    say(tmp_path, "1", "accept")
    say(tmp_path, "2", "edit", MENDED)
    assert (row_of(tmp_path, "1").gates, row_of(tmp_path, "2").gates) == (("drift",), ())
    with RunDir(tmp_path) as run:
        run.marks.drop(["drift"])
    assert [row["reflectune"]["id"] for row in exported(tmp_path)] == ["0", "2"]


@pytest.mark.parametrize("anew", [False, True])
def test_marks_come_back_with_the_text_they_were_made_for(tmp_path: Path, anew: bool) -> None:
    run_of(tmp_path)
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.executemany("INSERT INTO marks VALUES ('2', ?, '{}')", [("contamination",), ("drift",)])
    say(tmp_path, "2", "edit", MENDED)
    say(tmp_path, "2", "edit", Version(instruction="mine?", response="another"))
    with RunDir(tmp_path) as run:
        run.marks.drop(["contamination"])
        if anew:  # then they were made for what is no longer there
            run.made_by("recycle", OURS)
            example = row_of(tmp_path, "2").example
            assert example is not None
            asyncio.run(keep(run, example, word="newer"))
    with sqlite3.connect(tmp_path / "state.sqlite") as database:  # the gates looked at what stands for it
        database.execute("INSERT INTO marks VALUES ('2', 'length', '{}')")
    assert row_of(tmp_path, "2").gates == ("length",)
    with deciding_in(tmp_path) as run:
        run.decisions.undo("2")
    assert row_of(tmp_path, "2").gates == (("length",) if anew else ("contamination", "drift"))
    assert [row["reflectune"]["id"] for row in exported(tmp_path)] == (["0", "1", "2"] if anew else ["0", "1"])


def test_the_file_of_marks_follows_edits_and_what_is_taken_back(tmp_path: Path) -> None:
    run_of(tmp_path)
    lines = [Mark(id=name, gate="drift", subject="response", detail="…") for name in ("1", "2")]
    path = tmp_path / "gates.jsonl"
    path.write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    with RunDir(tmp_path) as run:
        run.marks.keep(lines)
    say(tmp_path, "2", "edit", MENDED)
    write = ["runs", "write", str(tmp_path)]
    assert CliRunner().invoke(app, write, catch_exceptions=False).exit_code == 0
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["1"]
    with deciding_in(tmp_path) as run:
        run.decisions.undo("2")
    assert CliRunner().invoke(app, write, catch_exceptions=False).exit_code == 0
    assert [json.loads(line) for line in path.read_text().splitlines()] == [line.model_dump() for line in lines]


def test_data_that_is_behind_the_decisions_is_not_trained_on(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert CliRunner().invoke(app, ["runs", "write", str(tmp_path)], catch_exceptions=False).exit_code == 0
    assert Asked(str(tmp_path)).file.endswith("recycled.jsonl")
    say(tmp_path, "1", "reject")
    with pytest.raises(RunError, match="decided about by hand"):
        _ = Asked(str(tmp_path)).file
    assert CliRunner().invoke(app, ["runs", "write", str(tmp_path)], catch_exceptions=False).exit_code == 0
    assert len(Path(Asked(str(tmp_path)).file).read_text().splitlines()) == 2
    totals = json.loads((tmp_path / "run.json").read_text())
    assert totals["decided"] == asdict(Decided(rejected=1))
    assert totals["written"] == 2


def test_data_that_is_behind_the_decisions_is_not_pushed(tmp_path: Path) -> None:
    run_of(tmp_path)
    assert CliRunner().invoke(app, ["runs", "write", str(tmp_path)], catch_exceptions=False).exit_code == 0
    push_run(tmp_path, "me/data", private=True, dry_run=True)
    say(tmp_path, "1", "reject")
    with pytest.raises(RunError, match="decided about by hand"):
        push_run(tmp_path, "me/data", private=True, dry_run=True)


def test_shards_keep_their_decisions_when_they_are_merged(tmp_path: Path) -> None:
    one, other = run_of(tmp_path / "one", rows=range(2)), run_of(tmp_path / "other", rows=range(2, 4))
    say(one, "1", "reject")
    say(other, "2", "edit", MENDED)
    merge([one, other], tmp_path / "whole")
    with RunDir(tmp_path / "whole", look=True) as run:
        assert decided(run) == Decided(edited=1, rejected=1)
    assert [row["output"] for row in exported(tmp_path / "whole")] == ["new answer", "mine"]


def test_a_decision_that_a_shard_kept_of_a_row_it_no_longer_holds_is_not_merged(tmp_path: Path) -> None:
    one, other = run_of(tmp_path / "one", rows=range(3)), run_of(tmp_path / "other", rows=range(2, 4))
    say(one, "2", "accept")
    with sqlite3.connect(one / "state.sqlite") as database:
        database.execute("DELETE FROM rows WHERE id = '2'")
    say(other, "2", "reject")
    merge([one, other], tmp_path / "whole")
    assert row_of(tmp_path / "whole", "2").rejected


def test_the_command_decides_shows_and_undoes(tmp_path: Path) -> None:
    run, edit = run_of(tmp_path / "run"), tmp_path / "edit.json"
    edit.write_text(json.dumps({"instruction": "mine?", "response": "mine"}))
    runner = CliRunner()

    def decides(*flags: str) -> int:
        return runner.invoke(app, ["runs", "decide", str(run), *flags]).exit_code

    assert decides("--row", "1", "--edit", str(edit), "--note", "[b]better[/b]") == 0
    assert decides("--row", "0", "--accept", "--reject") == 2
    assert decides("--row", "0") == 2
    shown = runner.invoke(app, ["runs", "show", str(run), "--row", "1"]).stdout
    assert "by hand: edit of QA" in shown
    assert "[b]better[/b]" in shown
    plain = json.loads(runner.invoke(app, ["runs", "show", str(run), "--row", "1", "--json"]).stdout)
    assert plain["decision"]["version"]["response"] == "mine"
    assert json.loads(runner.invoke(app, ["runs", "show", str(run)]).stdout)["decided"]["edited"] == 1
    assert decides("--row", "1", "--undo") == 0
    assert row_of(run, "1").decision is None


def test_a_number_of_the_pages_is_told_from_an_id(tmp_path: Path) -> None:
    with RunDir(tmp_path / "run") as run:
        row = Row(1, {"instruction": "a"}, Example("a b", "a", "b"))
        run.ingest([row], mapping=Mapping(shape="alpaca", columns={"instruction": "instruction"}).model_dump_json())
    for words in (["show"], ["decide", "--accept"], ["decide", "--undo"]):
        ended = CliRunner().invoke(app, ["runs", words[0], str(tmp_path / "run"), *words[1:], "--row", "1"])
        assert isinstance(ended.exception, RunError)
        assert "the id a b: --row 'a b'" in ended.exception.mend
        ended = CliRunner().invoke(app, ["runs", words[0], str(tmp_path / "run"), *words[1:], "--row", "9" * 30])
        assert "ids" in ended.exception.mend  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "[]", '{"instruction": "a"}', '{"instruction": "a", "response": "b", "x": 1}'])
def test_an_edit_that_is_none_is_an_error_that_says_what_to_write(tmp_path: Path, text: str) -> None:
    run, edit = run_of(tmp_path / "run"), tmp_path / "edit.json"
    edit.write_text(text)
    ended = CliRunner().invoke(app, ["runs", "decide", str(run), "--row", "1", "--edit", str(edit)])
    assert isinstance(ended.exception, InputError)
    assert '"instruction"' in ended.exception.mend


WORKER = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_decisions import OURS, keep
    from reflectune.runs import RunDir

    async def work(run):
        for turn in range(60):
            for name in "012":
                example = next(run.rows("recycle", row=name)).example
                await keep(run, example, word="new")
        print("done")

    with RunDir(Path(sys.argv[1])) as run:
        run.made_by("recycle", OURS)
        print("begun", flush=True)
        asyncio.run(work(run))
"""


@pytest.mark.server
def test_decisions_are_made_while_another_process_writes(tmp_path: Path) -> None:
    run_of(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as working:
        assert working.stdout is not None
        assert working.stdout.readline() == "begun\n"
        turns = 0
        while working.poll() is None:
            for name in "012":
                say(tmp_path, name, "reject" if turns % 2 else "accept")
            turns += 1
        assert working.stdout.read() == "done\n"
    assert working.returncode == 0
    assert turns > 3
    with RunDir(tmp_path, look=True) as run:
        found = decided(run)
    assert found.accepted + found.rejected == 3


def test_standing_is_what_a_person_wrote_before_what_the_oracle_did(tmp_path: Path) -> None:
    run_of(tmp_path)
    row = row_of(tmp_path, "1")
    assert row.standing is not None
    assert row.standing.name == "QA"
    say(tmp_path, "1", "edit", MENDED)
    edited = row_of(tmp_path, "1")
    assert edited.standing is not None
    assert (edited.standing.name, edited.standing.version) == (HUMAN, MENDED)
    assert replace(edited, decision=None).standing == row.standing
