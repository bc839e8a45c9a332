"""The embedded model, for real."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reflectune.errors import MissingExtraError, OracleBusy, OracleError, RequestRefused
from reflectune.oracles import Oracle
from reflectune.oracles.local import LocalOracle, LocalSettings
from reflectune.records import Message, Request, Sampling, Schema

SETTINGS = LocalSettings(slots=4, context=512)
SCORE = Schema("score", {"enum": list(range(1, 11))})


def request(text: str, *, max_tokens: int = 16, schema: Schema | None = None) -> Request:
    return Request((Message("user", text),), Sampling(max_tokens=max_tokens), schema)


@pytest.fixture(scope="module")
def oracle() -> Iterator[LocalOracle]:
    pytest.importorskip("xllamacpp")
    opened = LocalOracle.open("local", SETTINGS)
    yield opened
    asyncio.run(opened.aclose())


@pytest.mark.model
class TestEmbeddedModel:
    async def test_it_is_an_oracle(self, oracle: LocalOracle) -> None:
        asked: Oracle = oracle
        assert asked.name.startswith("local:SmolLM2-135M-Instruct.Q")
        assert "/" not in asked.name
        assert asked.concurrency == SETTINGS.slots

    async def test_it_answers_and_counts(self, oracle: LocalOracle) -> None:
        question = Message("user", "Name three healthy foods.")
        reply = await oracle.complete(Request((question,), replace(oracle.sampling, max_tokens=300)))
        assert len(reply.text.split()) > 3
        assert reply.finish_reason == "stop"
        assert reply.prompt_tokens > reply.cached_tokens >= 0
        assert 0 < reply.completion_tokens <= 300

    async def test_a_reply_is_cut_at_its_limit(self, oracle: LocalOracle) -> None:
        reply = await oracle.complete(request("Write a long story about a river.", max_tokens=8))
        assert (reply.finish_reason, reply.completion_tokens) == ("length", 8)

    async def test_a_schema_is_a_grammar(self, oracle: LocalOracle) -> None:
        reply = await oracle.complete(request("Rate from 1 to 10: a fine essay.", schema=SCORE))
        assert reply.text in map(str, range(1, 11))
        assert reply.finish_reason == "stop"

    async def test_a_choice_of_words_is_a_grammar(self, oracle: LocalOracle) -> None:
        words = ['a "quoted" one', "naïve", "back\\slash"]
        reply = await oracle.complete(request("Choose one.", schema=Schema("word", {"enum": words})))
        assert json.loads(reply.text) in words

    async def test_an_object_keeps_to_its_limits(self, oracle: LocalOracle) -> None:
        text = {"type": "string", "maxLength": 20}
        body = {
            "type": "object",
            "properties": {"remark": text, "score": SCORE.body},
            "required": ["remark", "score"],
            "additionalProperties": False,
        }
        reply = await oracle.complete(request("Judge this essay.", max_tokens=120, schema=Schema("judgement", body)))
        value = json.loads(reply.text)
        assert set(value) == {"remark", "score"}
        assert len(value["remark"]) <= 20

    async def test_slots_work_side_by_side(self, oracle: LocalOracle) -> None:
        replies = await asyncio.gather(*(oracle.complete(request(f"Count to {n}.")) for n in range(10)))
        assert all(reply.completion_tokens > 0 for reply in replies)

    async def test_a_shared_prefix_is_cached(self, oracle: LocalOracle) -> None:
        prefix = "Rivers carry water from the hills to the sea. " * 12
        await oracle.complete(request(prefix + "Why?", max_tokens=2))
        reply = await oracle.complete(request(prefix + "Where?", max_tokens=2))
        assert reply.cached_tokens > reply.prompt_tokens // 2

    async def test_an_overflow_fails_the_request_alone(self, oracle: LocalOracle) -> None:
        with pytest.raises(RequestRefused, match="Shorten or leave out the row") as refused:
            await oracle.complete(request("word " * 3000))
        assert refused.value.reason == "context-overflow"
        assert (await oracle.complete(request("Hello."))).text

    async def test_nul_characters_are_refused(self, oracle: LocalOracle) -> None:
        with pytest.raises(RequestRefused, match="NUL"):
            await oracle.complete(request("a\0b"))

    @pytest.mark.parametrize(
        ("text", "schema"),
        [("\ud800", None), ("fine", Schema("broken", {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}))],
    )
    async def test_what_cannot_be_sent_is_refused(self, oracle: LocalOracle, text: str, schema: Schema | None) -> None:
        with pytest.raises(RequestRefused, match=r"llama\.cpp refused") as refused:
            await oracle.complete(request(text, schema=schema))
        assert refused.value.reason == "bad-request"

    def test_it_says_nothing_and_leaves_no_way_in(self, capfd: pytest.CaptureFixture[str]) -> None:
        opened = LocalOracle.open("local", LocalSettings(slots=1, context=256))
        address = opened._server.listening_address
        asyncio.run(opened.complete(request("Hello.")))
        asyncio.run(opened.aclose())
        assert capfd.readouterr() == ("", "")
        assert address.startswith("unix://")
        assert not Path(address.removeprefix("unix://")).exists()

    async def test_weights_that_do_not_load_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.gguf"
        path.write_bytes(b"GGUF" + b"\1" * 4096)
        with pytest.raises(OracleError, match=r"broken\.gguf cannot be loaded"):
            LocalOracle.open(f"local:{path}", SETTINGS)

    async def test_a_fault_of_the_library_may_pass(self, oracle: LocalOracle) -> None:
        fault = oracle._fault({"code": 503, "message": "Loading model", "type": "unavailable_error"})
        assert isinstance(fault, OracleBusy)
        assert isinstance(oracle._fault({"code": 400, "message": "no"}), RequestRefused)


@pytest.mark.model
async def test_it_tells_the_likeliest_first_tokens(oracle: LocalOracle) -> None:
    asked = request("Say yes or no: is water wet?", max_tokens=1)
    reply = await oracle.complete(replace(asked, top_logprobs=8))
    assert reply.top_logprobs is not None
    assert 1 < len(reply.top_logprobs) <= 8
    shares = [math.exp(logprob) for logprob in reply.top_logprobs.values()]
    assert 0.05 < sum(shares) <= 1.0001
    assert (await oracle.complete(asked)).top_logprobs is None


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'reflectune\[local\]'"):
        LocalOracle.open("local")


@pytest.mark.parametrize(
    ("cause", "mend"),
    [
        ("libgomp.so.1: cannot open shared object file", "apt-get install libgomp1"),
        ("undefined symbol: x", "Reinstall xllamacpp"),
    ],
)
def test_a_library_that_does_not_load_names_the_mend(monkeypatch: pytest.MonkeyPatch, cause: str, mend: str) -> None:
    class Broken:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "xllamacpp":
                raise ImportError(cause)

    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(OracleError, match=mend):
        LocalOracle.open("local")
