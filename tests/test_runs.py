from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reflectune.cli import app
from reflectune.errors import InputError, RunError
from reflectune.records import (
    Example,
    Failure,
    Message,
    Record,
    Recycled,
    Remark,
    Reply,
    Request,
    Rewrite,
    Version,
    VersionName,
)
from reflectune.runs import Maker, RunDir, Spent, StoredRow
from reflectune.runs.export import provenance
from reflectune.runs.merge import merge

MARK = "mark:"
OURS = Maker(MARK, "oracle", "prompts")


@dataclass(frozen=True)
class Row:
    number: int
    raw: dict[str, Any]
    example: Example | None = None
    failure: Failure | None = None


def rows(count: int, *, first: int = 0) -> Iterator[Row]:
    for number in range(first, first + count):
        example = Example(str(number), f"question {number}", "answer", history=(Message("user", "before"),))
        yield Row(number, {"instruction": f"question {number}"}, example)


def recycled(name: str, reason: str | None = None) -> Recycled:
    failure = Failure(id=name, stage="instruction", reason=reason) if reason else None
    return Recycled(
        id=name, language="en", versions={"original": Version(instruction="q", response="a")}, failure=failure
    )


def opened(path: Path) -> RunDir:
    run = RunDir(path)
    run.made_by("recycle", OURS)
    return run


async def keep(run: RunDir, example: Example, reason: str | None = None, mark: str = MARK) -> None:
    body = recycled(example.id, reason).model_dump_json().encode()
    await run.store.keep_result("recycle", example.id, mark + example.content_hash(), body, reason)


def test_what_is_pending_is_what_has_no_result_under_this_fingerprint(tmp_path: Path) -> None:
    async def work(run: RunDir) -> None:
        examples = list(run.pending("recycle"))
        await keep(run, examples[0])
        await keep(run, examples[1], "copy")
        await keep(run, examples[2], mark="another:")

    with opened(tmp_path / "run") as run:
        assert run.ingest(rows(1200)) == 1200
        assert [example.id for example in run.pending("recycle")] == [str(n) for n in range(1200)]
        asyncio.run(work(run))
        counts = run.counts("recycle")
        assert (counts.rows, counts.done, counts.failed, counts.pending) == (1200, 1, 1, 1198)
        assert counts.reasons == {"copy": 1}
        assert "0" not in {example.id for example in run.pending("recycle")}
        assert [failure.reason for failure in run.failures("recycle")] == ["copy"]


def test_an_example_comes_back_as_it_went_in(tmp_path: Path) -> None:
    example = Example(
        "7", "a {{b}} {c} </output>", "\u2028 déjà 你好 \x00", "in", "sys", (Message("user", "q"), Message("tool", "t"))
    )
    with RunDir(tmp_path) as run:
        run.ingest([Row(1, {"a": 1}, example)])
        assert list(run.pending("recycle")) == [example]


def test_a_row_that_could_not_be_read_is_counted_and_explained(tmp_path: Path) -> None:
    failure = Failure(id="3", stage="read", reason="no-response")
    with opened(tmp_path) as run:
        run.ingest([*rows(2), Row(9, {"x": 1}, failure=failure)])
        assert list(run.failures("recycle")) == [failure]
        counts = run.counts("recycle")
        assert (counts.rows, counts.failed, counts.pending) == (3, 1, 2)


def test_a_changed_row_is_pending_again_and_others_are_not(tmp_path: Path) -> None:
    async def all_done(run: RunDir) -> None:
        await asyncio.gather(*(keep(run, example) for example in list(run.pending("recycle"))))

    with opened(tmp_path) as run:
        run.ingest(rows(3))
        asyncio.run(all_done(run))
        changed = Row(1, {}, Example("1", "another question", "answer"))
        run.ingest([next(rows(1)), changed, *rows(1, first=2)])
        assert [example.id for example in run.pending("recycle")] == ["1"]


def test_an_input_that_breaks_off_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    def broken() -> Iterator[Row]:
        yield from rows(1)
        raise InputError("line 2 is broken")

    with RunDir(tmp_path) as run:
        run.ingest(rows(5))
        with pytest.raises(InputError, match="line 2"):
            run.ingest(broken())
        with pytest.raises(InputError, match="no row"):
            run.ingest([])
        assert run.counts("recycle").rows == 5


def test_failures_are_kept_until_something_new_is_there(tmp_path: Path) -> None:
    request = Request((Message("user", "long " * 100),))

    async def work(run: RunDir) -> None:
        good, bad = list(run.pending("recycle"))
        await keep(run, good)
        await keep(run, bad, "copy")
        await run.store.keep_reply("good", request, "oracle", Reply(text="fine", prompt_tokens=3))
        await run.store.keep_reply("bad", request, "oracle", Reply(text="same", rejected="copy", completion_tokens=2))

    with opened(tmp_path) as run:
        run.ingest(rows(2))
        asyncio.run(work(run))
        assert run.do_again("recycle") == 1
        assert run.store.reply("good") == Reply(text="fine", prompt_tokens=3)
        assert run.store.reply("bad") is None
        assert [example.id for example in run.pending("recycle", which="again")] == ["1"]
        assert not list(run.pending("recycle"))
        assert (run.counts("recycle").failed, len(list(run.failures("recycle")))) == (1, 1)
        assert run.spent() == [Spent("oracle", False, 2, 3, 0, 2)]
        run.forget("recycle")
        assert run.store.reply("good") is None
        assert run.counts("recycle").pending == 2


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with RunDir(tmp_path):
        program = f"from pathlib import Path; from reflectune.runs import RunDir; RunDir(Path({str(tmp_path)!r}))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"in use by process {os.getpid()}" in done.stderr
    RunDir(tmp_path).close()


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from reflectune.records import Message, Reply, Request
        from reflectune.runs import RunDir

        async def main():
            run = RunDir(Path({str(tmp_path)!r}))
            for number in range(10_000):
                await run.store.keep_reply(str(number), Request((Message("user", "q"),)), "o", Reply(text=str(number)))
                print(number, flush=True)

        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        seen = [int(next(lines)) for _ in range(50)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen += [int(line) for line in lines if line.endswith("\n")]
    with RunDir(tmp_path, create=False) as run:
        assert all(run.store.reply(str(number)) == Reply(text=str(number)) for number in seen)


def test_a_run_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunError, match="Cannot write") as caught:
        RunDir(tmp_path / "file" / "run")
    assert "--run" in caught.value.mend


def test_a_state_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_text("this is not a database, and it is long enough to be told from one" * 20)
    with pytest.raises(RunError, match=r"(?s)state\.sqlite.*--run"):
        RunDir(tmp_path)
    with pytest.raises(RunError) as looking:
        RunDir(tmp_path, look=True)
    assert "--run" not in str(looking.value)


def test_a_run_of_another_command_is_listed_as_what_it_is_and_has_no_data_to_write(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    RunDir(tmp_path / "plain").close()
    (tmp_path / "plain" / "answers.jsonl").write_text("{}\n")
    assert "plain  answers of a model" in CliRunner().invoke(app, ["runs", "list", str(tmp_path)]).stdout
    for verb in ("write", "resume", "retry"):
        refused = CliRunner().invoke(app, ["runs", verb, str(tmp_path / "plain")])
        assert "holds no data that was recycled" in str(refused.exception)


def test_a_missing_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run in"):
        RunDir(tmp_path / "nothing", create=False)


async def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run._database.execute("PRAGMA max_page_count = 24")
        texts = [os.urandom(2000).hex() for _ in range(200)]
        keep = [
            run.store.keep_reply(str(number), Request((Message("user", text),)), "o", Reply(text=text))
            for number, text in enumerate(texts)
        ]
        await keep[0]
        with pytest.raises(RunError, match="full") as caught:
            await asyncio.gather(*keep[1:])
        assert "same command" in caught.value.mend
    with RunDir(tmp_path) as run:
        assert run.store.reply("0") is not None


async def test_what_cannot_be_stored_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        half = Reply(text="half a character: \ud800")
        with pytest.raises(RunError):
            await asyncio.wait_for(run.store.keep_reply("k", Request((Message("user", "q"),)), "o", half), 5)


async def test_closing_commits_what_is_queued(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    waiting = asyncio.ensure_future(
        run.store.keep_reply("k", Request((Message("user", "q"),)), "o", Reply(text="paid for"))
    )
    await asyncio.sleep(0)
    run.close()
    await waiting
    with RunDir(tmp_path) as again:
        assert again.store.reply("k") == Reply(text="paid for")


def test_a_row_keeps_what_only_json_can_hold(tmp_path: Path) -> None:
    raw = {"large": 2**80, "nan": float("inf"), "half": "\ud800"}
    with RunDir(tmp_path) as run:
        run.ingest([Row(1, raw, Example("1", "q", "a"))])
        assert [row.raw for row in run.rows("recycle")] == [raw]


def test_a_run_in_use_can_be_looked_at(tmp_path: Path) -> None:
    with RunDir(tmp_path) as run:
        run.ingest(rows(3))
        with RunDir(tmp_path, look=True) as seen:
            assert seen.counts("recycle").pending == 3


def test_rows_that_another_oracle_made_stay_good_beside_ours(tmp_path: Path) -> None:
    another = Maker("other:", "another oracle", "prompts")

    async def first(run: RunDir) -> None:
        examples = list(run.pending("recycle"))
        await keep(run, examples[0])
        await keep(run, examples[1], "copy")

    async def second(run: RunDir) -> None:
        (example,) = run.pending("recycle", which="again")
        assert run.store.result("recycle", example.id, f"ours:{example.content_hash()}") is None
        await keep(run, example, mark="other:")
        assert not list(run.pending("recycle", which="both"))

    with opened(tmp_path) as run:
        run.ingest(rows(2))
        asyncio.run(first(run))
        run.confirm("recycle")
    with RunDir(tmp_path) as run:
        run.made_by("recycle", another)
        assert run.counts("recycle").pending == 2  # nobody asked for the old ones to stay
    with RunDir(tmp_path) as run:
        run.made_by("recycle", another, beside=True)
        assert run.do_again("recycle", reasons=("echo",)) == 0
        assert run.do_again("recycle", reasons=("echo", "copy")) == 1
        asyncio.run(second(run))
        run.confirm("recycle")
    with RunDir(tmp_path) as run:
        run.made_by("recycle", OURS)
        assert run.counts("recycle").done == 2
        assert [row.maker for row in run.rows("recycle")] == [OURS, another]
        assert run.written_by("recycle") == {
            "oracle": {"rewritten": 1, "failed": 0},
            "another oracle": {"rewritten": 1, "failed": 0},
        }
        assert [maker.oracle for maker in run.makers("recycle")] == ["oracle", "another oracle"]


def test_a_sample_is_spread_over_the_data_and_always_the_same(tmp_path: Path) -> None:
    async def done(run: RunDir, examples: list[Example]) -> None:
        await asyncio.gather(*(keep(run, example) for example in examples))

    with opened(tmp_path) as run:
        run.ingest(rows(1000))
        sample = list(run.pending("recycle", sample=20))
        places = [int(example.id) for example in sample]
        assert len(places) == 20
        assert max(b - a for a, b in zip([0, *places], [*places, 1000], strict=True)) < 120
        asyncio.run(done(run, sample[:5]))
        assert [example.id for example in run.pending("recycle", sample=20)] == [example.id for example in sample[5:]]


def test_the_tokens_of_an_oracle_are_weighed(tmp_path: Path) -> None:
    async def work(run: RunDir) -> None:
        request = Request((Message("user", "q"),))
        run.made_by("recycle", OURS)
        for number, tokens in enumerate((10, 30)):
            reply = Reply(text="a", prompt_tokens=tokens, cached_tokens=4, completion_tokens=1)
            await run.store.keep_reply(str(number), request, "oracle", reply)
        run.made_by("recycle", Maker("other:", "oracle", "prompts"))
        await run.store.keep_reply("another", request, "oracle", Reply(text="a", prompt_tokens=999))

    with RunDir(tmp_path) as run:
        asyncio.run(work(run))
        taken = run.taken(OURS, (1.0, 0.5, 2.0))
        assert (taken.count, taken.total) == (2, (6 + 2 + 2) + (26 + 2 + 2))
        assert taken.variance == pytest.approx(200)
        assert run.taken(Maker("x:", "nobody", ""), (1.0, 1.0, 1.0)).variance == 0


def test_marks_are_kept_until_the_results_change(tmp_path: Path) -> None:
    class Mark(Record):
        id: str
        gate: str

    with RunDir(tmp_path) as run:
        run.ingest(rows(3))
        run.marks.keep([Mark(id="1", gate="length"), Mark(id="1", gate="drift"), Mark(id="2", gate="drift")])
        run.marks.drop(["drift"])
    with RunDir(tmp_path) as run:
        assert run.marks.count() == {"drift": 2, "length": 1}
        assert [row.gates for row in run.rows("recycle")] == [(), ("drift", "length"), ("drift",)]
        assert run.marks.dropped == ("drift",)
        asyncio.run(keep(run, list(run.pending("recycle"))[1]))
        assert run.marks.count() == {"drift": 1}
        assert not run.marks.holds("1", "drift")
        run.forget("recycle")
        assert run.marks.count() == {}


@pytest.mark.parametrize(
    ("made", "best", "criticised"),
    [
        ([("instruction", "original"), ("response", "Q")], "QA", ["original", "Q", "QA"]),
        ([("instruction", "original"), ("response", "original")], "A", ["original", "original", "A"]),
        (
            [("instruction", "original"), ("response", "original"), ("response", "Q")],
            "QA",
            ["original", "original", "Q", "QA"],
        ),
        ([("instruction", "original")], "Q", ["original", "Q"]),
        ([("response", "original")], "A", ["original", "A"]),
    ],
)
def test_each_score_names_the_version_that_was_criticised(
    made: list[tuple[Any, VersionName]], best: str, criticised: list[str]
) -> None:
    pair = Version(instruction="q", response="a")
    remarks = [
        (Remark(subject="response", criterion="accuracy", remark=".", score=number + 1),)
        for number in range(len(made) + 1)
    ]
    rewrites = [
        Rewrite(kind=kind, of=of, remarks=said, version=pair)
        for (kind, of), said in zip(made, remarks[:-1], strict=True)
    ]
    result = Recycled(
        id="1",
        language="en",
        versions={"original": pair, **{rewrite.makes: pair for rewrite in rewrites}},
        rewrites=tuple(rewrites),
        after=remarks[-1],
    )
    said = provenance(StoredRow("1", {}, None, result, None, OURS))
    assert said["version"] == best
    assert [score["version"] for score in said["scores"]] == criticised
    assert [score["score"] for score in said["scores"]] == list(range(1, len(made) + 2))


def test_a_run_of_another_layout_is_not_touched(tmp_path: Path) -> None:
    RunDir(tmp_path).close()
    with sqlite3.connect(tmp_path / "state.sqlite") as database:
        database.execute("PRAGMA user_version = 1")
    for look in (False, True):
        with pytest.raises(RunError, match="another version"):
            RunDir(tmp_path, look=look)


def shard(path: Path, first: int, *, failed: bool = False) -> Path:
    """A run over every second row, all of them done, with a reply each."""

    async def work(run: RunDir) -> None:
        for example in list(run.pending("recycle")):
            await keep(run, example, "copy" if failed else None)
            reply = Reply(text=f"reply {example.id}", prompt_tokens=5)
            request = Request((Message("system", "rubric"), Message("user", example.id)))
            await run.store.keep_reply(f"key {example.id}", request, "oracle", reply)
        await run.store.keep_reply("same", request, "oracle", Reply(text="the same in both", prompt_tokens=1))

    with opened(path) as run:
        run.ingest([row for row in rows(10) if row.number % 2 == first])
        run.remember("mapping", "{}")
        asyncio.run(work(run))
        run.confirm("recycle")
    return path


def test_shards_are_merged_row_by_row(tmp_path: Path) -> None:
    parts = [shard(tmp_path / "a", 0), shard(tmp_path / "b", 1, failed=True)]
    merge(parts, tmp_path / "whole")
    with RunDir(tmp_path / "whole") as run:
        assert [row.id for row in run.rows("recycle")] == [str(number) for number in range(10)]
        counts = run.counts("recycle")
        assert (counts.done, counts.failed, counts.pending) == (5, 5, 0)
        assert run.store.reply("key 7") == Reply(text="reply 7", prompt_tokens=5)
        assert run.store.reply("same") == Reply(text="the same in both", prompt_tokens=1)
        assert run.spent() == [Spent("oracle", False, 12, 52, 0, 0)]
    assert not list(tmp_path.glob(".*"))


def test_runs_that_do_not_fit_together_are_not_merged(tmp_path: Path) -> None:
    one, two, same = shard(tmp_path / "a", 0), shard(tmp_path / "b", 1), shard(tmp_path / "c", 0)
    with pytest.raises(RunError, match=r"Row 0 of .*c is in another"):
        merge([one, two, same], tmp_path / "whole")
    with RunDir(two) as run:
        run.remember("mapping", "another")
        with pytest.raises(RunError, match="in use"):
            merge([one, two], tmp_path / "whole")
    with pytest.raises(RunError, match="another way"):
        merge([one, two], tmp_path / "whole")
    with pytest.raises(RunError, match="already"):
        merge([one], two)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


async def test_the_probabilities_of_first_tokens_are_kept(tmp_path: Path) -> None:
    request = Request((Message("user", "q"),), top_logprobs=2)
    likely = {" 1": -0.25, "二": -1.5}
    with RunDir(tmp_path) as run:
        await run.store.keep_reply("with", request, "o", Reply(text="1", top_logprobs=likely))
        await run.store.keep_reply("without", request, "o", Reply(text="1"))
    with RunDir(tmp_path) as run:
        assert run.store.reply("with") == Reply(text="1", top_logprobs=likely)
        assert run.store.reply("without") == Reply(text="1")
