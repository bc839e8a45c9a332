"""The dialogue way, with a scripted oracle: what it asks, turn by turn, and what becomes of the answers."""

from __future__ import annotations

from typing import Any

import pytest

from reflectune.criteria import INSTRUCTION_CRITERIA, RESPONSE_CRITERIA
from reflectune.errors import SettingsError
from reflectune.oracles.engine import Engine
from reflectune.prompts import Prompts
from reflectune.recipe import RecycleSettings
from reflectune.records import Example, Message, Recycled, Reply, Request, Sampling
from reflectune.recycling import recycle, requests_per_row
from reflectune.recycling.worked import leaked, worked_examples
from reflectune.testing import MemoryStore, Said, ScriptedOracle
from test_recycling import Student

TEA = Example("tea", "How do I make tea?", "Use hot water.")
QUESTION = "Explain in three steps how to brew black tea, with amounts and times."
ANSWER = "Warm the pot. Add one spoon of leaves for each cup. Pour on boiling water and wait four minutes."
BETTER = "Boil fresh water and warm the pot with it. Take one spoon of leaves a cup, pour, and wait four minutes."


def kind_of(request: Request) -> str:
    """What a request asks for, told by its schema and the end of its last turn."""
    last = request.messages[-1].content
    if request.schema is not None:
        return "score"
    endings = {
        "Weakness:": "link",
        "Better task:": "instruction",
        "Answer in one paragraph.": "answer",
        "with reasons and an example.": "response",
        "and why?": "ballot",
    }
    return next((kind for ending, kind in endings.items() if last.endswith(ending)), "remark")


class Talkative(ScriptedOracle):
    """Answers every kind of turn; single kinds can be given other replies."""

    def __init__(self, **replies: Said) -> None:
        usual: dict[str, Said] = {
            "score": "7",
            "link": "It asks for nothing in particular, so little came.",
            "instruction": QUESTION,
            "answer": ANSWER,
            "response": BETTER,
            "ballot": "The first is clearer.",
            "remark": "Too short to help.",
        }
        replies_of = usual | replies
        super().__init__(lambda request: replies_of[kind_of(request)], dialogue=True)
        self.sampling = Sampling(0.2, 0.9, 400, 1.1)

    def asked(self, kind: str) -> list[Request]:
        """The requests of one kind."""
        return [request for request in self.requests if kind_of(request) == kind]


async def one(oracle: ScriptedOracle, example: Example = TEA, **asked: Any) -> Recycled:
    (recycled,) = [r async for r in recycle([example], Engine(oracle, MemoryStore()), RecycleSettings(**asked))]
    return recycled


async def test_it_gives_the_same_typed_rewrite() -> None:
    oracle = Talkative()
    recycled = await one(oracle)
    assert recycled.rewritten, recycled.failure
    assert set(recycled.versions) == {"original", "Q", "QA"}
    assert recycled.versions["Q"].model_dump() == {"instruction": QUESTION, "input": "", "response": ANSWER}
    assert recycled.best.response == BETTER
    first, second = recycled.rewrites
    assert [(r.subject, r.criterion) for r in first.remarks] == [
        *(("instruction", name) for name in INSTRUCTION_CRITERIA),
        *(("response", name) for name in RESPONSE_CRITERIA),
    ]
    assert [remark.criterion for remark in second.remarks] == list(RESPONSE_CRITERIA)
    assert {(remark.remark, remark.score) for remark in first.remarks} == {("Too short to help.", 7)}
    assert first.link == "It asks for nothing in particular, so little came."


async def test_the_number_of_requests_is_what_a_dry_run_says() -> None:
    for settings in (
        {},
        {"reflect": "instruction"},
        {"reflect": "response"},
        {"score_after": True},
        {"versions": "all"},
    ):
        oracle = Talkative()
        await one(oracle, **settings)
        # The first critique of the new response is asked twice in the same words where the result is scored too.
        expected = requests_per_row(RecycleSettings(**settings), dialogue=True)
        assert len(oracle.requests) == expected, settings


@pytest.mark.parametrize(("takes_new", "fewer", "best"), [(True, 0, "QA"), (False, 8, "A")])
async def test_the_student_chooses_in_a_dialogue_too(takes_new: bool, fewer: int, best: str) -> None:
    """What was said of the old response in the first reflection is not asked again in the second."""
    oracle, settings = Talkative(), RecycleSettings(versions="chosen")
    (recycled,) = [r async for r in recycle([TEA], Engine(oracle, MemoryStore()), settings, Student(takes_new))]
    assert recycled.best_name == best
    assert len(oracle.requests) == requests_per_row(settings, dialogue=True) - fewer


async def test_worked_examples_come_first_and_are_the_same_for_every_row() -> None:
    oracle = Talkative()
    engine = Engine(oracle, MemoryStore())
    examples = [TEA, Example("2", "Why is the sky blue?", "Because of air.")]
    _ = [r async for r in recycle(examples, engine, RecycleSettings(reflect="instruction"))]
    for kind in ("link", "instruction"):
        prefixes = {request.messages[:-1] for request in oracle.asked(kind)}
        assert len(prefixes) == 1
        roles = [message.role for message in prefixes.pop()]
        assert roles == ["system"] + ["user", "assistant"] * (len(roles) // 2)
        assert len(roles) > 6


async def test_the_critique_leads_the_rewrite() -> None:
    oracle = Talkative(link="It names no amounts, so the answer has none.")
    await one(oracle)
    (asked,) = oracle.asked("instruction")
    assert "It names no amounts, so the answer has none." in asked.messages[-1].content


async def test_input_and_earlier_turns_are_shown() -> None:
    history = (Message("user", "Which drink is best?"), Message("assistant", "Black tea."))
    example = Example("1", "Sum it up.", "Tea.", input="Tea is a drink made of leaves.", history=history)
    oracle = Talkative(instruction="Sum up in one sentence what tea is made of and where it grows.")
    recycled = await one(oracle, example)
    for kind in ("link", "instruction"):
        (asked,) = oracle.asked(kind)
        shown = asked.messages[-1].content
        assert all(text in shown for text in ("Which drink is best?", "Black tea.", "Sum it up.", "made of leaves"))
    assert recycled.best.instruction.endswith("\n\nTea is a drink made of leaves.")
    (answered,) = oracle.asked("answer")
    assert "Tea is a drink made of leaves." in answered.messages[-1].content
    assert [message.content for message in answered.messages[:-1]] == ["Which drink is best?", "Black tea."]


async def test_each_kind_of_text_has_its_own_limit_and_penalty() -> None:
    oracle = Talkative()
    await one(oracle)
    limits = {
        kind: (asked.sampling.max_tokens, asked.sampling.repetition_penalty)
        for kind in ("link", "instruction", "answer", "response")
        for asked in oracle.asked(kind)
    }
    assert limits == {"link": (40, 1.0), "instruction": (100, 1.03), "answer": (400, 1.1), "response": (400, 1.1)}


async def test_a_remark_may_be_broken_off_and_a_rewrite_may_not() -> None:
    cut = Reply(text="It is short and it does not", finish_reason="length", completion_tokens=40)
    assert (await one(Talkative(remark=cut))).rewritten
    failed = (await one(Talkative(instruction=cut))).failure
    assert failed is not None
    assert (failed.stage, failed.reason, failed.raw) == ("instruction", "truncated", cut.text)


async def test_the_reason_is_told_before_the_question_and_the_bad_text_is_not_shown() -> None:
    oracle = Talkative(instruction=TEA.instruction)
    failed = (await one(oracle)).failure
    assert failed is not None
    assert failed.reason == "copy"
    first, second, third = oracle.asked("instruction")
    told = Prompts().reason("en", "copy")
    assert second.messages[:-1] == first.messages[:-1]
    assert second.messages[-1].content == f"{told}\n\n{first.messages[-1].content}"
    assert third.messages == second.messages
    heats = [asked.sampling.temperature for asked in (first, second, third)]
    assert heats == pytest.approx([0.2, 0.45, 0.7])


async def test_a_score_that_is_no_number_fails_the_row() -> None:
    failed = (await one(Talkative(score="excellent"))).failure
    assert failed is not None
    assert (failed.stage, failed.reason, failed.raw) == ("instruction", "invalid", "excellent")


async def test_candidates_are_compared_by_reason_and_number() -> None:
    oracle = Talkative(score="2")
    other = "Describe three mistakes that people make with black tea, and how to avoid each of them."

    def say(request: Request) -> Said:
        if kind_of(request) == "instruction" and request.sample == 1:
            return other
        return usual(request)

    usual, oracle._say = oracle._say, say
    recycled = await one(oracle, reflect="instruction", candidates=2)
    ballot = recycled.rewrites[0].ballot
    assert ballot is not None
    assert (ballot.choice, ballot.reason) == (1, "The first is clearer.")
    assert recycled.best.instruction == other


async def test_chinese_rows_are_asked_in_chinese() -> None:
    oracle = ScriptedOracle(
        lambda request: "3" if request.schema else "这个任务说得太少，所以回答也很短。", dialogue=True
    )
    await one(oracle, Example("1", "怎样泡茶？", "用热水。"))
    assert all("Task" not in message.content for request in oracle.requests for message in request.messages)


def test_worked_examples_that_do_not_fit_are_a_clear_error(tmp_path: Any) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "dialogue_pairs.yaml").write_text("instruction: []\n")
    with pytest.raises(SettingsError, match=r"en/dialogue_pairs\.yaml"):
        worked_examples(Prompts(tmp_path), "en")


@pytest.mark.parametrize(
    ("language", "text", "leaks"),
    [
        ("en", "Describe a tent for two people in one paragraph, and say who would buy it.", True),
        ("en", "I was going to tell you about an article. I'll show you a tent that keeps out the rain.", True),
        ("en", "Describe how tea is made, in one paragraph, for people who never drank it.", False),
        ("en", "Explain each step of brewing tea and why the order of the steps matters.", False),
        ("zh", "请说明怎样泡一壶绿茶，并写出水温和时间。", False),
    ],
)
def test_an_instruction_taken_from_a_worked_example_is_a_leak(language: Any, text: str, leaks: bool) -> None:
    found = leaked(text, worked_examples(Prompts(), language), row="How do I make tea?")
    assert (found is not None and found.reason == "leak") is leaks


def test_every_worked_example_would_be_noticed() -> None:
    for language in ("en", "zh"):
        worked = worked_examples(Prompts(), language)  # type: ignore[arg-type]
        assert all(leaked(example.better, worked, row="") for example in worked.instruction)


def test_words_of_the_row_are_no_leak() -> None:
    worked = worked_examples(Prompts(), "en")
    text = worked.instruction[0].better
    assert leaked(text, worked, row=text) is None
