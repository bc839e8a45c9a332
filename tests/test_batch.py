"""Recycling through a provider's batches, against a server that speaks their protocol."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from loopback import Loopback
from reflectune.cli.job import source_of
from reflectune.errors import OracleError
from reflectune.oracles.api import ApiOracle, ApiSettings
from reflectune.oracles.batch import BatchOracle
from reflectune.oracles.batch_inbox import AfterBatches, Inbox
from reflectune.oracles.batch_mail import BatchLimits, Mail
from reflectune.oracles.batch_wire import Batch, BatchWire
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Engine
from reflectune.oracles.pacing import Pace
from reflectune.oracles.prices import Price
from reflectune.recipe import Recipe, RecycleSettings
from reflectune.records import Recycled
from reflectune.recycling import STAGE, fingerprint, recycle
from reflectune.runs import Maker, RunDir
from test_bulk import word
from test_cli import lines, reflectune

Serve = Callable[..., Loopback]

COUNT = 40


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    rows = [
        {
            "instruction": f"How does {word(number, 3)} differ from {word(number, 5)}?",
            "output": " ".join(word(number, place) for place in range(7, 30)),
        }
        for number in range(COUNT)
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    (tmp_path / "prices.yaml").write_text("m: {input: 1.0, output: 4.0}\n")
    return path


def command(server: Loopback, run: str, *flags: str) -> list[str]:
    return ["recycle", "rows.json", "--oracle", f"m@{server.base_url}", "--run", run, "--no-provenance", *flags]


def summary_of(folder: Path, *arguments: str) -> dict[str, Any]:
    done = reflectune(*arguments, "--prices", "prices.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def exported(folder: Path, run: str) -> bytes:
    return (folder / run / "recycled.jsonl").read_bytes()


def results_of(path: Path) -> list[Recycled | None]:
    with RunDir(path, look=True) as run:
        return [row.result for row in run.rows(STAGE)]


@pytest.mark.usefixtures("data_file")
def test_two_waves_come_to_the_same_at_half_the_price(loopback: Serve, tmp_path: Path) -> None:
    server = loopback()
    direct = summary_of(tmp_path, *command(server, "direct"))
    batched = summary_of(tmp_path, *command(loopback(), "batched", "--batch"))
    assert exported(tmp_path, "batched") == exported(tmp_path, "direct")
    assert (batched["rewritten"], batched["requests"], batched["cached"]) == (COUNT, 2 * COUNT, 0)
    first = direct["cost"] / (2 * COUNT)  # asked directly, to find out what the endpoint takes
    assert batched["cost"] == pytest.approx((direct["cost"] + first) / 2, rel=0.02)


@pytest.mark.usefixtures("data_file")
def test_all_versions_come_in_two_waves_to_the_same(loopback: Serve, tmp_path: Path) -> None:
    server = loopback()
    summary_of(tmp_path, *command(loopback(), "direct", "--versions", "all"))
    batched = summary_of(tmp_path, *command(server, "batched", "--batch", "--versions", "all"))
    assert (batched["rewritten"], batched["requests"]) == (COUNT, 3 * COUNT)
    stats = server.stats()
    assert (stats["requests"], stats["batch_sizes"]) == (1, [2 * COUNT, COUNT - 1])
    assert exported(tmp_path, "batched") == exported(tmp_path, "direct")
    assert results_of(tmp_path / "batched") == results_of(tmp_path / "direct")


@pytest.mark.usefixtures("data_file")
def test_a_budget_ends_rows_of_all_versions(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-s", "0.05")
    arguments = command(server, "run", "--batch", "--versions", "all", "--prices", "prices.yaml")
    stopped = reflectune(*arguments, "--budget", "0.1", "--json", cwd=tmp_path)
    assert stopped.returncode == 4, stopped.stderr
    summary = json.loads(stopped.stdout)
    assert 5 <= summary["rewritten"] < COUNT
    assert summary["cost"] <= 0.1
    assert summary["requests"] <= 3.9 * summary["rewritten"]  # some replies are rejected and asked for again


@pytest.mark.usefixtures("data_file")
def test_one_batch_for_each_wave(loopback: Serve, tmp_path: Path) -> None:
    server = loopback()
    summary_of(tmp_path, *command(server, "run", "--batch"))
    stats = server.stats()
    assert (stats["requests"], stats["batch_sizes"]) == (1, [COUNT, COUNT - 1])
    again = summary_of(tmp_path, *command(server, "run", "--batch"))
    assert (again["requests"], len(server.stats()["batches"])) == (0, 2)
    replies = json.loads((tmp_path / "run/run.json").read_text())["replies"]
    assert {(part["batch"], part["requests"]) for part in replies} == {(False, 1), (True, 2 * COUNT - 1)}


MISHAPS = {
    "batches expire and are cancelled": ("--batch-ends", "expired,cancelled,expired"),
    "requests go wrong": ("--batch-faults", "0.5"),
    "calls fail and lose their replies": ("--batch-call-faults", "0.7"),
    "the queue is small": ("--batch-tokens", "18000"),
    "all at once": ("--batch-ends", "expired", "--batch-faults", "0.3", "--batch-call-faults", "0.3"),
}


@pytest.mark.parametrize("mishap", MISHAPS)
@pytest.mark.usefixtures("data_file")
def test_whatever_goes_wrong_is_asked_again_and_nothing_else(loopback: Serve, tmp_path: Path, mishap: str) -> None:
    server = loopback(*MISHAPS[mishap])
    summary_of(tmp_path, *command(loopback(), "well"))
    summary = summary_of(tmp_path, *command(server, "badly", "--batch"))
    stats = server.stats()
    assert exported(tmp_path, "badly") == exported(tmp_path, "well")
    assert (summary["failures"], stats["batch_answered_twice"]) == ({}, 0)
    assert stats["batch_distinct"] == 2 * COUNT - 1
    assert len(stats["batches"]) > 2 or stats["failed_calls"] > 1


@pytest.mark.usefixtures("data_file")
def test_a_run_that_is_killed_sends_nothing_twice(loopback: Serve, tmp_path: Path) -> None:
    with Loopback() as server:
        summary_of(tmp_path, *command(server, "whole"))
        port = urlsplit(server.base_url).port
    server = loopback("--port", str(port), "--batch-s", "2")
    program = [sys.executable, "-m", "reflectune", *command(server, "killed", "--batch", "--quiet")]
    moments = random.Random(3)
    for _ in range(6):
        process = subprocess.Popen(program, cwd=tmp_path)
        time.sleep(moments.uniform(0.4, 1.4))
        process.kill()
        process.wait()
    assert subprocess.run(program, cwd=tmp_path, check=False).returncode == 0
    stats = server.stats()
    assert exported(tmp_path, "killed") == exported(tmp_path, "whole")
    assert stats["batch_requests"] == stats["batch_distinct"] <= 2 * COUNT
    assert stats["requests"] <= 7


@pytest.mark.usefixtures("data_file")
def test_ctrl_c_leaves_batches_with_the_provider(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-s", "3")
    arguments = [sys.executable, "-m", "reflectune", *command(server, "run", "--batch")]
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not server.stats()["batches"]:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    assert process.returncode == 130
    assert f"{COUNT} requests are with the provider" in told
    assert "reflectune runs resume run" in told
    resumed = reflectune("runs", "resume", "run", "--json", cwd=tmp_path)
    assert json.loads(resumed.stdout)["rewritten"] == COUNT
    stats = server.stats()
    assert (stats["requests"], stats["batch_sizes"]) == (1, [COUNT, COUNT - 1])


@pytest.mark.usefixtures("data_file")
def test_a_budget_ends_rows_and_does_not_only_begin_them(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-s", "0.05")
    arguments = command(server, "run", "--batch", "--prices", "prices.yaml")
    stopped = reflectune(*arguments, "--budget", "0.06", "--json", cwd=tmp_path)
    assert stopped.returncode == 4, stopped.stderr
    summary = json.loads(stopped.stdout)
    assert 5 <= summary["rewritten"] < COUNT
    assert summary["cost"] <= 0.06
    assert summary["requests"] <= 2.6 * summary["rewritten"]  # some replies are rejected and asked for again
    rest = reflectune("runs", "resume", "run", "--budget", "5", "--json", cwd=tmp_path)
    assert (rest.returncode, json.loads(rest.stdout)["rewritten"]) == (0, COUNT)
    assert server.stats()["batch_answered_twice"] == 0


@pytest.mark.usefixtures("data_file")
def test_a_budget_lets_rows_of_many_requests_begin(loopback: Serve, tmp_path: Path) -> None:
    """Of several requests a row, what a first wave holds is a small part of the money."""
    server = loopback("--batch-s", "0.05")
    arguments = command(server, "run", "--batch", "--prices", "prices.yaml", "--score-after")
    done = reflectune(*arguments, "--limit", "3", "--budget", "0.09", "--json", cwd=tmp_path)
    summary = json.loads(done.stdout)
    assert (summary["rewritten"], summary["cost"] < 0.09) == (3, True)


@pytest.mark.usefixtures("data_file")
def test_batches_that_are_left_alone_are_told_and_counted(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-s", "3")
    arguments = command(server, "run", "--prices", "prices.yaml")
    program = [sys.executable, "-m", "reflectune", *arguments, "--batch", "--quiet"]
    process = subprocess.Popen(program, cwd=tmp_path)
    while not server.stats()["batches"]:
        time.sleep(0.02)
    process.kill()
    process.wait()
    stopped = reflectune(*arguments, "--budget", "0.05", cwd=tmp_path)
    assert stopped.returncode == 4  # what is with the provider may cost more than that
    assert f"{COUNT} requests are with the provider" in stopped.stderr
    direct = reflectune(*arguments, "--json", cwd=tmp_path)
    assert direct.returncode == 0, direct.stderr
    assert json.loads(direct.stdout)["rewritten"] == COUNT
    before = json.loads((tmp_path / "run/run.json").read_text())
    fetched = reflectune(*arguments, "--batch", "--json", cwd=tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    assert json.loads(fetched.stdout)["requests"] == 0
    after = json.loads((tmp_path / "run/run.json").read_text())
    assert after["requests"] - before["requests"] >= COUNT - 1
    assert after["cost"] > before["cost"]


def test_a_request_that_is_refused_fails_its_row(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--context", "6000")
    rows = [
        {"id": str(number), "instruction": f"What is {word(number, 1)}?", "output": "A thing."} for number in (1, 2)
    ]
    rows.append({"id": "long", "instruction": "Read this.", "output": "word " * 20_000})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    done = reflectune(*command(server, "run", "--batch", "--max-failed", "1", "--json"), cwd=tmp_path)
    summary = json.loads(done.stdout)
    assert (summary["rewritten"], summary["failures"]) == (2, {"context-overflow": 1})
    (failure,) = lines(tmp_path / "run/failures.jsonl")
    assert (failure["id"], "maximum context length" in failure["detail"]) == ("long", True)


def test_a_request_that_no_batch_answers_fails_its_row(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-s", "0.05", "--batch-ends", ",".join(["expired"] * 5))
    rows = [
        {"id": str(number), "instruction": f"What is {word(number, 1)}?", "output": "A thing."} for number in (1, 2)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows[:2]))
    flags = ("--reflect", "response", "--max-failed", "1", "--json")
    done = reflectune(*command(server, "run", "--batch", *flags), cwd=tmp_path)
    assert json.loads(done.stdout)["failures"] == {"expired": 1}
    retried = reflectune("runs", "retry", "run", "--json", cwd=tmp_path)
    assert json.loads(retried.stdout)["rewritten"] == 2


@pytest.mark.usefixtures("data_file")
def test_what_cannot_be_asked_in_batches_is_told(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--no-batches")
    for flags, told in (
        (["--oracle", "local"], "runs in this process"),
        (["--oracle", f"m@{server.base_url}", "--ask", "dialogue"], "30 waves"),
        (["--oracle", "local", "--dry-run"], "runs in this process"),
    ):
        done = reflectune("recycle", "rows.json", "--batch", *flags, cwd=tmp_path)
        assert (done.returncode, told in done.stderr) == (2, True), done.stderr
    done = reflectune(*command(server, "run", "--batch"), cwd=tmp_path)
    assert (done.returncode, "Leave out --batch" in done.stderr) == (1, True)
    small = loopback("--batch-most", "10")
    done = reflectune(*command(small, "other", "--batch"), cwd=tmp_path)
    assert (done.returncode, "too_many_tasks: At most 10 requests." in done.stderr) == (1, True)


@pytest.mark.usefixtures("data_file")
def test_an_estimate_counts_half_the_price(loopback: Serve, tmp_path: Path) -> None:
    arguments = command(loopback(), "run", "--dry-run")
    direct, batched = (summary_of(tmp_path, *arguments, *flags) for flags in ((), ("--batch",)))
    assert batched["cost"] == pytest.approx(direct["cost"] / 2)
    assert "in batches at half the price" in reflectune(*arguments, "--batch", cwd=tmp_path).stderr


def opened(run: RunDir, server: Loopback, limits: BatchLimits | None = None) -> tuple[Engine, BatchOracle]:
    api = ApiOracle(ApiSettings("m", server.base_url))
    pace = Pace(8)
    outbox = run.outbox(api.name)
    mail = Mail(BatchWire(api.settings, api.wire), outbox, run.path, pace, limits=limits)
    budget = Budget(100.0, Price(input=1, output=1), batch=True)
    batches = BatchOracle(api, Inbox(api, outbox, budget), mail, budget=budget, per_row=2)
    run.made_by(STAGE, Maker(fingerprint(batches, RecycleSettings()), batches.name, ""))
    return Engine(batches, run.store, pace), batches


async def waves(run: RunDir, engine: Engine, batches: BatchOracle) -> list[Recycled]:
    """Recycle in waves, as the command line does; returns the rows that ended."""
    ended: list[Recycled] = []
    async with aclosing(batches):
        await batches.begin(lambda _: None)
        while True:
            landed = [row async for row in recycle(batches.wave(run.pending(STAGE)), engine)]
            ended += landed
            if not await batches.exchange(len(landed)):
                return ended


def filled(folder: Path, data_file: Path) -> RunDir:
    run = RunDir(folder)
    run.ingest(source_of(Recipe(data=str(data_file))).rows())
    return run


@pytest.mark.parametrize("limits", [BatchLimits(requests=7), BatchLimits(size=50_000)])
async def test_large_waves_are_split(loopback: Serve, data_file: Path, tmp_path: Path, limits: BatchLimits) -> None:
    server = loopback("--batch-most", str(limits.requests))
    with filled(tmp_path / "run", data_file) as run:
        assert len(await waves(run, *opened(run, server, limits))) == COUNT
    stats = server.stats()
    assert sum(stats["batch_sizes"]) == stats["batch_distinct"] == 2 * COUNT - 1
    assert stats["batch_largest_file"] <= limits.size
    assert len(stats["batches"]) > 4


async def test_equal_rows_are_asked_once_also_while_a_batch_leaves(loopback: Serve, tmp_path: Path) -> None:
    server = loopback("--batch-most", "3")
    rows = [{"instruction": f"What is {word(n // 2, 1)}?", "output": f"A {word(n // 2, 2)} thing."} for n in range(24)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with filled(tmp_path / "run", tmp_path / "rows.json") as run:
        engine, batches = opened(run, server, BatchLimits(requests=3))
        assert len(await waves(run, engine, batches)) == 24
        assert batches._budget is not None
        assert batches._budget.left == pytest.approx(100 - batches._budget.spent)
    stats = server.stats()
    assert sum(stats["batch_sizes"]) == stats["batch_distinct"]


@pytest.mark.parametrize("made", [True, False])
async def test_a_batch_that_may_have_been_made_is_looked_for(
    loopback: Serve, data_file: Path, tmp_path: Path, made: bool
) -> None:
    """A process dies just before, or just after, the provider made its batch."""
    server = loopback()
    with filled(tmp_path / "run", data_file) as run:
        engine, batches = opened(run, server)
        wire: Any = batches._mail._wire
        create = wire.create

        async def die(file_id: str, mark: str) -> Batch:
            if made:
                await create(file_id, mark)
            raise asyncio.CancelledError

        wire.create = die
        with pytest.raises(asyncio.CancelledError):
            await waves(run, engine, batches)
        assert [batch.id for batch in batches.open] == [None]
        assert len(await waves(run, *opened(run, server))) == COUNT
    stats = server.stats()
    assert stats["batch_requests"] == stats["batch_distinct"] == 2 * COUNT - stats["requests"]
    assert (stats["requests"], len(stats["batches"])) == (2, 2)


async def test_an_endpoint_that_is_not_there_is_told_soon(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback("--batch-s", "60")
    with filled(tmp_path / "run", data_file) as run:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waves(run, *opened(run, server)), 2)
        server.stop()
        engine, batches = opened(run, server)
        with pytest.raises(OracleError, match="cannot be reached"):
            await asyncio.wait_for(waves(run, engine, batches), 20)
        assert [batch.requests for batch in batches.open] == [COUNT]


@pytest.mark.parametrize("batch", [True, False])
async def test_what_came_back_is_read_by_the_next_process_and_not_paid_twice(
    loopback: Serve, data_file: Path, tmp_path: Path, batch: bool
) -> None:
    server = loopback()
    with filled(tmp_path / "run", data_file) as run:
        engine, batches = opened(run, server)
        async with aclosing(batches):
            landed = [row async for row in recycle(batches.wave(run.pending(STAGE)), engine)]
            assert await batches.exchange(len(landed))  # the batch is here, and the process ends
        (direct, unread) = run.spent()
        assert (direct.requests, unread.requests, unread.batch) == (1, COUNT, True)
        assert unread.completion_tokens > 1000
        engine, batches = opened(run, server)
        if batch:
            assert len(await waves(run, engine, batches)) == COUNT
        else:
            oracle = AfterBatches(batches._api, batches._inbox)
            engine = Engine(oracle, run.store)
            async with aclosing(batches):
                assert len([row async for row in recycle(run.pending(STAGE), engine)]) == COUNT
        spent = {part.batch: part.requests for part in run.spent()}
        assert sum(spent.values()) == 2 * COUNT
        assert not batches.open
    stats = server.stats()
    assert stats["batch_requests"] + stats["requests"] == 2 * COUNT


async def test_a_new_start_forgets_what_is_with_the_provider(loopback: Serve, data_file: Path, tmp_path: Path) -> None:
    server = loopback("--batch-s", "60")
    with filled(tmp_path / "run", data_file) as run:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waves(run, *opened(run, server)), 2)
        _, batches = opened(run, server)
        assert batches.open
        run.do_again(STAGE)
        assert batches.open
        held = run.outbox(batches.name).held
        run.forget(STAGE)
        assert not batches.open
        assert run.outbox(batches.name).held == held > 0  # it may have to be paid for all the same
        await batches.aclose()


def test_why_a_batch_was_not_taken() -> None:
    errors: list[tuple[Any, str]] = [
        (
            {"data": [{"code": "a", "message": "No.", "line": 3}, {"code": "b", "message": "Nor."}]},
            "a: No. (line 3); b: Nor.",
        ),
        (["No."], "No."),
        ("No.", "No."),
        (None, "it does not say why"),
    ]
    for said, told in errors:
        assert Batch.model_validate({"id": "b", "status": "failed", "errors": said, "more": 1}).complaint == told
