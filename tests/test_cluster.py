"""The stages on many machines: the parts by themselves, and a cluster of three nodes of which one is killed."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from loopback import Loopback
from reflectune.cli import app
from reflectune.cli.clustering import Abroad
from reflectune.cluster import Cluster
from reflectune.cluster.distant import DistantOracle, DistantPace, DistantStore
from reflectune.cluster.flow import check_end
from reflectune.cluster.keeper import Charge, Keeper
from reflectune.cluster.kinds import columns_of, table_of
from reflectune.cluster.line import Call, Line
from reflectune.cluster.llm import Writing, row_in, row_out
from reflectune.cluster.parts import parts_of, spans_of, table_from, write_parts
from reflectune.cluster.places import whole, whole_prompts
from reflectune.cluster.pupil import Pupil
from reflectune.cluster.session import gpus_of, size_of
from reflectune.cluster.student import ScoreWorker, Scoring, made_of
from reflectune.cluster.told import Fault, Progress, Trouble, Word
from reflectune.cluster.turns import Turns
from reflectune.cluster.work import Generating, Model, Recycling, ends_as
from reflectune.errors import OracleBusy, OracleError, RequestRefused, RunError, SettingsError
from reflectune.formats import write_rows
from reflectune.generation import Prompt
from reflectune.oracles.budget import Budget
from reflectune.oracles.engine import Answer, Engine, Rejected
from reflectune.oracles.naming import Address
from reflectune.oracles.outcomes import Usage
from reflectune.oracles.pacing import Pace
from reflectune.oracles.prices import Price
from reflectune.recipe import GenerateSettings, Recipe, RecycleSettings, ScoreSettings
from reflectune.records import Example, Failure, Message, Reply, Request, Sampling
from reflectune.recycling import STAGE, fingerprint
from reflectune.runs import Maker, RunDir
from reflectune.testing import MemoryStore, ScriptedOracle

ROWS = 36


def request(text: str, tokens: int = 10) -> Request:
    return Request((Message("user", text),), Sampling(max_tokens=tokens))


class Desk:
    """Two workers at one keeper's turns, without Ray between them."""

    def __init__(self, ceiling: int = 4, budget: Budget | None = None) -> None:
        self.store = MemoryStore()
        self.turns = Turns(self.store, Pace(ceiling), budget, "scripted")

    def engine(self, worker: str, answer: Callable[[Request], str | Exception]) -> Engine:
        async def carry(calls: Sequence[Call]) -> list[Any]:
            return [await self._do(worker, *call) for call in calls]

        async def take(number: int, key: str, asked: Request) -> Word:
            self.turns.found(worker)
            return await self.turns.take((worker, number), key, asked)

        line = Line(carry)
        pace = DistantPace(8, take, line)
        oracle = DistantOracle(ScriptedOracle(answer))
        oracle.pace = pace
        return Engine(oracle, DistantStore(pace, line, lambda: None), pace)

    async def _do(self, worker: str, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "halt":
            return self.turns.stop()
        if name == "forget":
            return self.turns.pace.forget(*arguments)
        if name == "keep":
            return await self.turns.keep((worker, arguments[0]), *arguments[1:])
        number, fault, allowance, well = arguments
        return await self.turns.end((worker, number), fault, allowance, well=well)


def read(reply: Reply) -> str:
    return reply.text


async def test_two_workers_ask_for_the_same_thing_once() -> None:
    desk = Desk()
    asked: list[str] = []

    def answer(one: Request) -> str:
        asked.append(one.messages[0].content)
        return "yes"

    engines = [desk.engine(worker, answer) for worker in ("a", "b")]
    said = await asyncio.gather(*(engine.ask(request("the same"), read) for engine in engines))
    assert [one.value for one in said if isinstance(one, Answer)] == ["yes", "yes"]
    assert asked == ["the same"]
    assert (desk.turns.usage.requests, desk.turns.usage.cached) == (1, 1)


async def test_a_reply_of_a_lost_worker_is_found_by_another() -> None:
    desk = Desk()
    first = await desk.engine("a", lambda _: "mine").ask(request("x"), read)
    await desk.turns.lose("a")

    def never(_: Request) -> str:
        raise AssertionError("asked again")

    second = await desk.engine("b", never).ask(request("x"), read)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.value == second.value == "mine"


async def test_the_turns_of_a_lost_worker_go_to_others() -> None:
    desk = Desk(ceiling=1)
    word = await desk.turns.take(("a", 0), "key", request("x"))
    assert not word.stopped
    waiting = asyncio.create_task(desk.turns.take(("b", 0), "other", request("y")))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await desk.turns.lose("a") == 1
    assert not (await waiting).stopped
    assert desk.turns.pace.in_flight == 1


async def test_a_reply_that_comes_late_is_kept_all_the_same() -> None:
    desk = Desk()
    await desk.turns.take(("a", 0), "key", request("x"))
    await desk.turns.lose("a")
    await desk.turns.keep(("a", 0), Reply(text="late"), None)
    assert desk.store.reply("key") == Reply(text="late")
    assert desk.turns.pace.in_flight == 0


async def test_a_worker_that_was_taken_for_lost_while_it_waited_goes_on() -> None:
    desk = Desk(ceiling=1)
    await desk.turns.take(("b", 0), "other", request("y"))
    engine = desk.engine("a", lambda _: "yes")
    asking = asyncio.create_task(engine.ask(request("x"), read))
    await asyncio.sleep(0.01)
    await desk.turns.lose("a")
    await desk.turns.end(("b", 0), None, None, well=False)
    assert isinstance(await asyncio.wait_for(asking, timeout=5), Answer)
    assert not engine.pace.stopped
    assert not desk.turns.pace.stopped


async def test_what_two_were_paid_for_is_counted_twice_and_frees_both_turns() -> None:
    desk = Desk(ceiling=1, budget=Budget(1.0, Price(input=0.0, output=1e5)))
    for worker in ("a", "b"):
        await desk.turns.take((worker, 0), "key", request("x"))
        await desk.turns.lose("a")
    for worker in ("a", "b"):
        await desk.turns.keep((worker, 0), Reply(text=worker, prompt_tokens=1, completion_tokens=1), None)
    assert desk.store.reply("key") == Reply(text="a", prompt_tokens=1, completion_tokens=1)
    assert desk.turns.usage.requests == 2
    assert desk.turns.budget is not None
    assert desk.turns.budget.spent == pytest.approx(0.2)
    assert desk.turns.pace.in_flight == 0
    assert not (await asyncio.wait_for(desk.turns.take(("b", 1), "next", request("z", 1)), timeout=5)).stopped


async def test_two_replies_to_the_same_at_one_moment_do_not_stop_the_store(tmp_path: Path) -> None:
    with RunDir(tmp_path / "run") as run:
        turns = Turns(run.store, Pace(2), None, "scripted")
        for worker in ("a", "b"):
            await turns.take((worker, 0), "key", request("x"))
            await turns.lose("a")
        await asyncio.gather(*(turns.keep((worker, 0), Reply(text=worker), None) for worker in ("a", "b")))
        kept = run.store.reply("key")
    assert kept is not None
    assert kept.text == "a"
    assert turns.usage.requests == 2


async def test_no_more_are_in_flight_than_the_ceiling_over_all_workers() -> None:
    desk = Desk(ceiling=3)
    most = 0

    def answer(_: Request) -> str:
        nonlocal most
        most = max(most, desk.turns.pace.in_flight)
        return "ok"

    engines = [desk.engine(worker, answer) for worker in ("a", "b")]
    await asyncio.gather(*(engines[n % 2].ask(request(f"q{n}"), read) for n in range(30)))
    assert most == 3
    assert desk.turns.usage.requests == 30


async def test_the_money_is_counted_over_all_workers() -> None:
    desk = Desk(budget=Budget(0.0005, Price(input=0.0, output=10.0)))
    engines = [desk.engine(worker, lambda _: "word " * 10) for worker in ("a", "b")]
    said = await asyncio.gather(
        *(engines[n % 2].ask(request(f"q{n}"), read) for n in range(40)), return_exceptions=True
    )
    answered = sum(isinstance(one, Answer) for one in said)
    assert 0 < answered < 40
    assert desk.turns.out_of_budget
    assert desk.turns.budget is not None
    assert desk.turns.budget.spent <= desk.turns.budget.limit


async def test_a_refusal_fails_one_request_and_a_busy_oracle_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    busy = iter([OracleBusy("busy", reason="server-error")])

    def answer(one: Request) -> str | Exception:
        if one.messages[0].content == "long":
            return RequestRefused("too long", reason="context-overflow")
        return next(busy, None) or "ok"

    async def at_once(self: Pace, seconds: float) -> None: ...

    monkeypatch.setattr(Pace, "rest", at_once)
    engine = desk.engine("a", answer)
    refused, said = await engine.ask(request("long"), read), await engine.ask(request("short"), read)
    assert isinstance(refused, Rejected)
    assert refused.reason == "context-overflow"
    assert isinstance(said, Answer)
    assert desk.turns.usage.retried == 1
    assert desk.turns.pace.in_flight == 0


async def test_what_ends_one_row_wakes_those_that_wait_at_the_keeper() -> None:
    desk = Desk(ceiling=1)

    def answer(_: Request) -> Exception:
        return OracleError("wrong key")

    engine = desk.engine("a", answer)

    async def ask(number: int) -> Answer[str] | Rejected:
        return await engine.ask(request(f"q{number}"), read)

    async def everything() -> None:
        async for _ in engine.work(range(6), ask):
            pass

    with pytest.raises(OracleError, match="wrong key"):
        await asyncio.wait_for(everything(), timeout=5)
    assert desk.turns.pace.stopped
    assert desk.turns.pace.in_flight == 0


async def test_a_fault_counts_at_the_keeper() -> None:
    desk = Desk()
    await desk.turns.take(("a", 0), "key", request("x"))
    ended = await desk.turns.end(("a", 0), Fault("slow down", "rate-limit", 2.0), None, well=False)
    assert ended.counts
    assert ended.reached
    assert "waiting 2 s" in desk.turns.pace.state(asyncio.get_running_loop().time())


async def test_once_stopped_only_what_is_known_is_given() -> None:
    desk = Desk()
    engine = desk.engine("a", lambda _: "yes")
    await engine.ask(request("x"), read)
    desk.turns.stop()
    known = await desk.turns.take(("b", 0), request("x").key(engine.oracle.name), request("x"))
    new = await desk.turns.take(("b", 1), "new", request("y"))
    assert known.known is not None
    assert new.stopped


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OracleError("no key", mend="set it"), OracleError),
        (SettingsError("bad"), SettingsError),
        (RequestRefused("too long", reason="x"), OracleError),
        (ZeroDivisionError("by zero"), RunError),
    ],
)
def test_an_error_is_the_same_on_the_other_side(error: Exception, kind: type[Exception]) -> None:
    told = pickle.loads(pickle.dumps(Trouble.of(error)))
    again = told.error()
    assert type(again) is kind
    assert str(error).partition("\n")[0] in str(again)


async def test_calls_of_a_moment_go_in_one_message_and_a_broken_line_is_told() -> None:
    sent: list[Sequence[Call]] = []

    async def carry(calls: Sequence[Call]) -> list[Any]:
        sent.append(calls)
        if calls[0][0] == "break":
            raise ConnectionError("gone")
        return [Trouble("RunError", "full") if name == "bad" else arguments[0] for name, arguments in calls]

    line = Line(carry)
    said = await asyncio.gather(line.call("one", 1), line.call("bad"), line.call("two", 2), return_exceptions=True)
    assert len(sent) == 1
    assert said[0] == 1
    assert said[2] == 2
    assert isinstance(said[1], RunError)
    with pytest.raises(ConnectionError):
        await line.call("break")


def test_what_a_row_ends_as() -> None:
    assert ends_as(Failure(id="a", stage="judge", reason="copy")) == ("a", "copy")


def test_rows_without_an_outcome_are_no_end_unless_somebody_stopped_it() -> None:
    usage = Usage()
    with pytest.raises(RunError, match="3 rows went through the cluster without an outcome"):
        check_end(Progress(usage), 3)
    check_end(Progress(usage), 0)
    check_end(Progress(usage, stopping=True), 3)
    with pytest.raises(OracleError, match="no key"):
        check_end(Progress(usage, stopping=True, trouble=Trouble("OracleError", "no key")), 3)


def test_the_keys_of_a_charge_are_not_shown(tmp_path: Path) -> None:
    assert "sesame" not in repr(Charge(tmp_path, 1, 1, secrets={"KEY": "sesame"}))


@dataclass(frozen=True)
class Row:
    """A row as it comes in."""

    number: int
    example: Example
    raw: dict[str, Any] = field(default_factory=dict)
    failure: None = None


def filled(folder: Path) -> Maker:
    maker = Maker("print:", "scripted", "prompts")
    with RunDir(folder) as run:
        examples = (Example(f"r{n}", f"Question {n}?", "Answer.") for n in range(10))
        run.ingest(Row(n, example) for n, example in enumerate(examples))
        run.made_by(STAGE, maker)
        run.confirm(STAGE)
    return maker


async def test_the_keeper_pages_what_is_pending_and_gives_the_lock_back(tmp_path: Path) -> None:
    maker = filled(tmp_path / "run")
    keeper = Keeper(Charge(tmp_path / "run", driver=1, ceiling=2, stage=STAGE, maker=maker))
    assert await keeper.begin() is None
    pages = await keeper.pages(4)
    assert [(page.first, page.last) for page in pages] == [(0, 3), (4, 7), (8, 9)]
    rows = [pickle.loads(row) for row in await keeper.page(pages[0])]
    assert [row.id for row in rows] == ["r0", "r1", "r2", "r3"]
    mark = maker.fingerprint + rows[1].content_hash()
    calls = [("result", (STAGE, "r1", mark, b"{}", None)), ("land", ([None],)), ("pages", (4,))]
    *done, refused = await keeper.carry("a", calls)
    assert done == [None, None]
    assert isinstance(refused, Trouble)  # nothing that a worker may ask for; and the work ends
    second = Keeper(Charge(tmp_path / "run", driver=1, ceiling=2))
    assert "in use" in str(await second.begin())
    progress = await keeper.end()
    assert (progress.landed, progress.stopping) == (1, True)
    with RunDir(tmp_path / "run") as run:
        assert [example.id for example in run.queue.examples(STAGE, within=(0, 3))] == ["r0", "r2", "r3"]


async def test_rows_that_are_done_over_count_as_rows_that_end(tmp_path: Path) -> None:
    maker = filled(tmp_path / "run")
    with RunDir(tmp_path / "run") as run:
        contents = {example.id: example.content_hash() for example in run.queue.examples(STAGE)}
        await run.store.keep_result(STAGE, "r0", "earlier:" + contents["r0"], b"{}", None)
        await run.store.keep_result("choice", "r1", "student:" + contents["r1"], b"true", None)
        await run.store.keep_result(STAGE, "r2", maker.fingerprint + contents["r2"], b"{}", None)
    keeper = Keeper(Charge(tmp_path / "run", driver=1, ceiling=2, stage=STAGE, maker=maker))
    assert await keeper.begin() is None

    async def carry(calls: Sequence[Call]) -> Sequence[Any]:
        return await keeper.carry("a", calls)

    line = Line(carry)
    store = DistantStore(DistantPace(1, partial(keeper.take, "a"), line), line, lambda: None)
    assert await store.recall(["r0", "r1", "r2", "r3"]) == {"r2"}
    assert store.result("choice", "r1", "student:" + contents["r1"]) == b"true"
    await keeper.end()


def test_a_run_that_is_lent_can_be_worked_on_by_another(tmp_path: Path) -> None:
    filled(tmp_path / "run")
    with RunDir(tmp_path / "run") as run:
        with run.lent(), RunDir(tmp_path / "run") as other:
            other.remember("note", "theirs")
        assert run.remembered("note") == "theirs"
        with pytest.raises(RunError, match="in use"):
            RunDir(tmp_path / "run")


def test_work_can_be_sent_to_another_machine() -> None:
    work = Generating(Model("m@http://127.0.0.1:1/v1", Address()), GenerateSettings())
    assert pickle.loads(pickle.dumps(work)) == work
    assert work.told


def test_files_are_named_by_whole_paths_and_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("student", "local", "gpt-4o", "alpaca", "prompts"):
        Path(name).mkdir()
    for name in ("w.gguf", "mine.txt"):
        Path(name).touch()
    assert whole("student") == whole("./student") == str(tmp_path / "student")
    assert whole("local:w.gguf") == f"local:{tmp_path / 'w.gguf'}"
    assert [whole(name) for name in ("local", "hf:student", "Qwen/Qwen3-8B", "local:ORG/NAME")] == [
        *("local", "hf:student", "Qwen/Qwen3-8B", "local:ORG/NAME")
    ]
    assert Model.of("gpt-4o", Address()).name == "gpt-4o"  # an endpoint's, which recycling asks
    assert Model.of("student", Address(), any_kind=True).name == str(tmp_path / "student")
    assert whole_prompts(RecycleSettings(prompts=Path("prompts"))).prompts == tmp_path / "prompts"


def test_a_student_is_sent_with_whole_paths_but_the_name_that_its_scores_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("student", "alpaca", "tokenizer"):
        Path(name).mkdir()
    Path("mine.txt").touch()
    served = "m@http://127.0.0.1:1/v1"
    settings = ScoreSettings(student=served, tokenizer="tokenizer", template="mine.txt", prompts=Path("prompts"))
    pupil = Pupil.of(settings, Address())
    assert pupil.settings.template == str(tmp_path / "mine.txt")
    assert (pupil.settings.tokenizer, pupil.tokenizer) == ("tokenizer", str(tmp_path / "tokenizer"))
    assert (pupil.settings.student, pupil.settings.prompts) == (served, tmp_path / "prompts")
    assert Pupil.of(ScoreSettings(template="alpaca"), Address()).settings.template == "alpaca"
    assert Pupil.of(ScoreSettings(student=f"student@{served[2:]}"), Address()).tokenizer == str(tmp_path / "student")


def test_a_student_that_is_no_server_takes_a_gpu_unless_it_is_told_not_to() -> None:
    def wants(student: str, device: str | None = None) -> bool:
        pupil = Pupil.of(ScoreSettings(student=student, device=device), Address())
        chooses = Recycling(Model("m", Address()), RecycleSettings(versions="chosen"), pupil)
        assert Scoring(pupil).wants_gpu == chooses.wants_gpu
        return chooses.wants_gpu

    assert wants("Qwen/Qwen2.5-0.5B")
    assert wants("hf:gpt2", "cuda")
    assert not wants("Qwen/Qwen2.5-0.5B", "cpu")
    assert not wants("m@http://127.0.0.1:1/v1")
    assert not Recycling(Model("m", Address()), RecycleSettings()).wants_gpu


class Machines:
    """A cluster of three nodes, as Ray tells of it."""

    def __init__(self, gpus: float) -> None:
        self.gpus = gpus

    def nodes(self) -> list[dict[str, bool]]:
        return [{"Alive": True}] * 3

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": self.gpus} if self.gpus else {}


def test_there_is_a_worker_for_each_node_or_for_each_gpu_where_they_take_one() -> None:
    assert size_of(Machines(8), Cluster()) == 3
    assert size_of(Machines(8), Cluster(), wants_gpu=True) == 8
    assert size_of(Machines(2), Cluster(), wants_gpu=True) == 2
    assert size_of(Machines(2), Cluster(gpus=0.5), wants_gpu=True) == 4
    assert size_of(Machines(0), Cluster(), wants_gpu=True) == 3
    assert size_of(Machines(2), Cluster(workers=5)) == 5
    with pytest.raises(SettingsError, match=r"take 3 GPUs .* has 2"):
        size_of(Machines(2), Cluster(workers=3), wants_gpu=True)
    assert gpus_of(Machines(2), Cluster(), wants_gpu=True) == 1.0
    assert gpus_of(Machines(0), Cluster(), wants_gpu=True) == gpus_of(Machines(2), Cluster(), wants_gpu=False) == 0.0


def test_a_student_computes_elsewhere_with_the_numbers_that_it_had_here() -> None:
    assert Pupil.of(ScoreSettings(), Address(), "float32").settings.dtype == "float32"
    assert Pupil.of(ScoreSettings(dtype="float16"), Address(), "float32").settings.dtype == "float16"


async def test_a_worker_that_would_make_other_rows_says_so() -> None:
    engine = Engine(ScriptedOracle([]), MemoryStore())
    settings = RecycleSettings()
    for mark in (fingerprint(engine.oracle, settings), "another:"):
        method = Recycling(Model("m", Address()), settings, fingerprint=mark).method()
        if mark == "another:":
            with pytest.raises(RunError, match="would make other rows"):
                method([], engine)
        else:
            assert [row async for row in method([], engine)] == []


SERVED = ScoreSettings(student="m@http://127.0.0.1:1/v1", key_env="STUDENTS")


def test_every_key_that_is_needed_is_sent_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDENTS", "sesame")
    monkeypatch.setenv("ORACLES", "open")
    recipe = Recipe(data="data.jsonl", oracle="m@http://127.0.0.1:1/v1", key_env="ORACLES")
    served, local = (Pupil.of(settings, Address()) for settings in (SERVED, ScoreSettings(key_env="STUDENTS")))
    with RunDir(tmp_path / "run") as run:
        abroad = Abroad(Cluster(), run, recipe)
        oracle = ScriptedOracle([])
        assert abroad.charge(None, None, served).secrets == {"STUDENTS": "sesame"}
        assert abroad.charge(oracle, None, served).secrets == {"STUDENTS": "sesame", "ORACLES": "open"}
        assert abroad.charge(oracle, None, local).secrets == {"ORACLES": "open"}


def test_a_worker_that_scores_has_the_key_of_a_served_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDENTS", "of another")
    seen: list[str] = []

    def refuse(*_: object) -> None:
        seen.append(os.environ["STUDENTS"])
        raise SettingsError("no tokenizer")

    class Remote:
        """The keeper as Ray gives it: what is called remotely comes back when it is got."""

        def __init__(self, answer: Any) -> None:
            self.remote = lambda *_: answer

    monkeypatch.setattr("reflectune.cluster.pupil.open_student", refuse)
    monkeypatch.setattr(
        "reflectune.cluster.student.load_optional", lambda *_: SimpleNamespace(get=lambda answer: answer)
    )
    scoring = Scoring(Pupil.of(SERVED, Address()))
    told = made_of(scoring, {"STUDENTS": "first"})
    assert isinstance(told, Trouble)
    keeper = SimpleNamespace(equipment=Remote(({"STUDENTS": "second"}, None)))
    with pytest.raises(SettingsError, match="no tokenizer"):
        ScoreWorker(keeper, scoring)._open()
    assert seen == ["first", "second"]


WRITING = Writing(Model("hf:some/model", Address(), any_kind=True), GenerateSettings(max_tokens=8, seed=3))


def packed(prompt: Prompt, **made: Any) -> dict[str, Any]:
    return {"row": pickle.dumps(prompt), **made}


def test_a_prompt_goes_into_vllm_and_its_reply_comes_out() -> None:
    prompt = Prompt("a", (Message("system", "Be short."), Message("user", "Hi")))
    given = row_in(WRITING, packed(prompt))
    assert given["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert given["sampling_params"] == {"temperature": 0.0, "top_p": 1.0, "max_tokens": 8, "seed": 3}
    made = packed(prompt, generated_text="Hello", num_input_tokens=9, num_generated_tokens=8, __inference_error__="")
    request, reply, record = row_out(WRITING, made)
    assert request == WRITING.request(prompt)
    assert reply is not None
    assert (reply.text, reply.finish_reason, reply.prompt_tokens) == ("Hello", "length", 9)
    assert record.model_dump()["text"] == "Hello"


def test_a_prompt_that_vllm_cannot_take_is_a_failure_with_its_reason() -> None:
    made = packed(Prompt("a", (Message("user", "Hi"),)), __inference_error__="ValueError: prompt too long\nmore")
    _, reply, record = row_out(WRITING, made)
    assert reply is None
    assert isinstance(record, Failure)
    assert (record.reason, record.detail) == ("engine-error", "ValueError: prompt too long")


async def test_replies_of_vllm_that_come_twice_are_kept_once() -> None:
    desk = Desk()
    one = request("x")
    await asyncio.gather(*(desk.turns.put("key", one, Reply(text=text)) for text in ("first", "second")))
    await desk.turns.put("key", one, Reply(text="third"))
    assert desk.store.reply("key") == Reply(text="first")
    assert desk.turns.usage.requests == 1


ODD: list[dict[str, Any]] = [
    {"id": "007", "output": "42", "created_at": "2024-01-01", "n": 1, "x": 1, "tags": [], "meta": {}, "any": "1"},
    {"id": "8", "output": "a\u2028b", "created_at": None, "n": 2**60, "x": 0.5, "tags": ["b"], "meta": {}, "any": 1},
    {"id": "9", "output": "1e5", "n": -1, "x": None, "tags": None, "meta": None, "late": True, "of": {"a": {"b": [1]}}},
    {"id": "1", "output": "", "of": {"a": {"c": "0"}}, "half": "\ud800", "big": 2**70, "any": [1, "a"]},
]
"""Rows that a reader who guesses gets wrong."""


def test_parts_have_the_types_that_json_has(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    file = tmp_path / "odd.jsonl"
    write_rows(file, ODD)
    spans = [{"begin": begin, "end": end} for begin, end in spans_of(file, rows=3)]
    assert len(spans) == 2
    columns = columns_of(ODD)
    first, second = (table_from(arrow.table({name: [span[name]] for name in span}), file, columns) for span in spans)
    assert first.schema == second.schema
    rows = arrow.concat_tables([first, second]).to_pylist()
    for name in ("id", "output", "created_at", "n", "x", "tags", "late"):
        assert [row[name] for row in rows] == [row.get(name) for row in ODD]
    assert rows[2]["of"] == {"a": {"b": [1], "c": None}}
    assert [row["any"] for row in rows] == ['"1"', "1", None, '[1, "a"]']
    assert [row["meta"] for row in rows] == ["{}", "{}", None, None]
    assert (rows[3]["half"], rows[3]["big"]) == ('"\\ud800"', str(2**70))


def test_an_object_whose_names_are_data_is_kept_as_text() -> None:
    arrow = pytest.importorskip("pyarrow")
    rows = [{"by_id": {f"r{n}": 1}} for n in range(300)]
    assert table_of(arrow, rows, columns_of(rows))["by_id"].to_pylist()[299] == '{"r299": 1}'


def test_earlier_parts_stay_where_new_ones_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "recycled.jsonl"
    write_rows(file, [{"id": "a"}])
    part = parts_of(file) / "part-00000.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"earlier")

    class Broken:
        @property
        def data(self) -> Any:
            raise RuntimeError("no cluster")

    with pytest.raises(RuntimeError, match="no cluster"):
        write_parts(Broken(), file)
    assert part.read_bytes() == b"earlier"
    file.write_bytes(b"")
    assert write_parts(Broken(), file) == 0
    assert not part.parent.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", "2"], "--workers is for a Ray cluster"),
        (["--address", "auto"], "--address is for a Ray cluster"),
        (["--engine", "ray", "--batch", "--oracle", "m@http://127.0.0.1:1/v1"], "leaves the work to the provider"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, flags: list[str], message: str) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"instruction": "Name a colour.", "output": "Red."}\n')
    done = CliRunner().invoke(app, ["recycle", str(data), "--run", str(tmp_path / "run"), *flags])
    assert done.exit_code != 0
    assert message in str(done.exception) + done.output


def test_an_address_without_a_cluster_is_told_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = tmp_path / "data.jsonl"
    data.write_text('{"instruction": "Name a colour.", "output": "Red."}\n')
    command = ["recycle", str(data), "--run", str(tmp_path / "run"), "--engine", "ray", "--address", "127.0.0.1:1"]
    done = CliRunner().invoke(app, command)
    assert "There is no Ray cluster at 127.0.0.1:1" in str(done.exception) + done.output
    assert not (tmp_path / "run").exists()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    data = tmp_path / "data.jsonl"
    data.write_text('{"instruction": "Name a colour.", "output": "Red."}\n')
    done = CliRunner().invoke(app, ["recycle", str(data), "--run", str(tmp_path / "run"), "--engine", "ray"])
    assert "pip install 'reflectune[ray]'" in str(done.exception) + done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.server
def test_a_cluster_of_three_loses_a_node_and_no_row(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = tmp_path / "data.jsonl"
    lines = ({"instruction": f"Explain the number {n} to a child.", "output": f"It is {n}."} for n in range(ROWS))
    data.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    script = Path(__file__).with_name("cluster_of_three.py")
    with Loopback("--latency-ms", "150") as server:
        run = [sys.executable, str(script), server.base_url, str(data), str(tmp_path / "ray")]
        done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=170)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["code"] == 0, told["err"]
        stats = server.stats()
        command = ["recycle", str(data), "--oracle", "loopback", "--base-url", server.base_url, "--quiet"]
        alone = CliRunner().invoke(app, [*command, "--run", str(tmp_path / "alone")])
        assert alone.exit_code == 0, alone.output
    summary = json.loads(told["out"][0])
    assert (summary["rows"], summary["rewritten"], summary["pending"]) == (ROWS, ROWS, 0)
    assert stats["requests"] - stats["distinct"] <= 6  # what was in flight
    exported = [(tmp_path / name / "recycled.jsonl").read_bytes() for name in ("ray", "alone")]
    assert exported[0] == exported[1]
    parquet = pytest.importorskip("pyarrow.parquet")
    part = parquet.read_table(tmp_path / "ray" / "parquet" / "recycled" / "part-00000.parquet")
    assert part.to_pylist() == [json.loads(line) for line in exported[0].splitlines()]
