"""Answers of models that reflect: by themselves, or because we make them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflectune.errors import InputError, OracleBusy, OracleError, SettingsError
from reflectune.inference import Answered, Conversation, Forgetful, Part, answer, history
from reflectune.inference.history import without_thinking
from reflectune.inference.vote import majority
from reflectune.oracles import Piece
from reflectune.oracles.engine import Engine
from reflectune.recipe import ChatSettings
from reflectune.records import Message, Reply, Request, Schema
from reflectune.tags import parse
from reflectune.testing import ScriptedOracle
from virtual_time import run

Said = str | Reply | Exception
ASKED = (Message("user", "What is two plus two?"),)
TAGGED = "<thinking>\nI add.\n<reflection>\nNot five.\n</reflection>\nSo four.\n</thinking>\n<output>\nFour.\n</output>"
OBJECT = Schema("Yes", {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"]})
CRITERIA = ("helpfulness", "relevance", "accuracy", "detail")


async def read(events: AsyncGenerator[Part | Answered]) -> tuple[list[Part], Answered]:
    *parts, answered = [event async for event in events]
    assert isinstance(answered, Answered)
    told = [part for part in parts if isinstance(part, Part)]
    assert len(told) == len(parts)
    return told, answered


async def ask(
    script: Iterable[Said] | Callable[[Request], Said], settings: ChatSettings | None = None, **how: Any
) -> tuple[list[tuple[str, str]], Answered, list[Request]]:
    """The parts of an answer as kind and text, the whole answer, and what the model was asked."""
    oracle = ScriptedOracle(script)
    messages = how.pop("messages", ASKED)
    parts, answered = await read(answer(messages, Engine(oracle, Forgetful()), settings, **how))
    runs: list[tuple[str, str]] = []
    for part in parts:
        if part.begins:
            runs.append((part.kind, part.text))
        else:
            assert runs[-1][0] == part.kind
            runs[-1] = (part.kind, runs[-1][1] + part.text)
    assert "".join(part.raw for part in parts) == answered.raw
    return runs, answered, oracle.requests


def revised(response: str, score: int = 4) -> str:
    """What a model says that criticises and revises an answer."""
    critique = {name: {"remark": f"On {name}.", "score": score} for name in CRITERIA}
    return json.dumps({"response_critique": critique, "response": response})


# ── a model that reflects by itself


async def test_a_model_is_told_to_reflect_and_its_tags_are_read() -> None:
    settings = ChatSettings(system="Be brief.")
    runs, answered, [request] = await ask([TAGGED], settings)
    assert runs == [
        ("thinking", "I add."),
        ("reflection", "Not five."),
        ("thinking", "So four."),
        ("output", "Four."),
    ]
    assert (answered.output, answered.thinking) == ("Four.", "I add.\n\nNot five.\n\nSo four.")
    assert (answered.reflections, answered.faults, answered.raw) == (("Not five.",), (), TAGGED)
    assert answered.prompt_tokens > 0
    system, question = request.messages
    assert system.role == "system"
    assert "<thinking>" in system.content
    assert system.content.endswith("Be brief.")
    assert question == ASKED[0]
    assert (request.sampling.temperature, request.sampling.top_p) == (0.7, 0.95)


async def test_a_trained_model_is_told_nothing() -> None:
    _, answered, [request] = await ask([TAGGED], ChatSettings(reflect="trained"))
    assert request.messages == ASKED
    assert answered.output == "Four."


async def test_our_prompt_is_in_the_language_of_the_question() -> None:
    _, _, [request] = await ask([TAGGED], messages=(Message("user", "杯子里的硬币现在在哪里？"),))
    assert "先思考" in request.messages[0].content


async def test_a_plain_models_reply_is_all_text() -> None:
    runs, answered, [request] = await ask([TAGGED], ChatSettings(reflect="off"), stop=("</output>",))
    text = TAGGED.removesuffix("</output>")
    assert runs == [("text", text)]
    assert (answered.output, answered.thinking, answered.faults) == (text, "", ())
    assert (request.messages, request.stop) == (ASKED, ("</output>",))


@pytest.mark.parametrize("reflect", ["off", "trained"])
async def test_what_a_reasoning_model_thinks_is_thinking(reflect: str) -> None:
    settings = ChatSettings.model_validate({"reflect": reflect})
    said = "<think>\nand more\n</think>\n\n<output>four</output>"
    runs, answered, _ = await ask([Reply(text=said, reasoning="a thought")], settings)
    assert runs[:2] == [("thinking", "a thought"), ("thinking", "and more")]
    assert answered.thinking == "a thought\n\nand more"
    assert answered.output == ("four" if reflect == "trained" else "<output>four</output>")
    assert answered.raw == said


async def test_a_reply_without_tags_has_no_output_and_says_so() -> None:
    runs, answered, _ = await ask(["It is four."])
    assert runs == [("text", "It is four.")]
    assert answered.output is None
    assert set(answered.faults) == {"no-thinking", "no-output"}


async def test_a_stop_ends_the_output_alone() -> None:
    said = "<thinking>a STOP b</thinking><output>one STOP two</output>"
    runs, answered, [request] = await ask([said], stop=("STOP",))
    assert runs == [("thinking", "a STOP b"), ("output", "one ")]
    assert (answered.finish_reason, answered.faults, request.stop) == ("stop", (), ())
    assert answered.completion_tokens == len(said.split())  # all that was written, shown or not
    runs, answered, _ = await ask([said], stop=("tower", "two</"))
    assert runs[-1] == ("output", "one STOP two")
    assert answered.raw == said


class Endless(ScriptedOracle):
    """A model that does not come to its end, or breaks in place of it."""

    closed = False

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        try:
            yield Piece("<output>one STOP")
            yield Piece(" two")
            await asyncio.sleep(60)
            said = (await self.complete(request)).text
            yield Piece(said)
        finally:
            self.closed = True


def test_a_reply_that_goes_on_after_a_stop_is_broken_off_and_has_no_usage() -> None:
    async def scene() -> float:
        began = asyncio.get_running_loop().time()
        oracle = Endless(["never"])
        _, answered = await read(answer(ASKED, Engine(oracle, Forgetful()), stop=("STOP",)))
        assert (answered.output, answered.finish_reason, answered.completion_tokens) == ("one ", "stop", 0)
        assert oracle.closed
        assert oracle.requests == []
        return asyncio.get_running_loop().time() - began

    assert run(scene()) == pytest.approx(2.0)


async def test_a_model_that_breaks_after_a_stop_breaks_no_answer() -> None:
    class Breaking(ScriptedOracle):
        async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
            yield Piece("<output>one STOP")
            await self.complete(request)

    oracle = Breaking([OracleBusy("broken", reason="connection")])
    _, answered = await read(answer(ASKED, Engine(oracle, Forgetful()), stop=("STOP",)))
    assert (answered.output, answered.finish_reason) == ("one ", "stop")


async def test_a_schema_is_passed_through_and_the_model_does_not_reflect() -> None:
    settings = ChatSettings(rounds=2, best_of=3, system="Be brief.")
    runs, answered, [request] = await ask(['{"yes": true}'], settings, schema=OBJECT)
    assert runs == [("text", '{"yes": true}')]
    assert answered.output == '{"yes": true}'
    assert request.schema == OBJECT
    assert request.messages == (Message("system", "Be brief."), *ASKED)


async def test_a_reply_that_is_cut_off_says_so() -> None:
    runs, answered, _ = await ask([Reply(text="<thinking>on and", finish_reason="length")])
    assert runs == [("thinking", "on and")]
    assert (answered.finish_reason, answered.output) == ("length", None)
    assert set(answered.faults) == {"unclosed-thinking", "no-output"}


# ── history


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (TAGGED, "Four."),
        ("plain", "plain"),
        ("", "..."),
        (" \n", "..."),
        ("  plain\n", "  plain\n"),
        ("<think>a</think>\n\nb", "b"),
        ("<think>a</think><output>b</output>", "b"),
        ("<thinking>a</thinking>b<reflection>c</reflection>d", "b\n\nd"),
        ("<thinking>never closed", "..."),
        ("<thinking>a</thinking><output></output>", "..."),
        ("a</thinking>", "a</thinking>"),
    ],
)
def test_old_thinking_is_left_out(text: str, sent: str) -> None:
    assert without_thinking(text) == sent


def test_only_the_assistants_turns_are_looked_into() -> None:
    turns = [Message("system", TAGGED), Message("user", TAGGED), Message("assistant", TAGGED)]
    assert history(turns) == (*turns[:2], Message("assistant", "Four."))


async def test_all_system_prompts_are_one() -> None:
    said = (Message("system", "One."), Message("user", "a"), Message("assistant", TAGGED), Message("user", "b"))
    _, _, [request] = await ask([TAGGED], ChatSettings(reflect="trained", system="Two."), messages=said)
    assert request.messages == (Message("system", "Two.\n\nOne."), said[1], Message("assistant", "Four."), said[3])


@pytest.mark.parametrize("messages", [(), (Message("assistant", "a"),), (Message("system", "a"),)])
async def test_a_conversation_has_to_ask_something(messages: tuple[Message, ...]) -> None:
    with pytest.raises(SettingsError, match="asks nothing"):
        await ask([TAGGED], messages=messages)


# ── rounds


async def test_a_draft_is_criticised_and_revised() -> None:
    script = ["It is five.", revised("Two and two make four."), revised("Four, as fingers show.", 9)]
    turns = (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", TAGGED), *ASKED)
    runs, answered, requests = await ask(script, ChatSettings(rounds=2), messages=turns)
    kinds = [kind for kind, _ in runs]
    assert kinds == ["thinking", "reflection", "thinking", "reflection", "output"]
    assert [text for kind, text in runs if kind != "reflection"] == [
        "It is five.",
        "Two and two make four.",
        "Four, as fingers show.",
    ]
    assert "Accuracy 4/10: On accuracy." in runs[1][1]
    assert "Helpfulness 9/10: On helpfulness." in runs[3][1]
    assert answered.output == parse(answered.raw).output == "Four, as fingers show."
    assert parse(answered.raw).reflections == answered.reflections == (runs[1][1], runs[3][1])
    assert parse(answered.raw).well_formed
    draft, first, second = requests
    assert draft.messages == (turns[0], turns[1], Message("assistant", "Four."), turns[3])  # no word of ours
    shown = json.loads(first.messages[-1].content)
    assert (shown["response"], shown["system"]) == ("It is five.", "Be brief.")
    assert [turn["content"] for turn in shown["history"]] == ["Hi", "Four."]
    assert json.loads(second.messages[-1].content)["response"] == "Two and two make four."
    assert answered.completion_tokens == sum(len(text.split()) for text in script)


@pytest.mark.parametrize("draft", ["x <output>literal</output> y", "x</thinking> y", "```\nnever closed"])
async def test_a_draft_that_holds_tags_of_its_own_is_told_as_a_fault(draft: str) -> None:
    _, answered, _ = await ask([draft] * 2, ChatSettings(reflect="off", best_of=2))
    assert answered.output == draft
    assert answered.faults == parse(answered.raw).faults != ()


@pytest.mark.parametrize(
    ("revision", "told"),
    [("It is five.", "says the same"), ("I'm sorry, but I can't help with that.", "turned down")],
)
async def test_a_revision_that_is_turned_down_leaves_the_draft(revision: str, told: str) -> None:
    script = ["It is five.", revised(revision), revised(revision)]
    runs, answered, requests = await ask(script, ChatSettings(rounds=3))
    assert [kind for kind, _ in runs] == ["thinking", "reflection", "output"]
    assert told in runs[1][1]
    assert "Accuracy 4/10" in runs[1][1]
    assert answered.output == "It is five."
    assert len(requests) == 3


async def test_a_critique_that_does_not_come_leaves_the_draft() -> None:
    def say(request: Request) -> Said:
        return "It is five." if request.messages == ASKED else "no JSON at all"

    runs, answered, _ = await ask(say, ChatSettings(rounds=1))
    assert "turned down" in runs[1][1]
    assert answered.output == "It is five."


async def test_the_last_revision_ends_before_a_stop() -> None:
    _, answered, _ = await ask(["five", revised("Two and two make four.")], ChatSettings(rounds=1), stop=(" make",))
    assert answered.output == "Two and two"


async def test_a_chinese_question_is_criticised_in_chinese() -> None:
    asked = (Message("user", "为什么天空是蓝色的？请说明原因。"),)
    script = ["因为海。", revised("因为大气散射蓝光，所以天空看起来是蓝色的。")]
    runs, _, _ = await ask(script, ChatSettings(rounds=1), messages=asked)
    assert "准确性 4/10：" in runs[1][1]


async def test_a_small_model_is_asked_turn_by_turn() -> None:
    def say(request: Request) -> Said:
        if request.schema is not None:
            return "7"
        last = request.messages[-1].content
        return "Two and two together make four." if "better" in last.lower() or request.messages == ASKED else "Good."

    oracle = ScriptedOracle(say, dialogue=True)
    _, answered = await read(answer(ASKED, Engine(oracle, Forgetful()), ChatSettings(rounds=1)))
    assert "Accuracy 7/10: " in answered.reflections[0]
    assert len(oracle.requests) > 8


# ── best of several


def drafts(*texts: Said) -> Callable[[Request], Said]:
    return lambda request: texts[request.sample]


async def test_the_answer_that_most_drafts_give_is_taken() -> None:
    script = drafts("<output>5</output>", TAGGED.replace("Four.", "4"), "<output>4.0</output>")
    runs, answered, requests = await ask(script, ChatSettings(best_of=3))
    assert [kind for kind, _ in runs] == ["thinking", "thinking", "thinking", "reflection", "output"]
    assert [text.partition("\n")[0] for _, text in runs[:3]] == ["Draft 1", "Draft 2", "Draft 3"]
    assert runs[3][1] == "2 of 3 drafts agree on: 4"
    assert answered.output == parse(answered.raw).output == "4"
    assert sorted(request.sample for request in requests) == [0, 1, 2]


async def test_drafts_that_no_rule_can_compare_are_put_to_the_model() -> None:
    texts = [f"<output>{word} day, since the weather will stay as it is for so long.</output>" for word in "ABC"]

    def say(request: Request) -> Said:
        if request.schema is None:
            return texts[request.sample]
        candidates = json.loads(request.messages[-1].content)["candidates"]
        assert [one["response"][0] for one in candidates] == ["A", "B", "C"]
        return json.dumps({"reason": "It is warmest.", "choice": 2})

    runs, answered, _ = await ask(say, ChatSettings(best_of=3))
    assert runs[3][1] == "Draft 2 is chosen. It is warmest."
    assert answered.output is not None
    assert answered.output.startswith("B")


def test_drafts_that_do_not_come_are_told_of() -> None:
    busy = OracleBusy("The server is gone.", reason="server-error")

    def say(request: Request) -> Said:
        return busy if request.sample == 0 else "<output>4</output>"

    async def scene() -> tuple[list[tuple[str, str]], Answered, list[Request]]:
        return await ask(say, ChatSettings(best_of=2))

    runs, answered, _ = run(scene())
    assert "Draft 1 did not come: The server is gone." in runs[0][1]
    assert answered.output == "4"
    with pytest.raises(OracleBusy, match="gone"):
        run(ask(lambda _: OracleBusy("All gone.", reason="rate-limit"), ChatSettings(best_of=2)))
    with pytest.raises(OracleError, match="no key"):
        run(ask(lambda _: OracleError("no key"), ChatSettings(best_of=2)))


async def test_drafts_without_an_answer_do_not_vote() -> None:
    runs, answered, _ = await ask(drafts("<thinking>a", "<output>4</output>"), ChatSettings(best_of=2))
    assert ("reflection", "Only draft 2 holds an answer.") in runs
    assert answered.output == "4"
    _, answered, _ = await ask(drafts("<thinking>a", "<thinking>b"), ChatSettings(best_of=2))
    assert (answered.output, answered.faults) == (None, ("no-output",))


async def test_the_best_of_several_is_revised() -> None:
    def say(request: Request) -> Said:
        if request.schema is not None:
            return revised("Two and two make four.")
        return ["5", "4", "4"][request.sample]

    runs, answered, _ = await ask(say, ChatSettings(best_of=3, rounds=1))
    assert [kind for kind, _ in runs] == ["thinking"] * 3 + ["reflection"] * 2 + ["output"]
    assert answered.output == "Two and two make four."


@pytest.mark.parametrize(
    ("question", "texts", "place"),
    [
        ("How many?", ["4", "5", "4"], 0),
        ("How many?", ["5", "$4.00", "The answer is 4."], 1),
        ("How many?", ["\\boxed{4}", "so\n#### 4", "5"], 0),
        ("How many?", ["4", "5"], None),
        ("Half of 3?", ["\\boxed{\\frac{3}{2}}", "\\boxed{\\frac{1}{2}}", "\\boxed{\\frac 32}"], None),
        ("Half of x?", ["\\boxed{x/2}", "\\boxed{x / 2}", "2"], 0),
        (
            "Who won in 1990?",
            ["Germany won in 1990.", "Argentina won in 1990.", "I think that nobody won in 1990."],
            None,
        ),
        ("Who was first?", ["Adams, in 1789.", "Washington, 1789.", "Nobody."], None),
        (
            "How many?",
            ["It has 4 of 5 legs.", "It has 4 of 6 legs.", "I do not know at all what to say of it here."],
            None,
        ),
        ("Which?\nA. cat\nB. dog", ["B", "The answer is B.", "A"], 0),
        ("Which?\nA. cat\nB. dog", ["A", "Both A and B."], None),
        ("Capital?", ["Paris", "paris.", "Lyon"], 0),
        ("Why?", ["long " * 50, "longer " * 50, "Paris"], None),
    ],
)
def test_a_majority_is_counted_by_rule(question: str, texts: list[str], place: int | None) -> None:
    found = majority(question, texts)
    assert (found.place if found else None) == place


@given(st.lists(st.sampled_from(["1", "2", "3", "1.0", "x y z " * 20]), min_size=1, max_size=7))
def test_a_majority_is_more_than_any_other(texts: list[str]) -> None:
    found = majority("How many?", texts)
    if found is not None:
        value = float(texts[found.place])
        same = [text for text in texts if text[0] in "123" and float(text) == value]
        assert found.count == len(same)
        assert all(sum(text[0] == digit for text in texts) < found.count for digit in "123" if float(digit) != value)


# ── what becomes of the work


class Slow(ScriptedOracle):
    """An oracle that notes how many of its replies are being written."""

    writing = 0
    ended = 0

    async def stream(self, request: Request) -> AsyncGenerator[Piece | Reply]:
        self.writing += 1
        try:
            async for piece in super().stream(request):
                yield piece
                await asyncio.sleep(0.001)
            self.ended += 1
        finally:
            self.writing -= 1


@pytest.mark.parametrize("settings", [ChatSettings(), ChatSettings(best_of=4), ChatSettings(rounds=1)])
async def test_closing_an_answer_ends_the_writing(settings: ChatSettings) -> None:
    oracle = Slow(lambda _: TAGGED * 20)
    engine = Engine(oracle, Forgetful())
    async with aclosing(answer(ASKED, engine, settings)) as events:
        async for event in events:
            if isinstance(event, Part) and event.text:
                break
        assert oracle.writing > 0
    assert (oracle.writing, oracle.ended, engine.pace.in_flight) == (0, 0, 0)


async def test_the_engine_counts_what_an_answer_took() -> None:
    engine = Engine(ScriptedOracle(["five", revised("Two and two make four.")]), Forgetful())
    _, answered = await read(answer(ASKED, engine, ChatSettings(rounds=1)))
    assert engine.usage.requests == 2
    assert engine.usage.completion_tokens == answered.completion_tokens


# ── conversations


async def talk(conversation: Conversation, *questions: str) -> list[Answered]:
    return [(await read(conversation.ask(question)))[1] for question in questions]


async def test_a_conversation_remembers_answers_and_forgets_thinking() -> None:
    oracle = ScriptedOracle([TAGGED, "no tags", "<thinking>lost", TAGGED])
    conversation = Conversation(oracle, ChatSettings(reflect="trained"))
    await talk(conversation, "a", "b", "c", "d")
    sent = [(turn.role, turn.content) for turn in oracle.requests[-1].messages]
    assert sent == [
        *(("user", "a"), ("assistant", "Four.")),
        *(("user", "b"), ("assistant", "no tags")),
        *(("user", "c"), ("assistant", "...")),
        ("user", "d"),
    ]
    assert [exchange.output for exchange in conversation.exchanges] == ["Four.", None, None, "Four."]


async def test_a_failure_leaves_a_conversation_as_it_was() -> None:
    oracle = ScriptedOracle([TAGGED, OracleError("no key"), TAGGED, TAGGED])
    conversation = Conversation(oracle)
    await talk(conversation, "a")
    before = list(conversation.exchanges)
    with pytest.raises(OracleError):
        await talk(conversation, "b")
    assert conversation.exchanges == before
    async with aclosing(conversation.ask("b")) as events:
        async for _ in events:
            break
    assert conversation.exchanges == before
    await talk(conversation, "b")  # an error that ends an engine does not end a conversation
    assert len(conversation.exchanges) == 2


def test_a_conversation_tells_when_its_model_is_busy_and_gives_up_in_time() -> None:
    oracle = ScriptedOracle([TAGGED, *[OracleBusy("gone for good", reason="server-error")] * 60])
    conversation = Conversation(oracle)
    waited: list[tuple[float, str]] = []

    async def scene() -> None:
        await talk(conversation, "a")
        asking = asyncio.create_task(talk(conversation, "b"))
        began = asyncio.get_running_loop().time()
        while not asking.done():
            waited.append((asyncio.get_running_loop().time() - began, conversation.waiting))
            await asyncio.sleep(0.5)
        await asking

    with pytest.raises(OracleError, match="gone for good"):
        run(scene())
    assert waited[0][1] == ""
    assert "server-error" in waited[-1][1]
    assert waited[-1][0] < 300
    assert len(conversation.exchanges) == 1


async def test_a_question_is_answered_again_by_another_draw() -> None:
    oracle = ScriptedOracle(["<output>a</output>", "<output>b</output>", "<output>c</output>"])
    conversation = Conversation(oracle)
    with pytest.raises(ValueError, match="unpack"):
        conversation.again()
    await talk(conversation, "one", "two")
    await read(conversation.again())
    assert [exchange.output for exchange in conversation.exchanges] == ["a", "c"]
    assert oracle.requests[1].messages == oracle.requests[2].messages
    assert oracle.requests[1].sample != oracle.requests[2].sample


async def test_a_conversation_is_saved_and_gone_on_with(tmp_path: Path) -> None:
    conversation = Conversation(ScriptedOracle([TAGGED, "plain text"]))
    await talk(conversation, "What is 2+2?", "And?")
    conversation.save(tmp_path / "talk.json")
    conversation.save(tmp_path / "talk.md")
    told = (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert "## Question\n\nWhat is 2+2?" in told
    assert "> Not five." in told
    assert "### Answer\n\nFour." in told
    assert told.endswith("### Answer\n\nplain text\n")
    other = Conversation(ScriptedOracle([TAGGED]))
    other.load(tmp_path / "talk.json")
    assert other.exchanges == conversation.exchanges
    (tmp_path / "bad.json").write_text('{"exchanges": 3}')
    for name in ("bad.json", "missing.json", "talk.md"):
        with pytest.raises(InputError, match=name):
            other.load(tmp_path / name)
    assert other.exchanges == conversation.exchanges
