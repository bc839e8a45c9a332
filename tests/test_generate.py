"""`reflectune generate`: prompts of any data set in, answers out."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner, Result

from loopback import Loopback
from reflectune.cli import app
from reflectune.errors import InputError, OracleError, RequestRefused, SettingsError
from reflectune.formats import open_source
from reflectune.generation import Generated, Prompt, generate, open_model
from reflectune.generation.hugging_face import HuggingFaceModel
from reflectune.generation.naming import model_name
from reflectune.generation.prompts import Asked, read_prompts
from reflectune.oracles import StreamingOracle
from reflectune.oracles.engine import Engine
from reflectune.records import Failure, Message, Reply, Request, Sampling, Schema
from reflectune.testing import MemoryStore, ScriptedOracle


def reflectune(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}\n{result.exception!r}"
    return result


def told(*words: str, code: int = 0) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(reflectune("generate", *words, "--json", code=code).stdout.splitlines()[-1])
    return summary


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def write(name: str, *rows: Any) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(*rows: Any) -> list[Asked]:
    read = read_prompts(write("prompts.jsonl", *rows))
    assert all(isinstance(row, Asked) for row in read)
    return [row for row in read if isinstance(row, Asked)]


# ── what is a prompt


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"text": "Why?", "category": "generic"}, "Why?"),
        ({"Instruction": "Why?", "Skill": "Math"}, "Why?"),
        ({"instruction": "Shorten.", "input": "A long text.", "output": "Text."}, "Shorten.\n\nA long text."),
        (
            {"instruction": "Shorten.", "instances": [{"input": "A long text.", "output": ""}]},
            "Shorten.\n\nA long text.",
        ),
        ({"conversations": "Why?"}, "Why?"),
        ({"turns": ["Why?", "And then?"]}, "Why?"),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}, "Why?"),
    ],
)
def test_prompts_are_found_as_test_sets_have_them(row: dict[str, Any], question: str) -> None:
    assert [one.question for one in asked(row)] == [question]


def test_a_conversation_goes_on_after_its_earlier_turns() -> None:
    turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi"), ("user", "Why?"), ("assistant", "So.")]
    row = asked({"messages": [{"role": role, "content": content} for role, content in turns]})[0]
    assert row.messages("Think.") == (
        Message("system", "Think.\n\nBe brief."),
        Message("user", "Hello"),
        Message("assistant", "Hi"),
        Message("user", "Why?"),
    )


def test_rows_keep_their_ids_and_equal_rows_get_their_own() -> None:
    rows = asked({"id": 7, "text": "Why?"}, {"text": "How?"}, {"text": "How?"})
    assert rows[0].id == "7"
    assert rows[2].id == f"{rows[1].id}-2"


def test_a_row_without_a_prompt_is_a_failure_and_a_file_without_one_an_error() -> None:
    read = read_prompts(write("some.jsonl", {"text": "Why?"}, {"text": " "}))
    assert isinstance(read[1], Failure)
    assert (read[1].reason, read[1].detail) == ("empty", "row 2: it holds no text that asks for anything")
    with pytest.raises(InputError, match=r"no row holds a prompt among its columns: 'label'"):
        read_prompts(write("none.jsonl", {"label": 3}))
    with pytest.raises(InputError, match="rows 1 and 2 have the same id"):
        read_prompts(write("twice.jsonl", {"id": "a", "text": "Why?"}, {"id": "a", "text": "How?"}))


@pytest.mark.parametrize(
    ("name", "rows"), [("vicuna", 80), ("koala", 180), ("lima", 300), ("sinstruct", 252), ("wizardlm", 218)]
)
def test_the_published_test_sets_are_read_whole(data: Path, name: str, rows: int) -> None:
    read = read_prompts(str(data / f"pairwise/test_data/{name}_test_set.jsonl"))
    assert len(read) == rows
    assert all(isinstance(row, Asked) for row in read)
    if name == "sinstruct":
        assert sum(bool(row.input) for row in read if isinstance(row, Asked)) == 208


# ── replies


async def test_every_prompt_comes_out_once_and_is_asked_once() -> None:
    def say(request: Request) -> Reply | Exception:
        text = request.messages[-1].content
        if text == "blocked":
            return Reply(text="", finish_reason="content_filter")
        return RequestRefused("too long", reason="context-overflow") if text == "long" else Reply(text=f"to {text}")

    oracle, store = ScriptedOracle(say), MemoryStore()
    prompts = [Prompt(name, (Message("user", name),)) for name in ("one", "blocked", "long", "two")]
    for _ in range(2):
        made = {one.id: one async for one in generate(prompts, Engine(oracle, store))}
    assert {name: type(one) for name, one in made.items()} == {
        "one": Generated, "blocked": Failure, "long": Failure, "two": Generated,
    }  # fmt: skip
    assert [one.reason for one in made.values() if isinstance(one, Failure)] in (
        ["content-filter", "context-overflow"], ["context-overflow", "content-filter"],
    )  # fmt: skip
    asked_for = [request.messages[-1].content for request in oracle.requests]
    assert sorted(asked_for) == ["blocked", "long", "long", "one", "two"]  # a refusal is not kept


def test_answers_are_written_beside_the_columns_and_not_asked_for_twice(loopback: Callable[..., Loopback]) -> None:
    server = loopback()
    data = write("questions.jsonl", *({"question_id": n, "text": f"Why {n}?"} for n in range(5)), {"text": ""})
    flags = ("m@" + server.base_url, data, "--output", "out.json", "--max-failed", "0.5")
    first, again = told(*flags), told(*flags)
    assert (first["rows"], first["answers"], first["failed"], first["pending"]) == (6, 5, 1, 0)
    assert (first["requests"], again["requests"], again["cached"]) == (5, 0, 5)
    rows = lines(f"{first['run']}/answers.jsonl")
    assert [row["question_id"] for row in rows] == list(range(5))
    assert rows[0]["instruction"] == "Why 0?"
    assert (rows[0]["generator"], rows[0]["dataset"]) == ("m", "questions")
    assert json.loads(Path("out.json").read_text()) == rows
    assert [row.example.response for row in open_source("out.json").rows() if row.example] == [
        row["output"] for row in rows
    ]
    assert [row["reason"] for row in lines(f"{first['run']}/answer_failures.jsonl")] == ["empty"]
    assert server.stats()["requests"] == 5


def test_more_failures_than_allowed_are_told_by_the_exit_code(loopback: Callable[..., Loopback]) -> None:
    data = write("questions.jsonl", {"text": "Why?"}, {"text": ""})
    assert told("m@" + loopback().base_url, data, code=3)["failed"] == 1


def test_of_a_reply_that_reflects_only_the_output_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"Why?": "<thinking>So.</thinking><output>Because.</output>", "How?": "No tags."}
    oracle = ScriptedOracle(lambda request: said[request.messages[-1].content])
    monkeypatch.setattr("reflectune.cli.generating.open_model", lambda *_: oracle)
    summary = told("m@http://127.0.0.1:9/v1", write("q.jsonl", {"text": "Why?"}, {"text": "How?"}), "--reflect")
    assert summary["without_output"] == 1
    rows = lines(f"{summary['run']}/answers.jsonl")
    assert [(row["output"], row["reply"]) for row in rows] == [("Because.", said["Why?"]), ("", "No tags.")]
    assert "<reflection>" in oracle.requests[0].messages[0].content


def test_what_was_asked_otherwise_is_told_and_keeps_out_of_the_way(
    loopback: Callable[..., Loopback], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = loopback()
    words = ("generate", f"m@{server.base_url}", write("q.jsonl", {"text": "Why?"}))
    reflectune(*words)
    assert "Since the last time temperature changed: None → 0.5" in reflectune(*words, "--temperature", "0.5").stderr
    reflecting = told(*words[1:], "--reflect")
    assert (reflecting["model"], reflecting["run"]) == ("m-reflecting", "runs/q-m-reflecting")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    failed = CliRunner().invoke(app, ["generate", "gpt-4o", words[2], "--run", "new"])
    assert isinstance(failed.exception, SettingsError)  # no key: the same command works once there is one
    assert not Path("new").exists()


def test_a_budget_that_ends_is_named(loopback: Callable[..., Loopback]) -> None:
    Path("prices.yaml").write_text("m: {input: 100, output: 400}\n")
    words = (f"m@{loopback().base_url}", write("q.jsonl", {"text": "Why?"}), "--prices", "prices.yaml")
    stopped = reflectune("generate", *words, "--budget", "0.001", code=4)
    assert "The budget of $0.001" in stopped.stderr
    assert "Pending: 1 row;" in stopped.stderr


def test_a_dry_run_asks_and_writes_nothing() -> None:
    data = write("questions.jsonl", {"text": "Why?"})
    words = ("m@http://127.0.0.1:9/v1", data, "--dry-run", "--max-tokens", "50", "--system", "x" * 26)
    tokens = {"sent": 10, "received": 50}  # 30 characters, of which three are a token at the most
    assert told(*words) == {"rows": 1, "requests": 1, "tokens": tokens, "cost": None}
    assert "unknown: state the price with --prices" in reflectune("generate", *words).stderr
    Path("prices.yaml").write_text("m: {input: 1, output: 2}\n")
    assert told(*words, "--prices", "prices.yaml")["cost"] == pytest.approx(110e-6)
    shown = reflectune("generate", *words, "--prices", "prices.yaml").stderr
    assert "tokens sent      about 8 (6 to 10)" in shown
    assert "at most $0.00011" in shown
    assert reflectune("generate", *words, "--quiet").output == ""
    assert not Path("runs").exists()


def test_prompts_are_never_overwritten() -> None:
    data = write("questions.jsonl", {"text": "Why?"})
    result = CliRunner().invoke(app, ["generate", "local", data, "--output", data])
    assert isinstance(result.exception, SettingsError)


# ── models


def test_models_are_called_what_people_call_them(tmp_path: Path) -> None:
    (tmp_path / "runs/data/student").mkdir(parents=True)
    assert model_name("local") == "SmolLM2-135M-Instruct"
    assert model_name("hf:org/name") == "org/name"
    assert model_name("local:some/file.Q8_0.gguf") == "file.Q8_0"
    assert model_name("gpt-4o@https://x/v1") == "gpt-4o"
    assert model_name(str(tmp_path / "runs/data/student")) == "data-student"


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.gguf").touch()
    with pytest.raises(SettingsError) as error:
        open_model(str(tmp_path / "file.gguf"))
    assert "Name local:" in error.value.mend
    with pytest.raises(SettingsError, match="no model at"):
        open_model("./nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OracleError, match="cannot be loaded"):
        open_model(str(tmp_path / "empty"))


@pytest.mark.model
async def test_a_transformers_model_answers_many_at_once() -> None:
    from reflectune.student.weights import find_student

    model = open_model(find_student("local").folder)
    numbers = (Message("user", "Count from one to three."),)
    capital = (Message("user", "What is the capital of France?"),)
    short = Sampling(max_tokens=12)
    try:
        alone = await model.complete(Request(capital, short))
        first, second, cut = await asyncio.gather(
            model.complete(Request(numbers, short)),
            model.complete(Request(capital, short)),
            model.complete(Request(capital, Sampling(max_tokens=2))),
        )
        assert second.text == alone.text == "The capital of France is Paris."  # padding changes nothing
        assert (second.finish_reason, cut.finish_reason) == ("stop", "length")
        assert first.text != second.text
        assert (cut.completion_tokens, second.completion_tokens) == (2, 8)
        stream = cast("StreamingOracle", model).stream(Request(capital, short))
        *pieces, streamed = [event async for event in stream]
        assert len(pieces) > 4
        assert streamed == second
        assert "".join(piece.text for piece in pieces) == second.text
        stopped = await model.complete(Request(capital, short, stop=(" is",)))
        assert (stopped.text, stopped.finish_reason) == ("The capital of France", "stop")
        likely = (await model.complete(Request(capital, Sampling(max_tokens=1), top_logprobs=3))).top_logprobs
        assert likely is not None
        assert max(likely, key=lambda token: likely[token]) == "The"
        schema = Schema("Yes", {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]})
        assert (await model.complete(Request(capital, short, schema=schema))).completion_tokens > 0
        with pytest.raises(RequestRefused) as refusal:
            await model.complete(Request((Message("user", "word " * 9000),), short))
        assert refusal.value.reason == "context-overflow"
    finally:
        await model.aclose()


# ── a transformers model, without one


class Written:
    """What stands in for a model: it writes its prompt's length, and notes who was written for together."""

    def __init__(self, longest: int) -> None:
        self.config = SimpleNamespace(max_position_embeddings=longest)
        self.generation_config = SimpleNamespace(eos_token_id=0)
        self.device = "cpu"
        self.batches: list[tuple[int, int]] = []

    def generate(self, *, input_ids: Any, max_new_tokens: int, stopping_criteria: Any, **_: Any) -> Any:
        import torch

        self.batches.append((input_ids.shape[0], max_new_tokens))
        new = torch.zeros((input_ids.shape[0], 0), dtype=torch.long)
        while new.shape[1] < max_new_tokens and not stopping_criteria[0](new, None).all():
            time.sleep(0.001)
            new = torch.cat([new, torch.ones((new.shape[0], 1), dtype=torch.long)], dim=1)
        return SimpleNamespace(sequences=torch.cat([input_ids, new], dim=1))


class Words:
    """A tokenizer of words."""

    pad_token_id = eos_token_id = 0

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return messages[-1]["content"]

    def __call__(self, text: str, **_: Any) -> Any:
        return SimpleNamespace(input_ids=[1] * len(text.split()))

    def pad(self, given: dict[str, Any], **_: Any) -> Any:
        import torch

        width = max(map(len, given["input_ids"]))
        return Padded({"input_ids": torch.tensor([[0] * (width - len(one)) + one for one in given["input_ids"]])})

    def decode(self, tokens: list[int], **_: Any) -> str:
        return {7: "1", 8: "1", 9: "2"}.get(tokens[0], "x") if len(tokens) == 1 else " ".join(map(str, tokens))


class Padded(dict[str, Any]):
    def to(self, _: Any) -> Padded:
        return self


def standing_in(longest: int) -> tuple[HuggingFaceModel, Written]:
    written = Written(longest)
    return HuggingFaceModel("stand-in", written, Words(), at_once=8), written


async def test_nobodys_reply_is_cut_short_by_a_longer_prompt_beside_it() -> None:
    model, written = standing_in(longest=100)
    sampling = Sampling(max_tokens=60)
    asked = [Request((Message("user", "word " * length),), sampling) for length in (5, 90, 10, 38)]
    replies = await asyncio.gather(*(model.complete(request) for request in asked))
    assert [reply.completion_tokens for reply in replies] == [60, 10, 60, 60]
    assert sorted(written.batches) == [(1, 10), (3, 60)]
    await model.aclose()


async def test_who_asks_no_more_is_not_written_for() -> None:
    model, written = standing_in(longest=1_000_000)
    endless = Request((Message("user", "word"),), Sampling(max_tokens=900_000))
    asking = [asyncio.create_task(model.complete(endless)) for _ in range(20)]
    await asyncio.sleep(0.1)
    for task in asking:
        task.cancel()
    await asyncio.wait_for(model.aclose(), timeout=5)
    assert written.batches == [(8, 900_000)]


def test_tokens_that_read_alike_count_together() -> None:
    import torch

    model, _ = standing_in(longest=10)
    shares = torch.full((10,), 1e-9)
    shares[[7, 8, 9]] = torch.tensor([0.9, 0.001, 0.05])
    likely = model._likeliest(shares.log(), 3)
    assert {text: math.exp(logprob) for text, logprob in likely.items()} == pytest.approx({"1": 0.901, "2": 0.05})


def test_a_folder_is_known_by_all_that_it_does(tmp_path: Path) -> None:
    from reflectune.student.weights import find_student

    weights = bytearray(3 << 20)
    for name, content in (("model.safetensors", bytes(weights)), ("config.json", b"{}"), ("facts.json", b"{}")):
        (tmp_path / name).write_bytes(content)
    before = find_student(str(tmp_path)).revision
    (tmp_path / "facts.json").write_text('{"rows": 3}')
    assert find_student(str(tmp_path)).revision == before
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    templated = find_student(str(tmp_path)).revision
    weights[1 << 20 : 2 << 20] = b"1" * (1 << 20)  # neither at the beginning nor at the end
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert len({before, templated, find_student(str(tmp_path)).revision}) == 3
