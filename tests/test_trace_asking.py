"""Traces that a model is asked for: its own wrong samples, and drafts that it corrects."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from reflectune.errors import OracleError, RequestRefused, SettingsError
from reflectune.oracles.engine import Engine
from reflectune.recipe import TraceSettings
from reflectune.records import Failure, Message, Reply, Request, Sampling
from reflectune.tags import parse
from reflectune.testing import MemoryStore, Said, ScriptedOracle
from reflectune.traces import Question, Trace, ask_traces, requests_per_question
from reflectune.traces.solutions import steps_of

WORKED = Question("a", "gsm8k", "How many are 2 and 3?", "5", steps_of("We add: 2+3 = <<2+3=5>>5."), source="d:1")
CHOICE = Question("b", "choice", "Which is blue?\n\nA. grass\nB. sky", "B", source="d:2")
OPEN = Question("c", "open", "Why is the sky blue?", source="d:3", system="Be brief.")
CHINESE = Question("d", "open", "天空为什么是蓝色的？请简要说明其中的道理。", source="d:4")


def sample(answer: str, reasoning: str = "I think.") -> str:
    return json.dumps({"reasoning": reasoning, "answer": answer})


async def made(
    questions: list[Question | Failure],
    oracle: ScriptedOracle,
    store: MemoryStore | None = None,
    **settings: Any,
) -> list[Trace | Failure]:
    engine = Engine(oracle, store or MemoryStore())
    return [trace async for trace in ask_traces(questions, engine, TraceSettings(**settings))]


async def own(question: Question, *said: Said, clean: float = 0.0, **settings: Any) -> Trace | Failure:
    [trace] = await made([question], ScriptedOracle(said), mistakes="own", samples=len(said), clean=clean, **settings)
    return trace


def is_failure(failure: Trace | Failure, reason: str) -> str:
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("trace", reason)
    return failure.detail


def flagged(trace: Trace | Failure) -> tuple[list[str], list[str]]:
    assert isinstance(trace, Trace)
    content = trace.messages[-1].content
    assert parse(content).well_formed
    assert parse(content).output == trace.trace.answer
    return (
        [content[slice(*span)] for span in trace.trace.mistakes],
        [content[slice(*span)] for span in trace.trace.corrections],
    )


async def test_a_wrong_sample_is_corrected_by_the_worked_solution() -> None:
    trace = await own(WORKED, sample("5"), sample("6", "It is 2+3,\nand so 6."))
    assert isinstance(trace, Trace)
    assert (trace.trace.kind, trace.trace.mistake, trace.trace.answer) == ("own", None, "5")
    [mistake], [correction] = flagged(trace)
    assert mistake == "It is 2+3,\nand so 6."
    assert "6" in correction
    assert correction.endswith("We add: 2+3 = 5.\n</reflection>")
    assert trace.trace.checked == "rule"


async def test_without_a_worked_solution_a_right_sample_corrects_a_wrong_one() -> None:
    trace = await own(CHOICE, sample("A", "Grass is."), sample("(B)", "Look up."))
    [mistake], [correction] = flagged(trace)
    assert mistake == "Grass is."
    assert correction.endswith("Look up.\n</reflection>")
    assert isinstance(trace, Trace)
    assert trace.trace.answer == "B"


async def test_where_nothing_corrects_a_wrong_sample() -> None:
    is_failure(await own(CHOICE, sample("A"), sample("A")), "no-solution")


async def test_a_right_sample_is_a_clean_trace() -> None:
    trace = await own(WORKED, sample("6"), sample("5", "Two and three."), clean=1)
    assert isinstance(trace, Trace)
    assert flagged(trace) == ([], [])
    assert trace.trace.kind == "clean"
    assert parse(trace.messages[-1].content).thinking == "Two and three."


async def test_a_question_that_is_to_stay_clean_takes_a_mistake_where_nothing_is_right() -> None:
    trace = await own(WORKED, sample("6"), clean=1)
    assert isinstance(trace, Trace)
    assert trace.trace.kind == "own"


async def test_where_all_samples_are_right_there_is_no_mistake() -> None:
    assert "all of 2 samples are right" in is_failure(await own(WORKED, sample("5"), sample("5")), "no-mistake")


async def test_a_sample_with_tags_of_its_own_is_rejected() -> None:
    is_failure(await own(WORKED, sample("6", "So </thinking> it is.")), "malformed")


async def test_a_sample_that_is_cut_off_is_rejected() -> None:
    cut = Reply(text=sample("6"), finish_reason="length", completion_tokens=9)
    assert "cut off" in is_failure(await own(WORKED, cut, retries=0), "truncated")


async def test_other_samples_stand_where_one_fails() -> None:
    trace = await own(WORKED, "no JSON", sample("6"), retries=0)
    assert isinstance(trace, Trace)


@pytest.mark.parametrize("said", ["She sold 5 of them", "5 or 6", "five"])
async def test_an_answer_that_cannot_be_checked_is_not_called_wrong(said: str) -> None:
    assert "cannot be checked" in is_failure(await own(WORKED, sample(said), retries=0), "no-answer")
    oracle = ScriptedOracle([sample(said), sample("6")])
    [trace] = await made([WORKED], oracle, mistakes="own", samples=1, clean=0)
    assert isinstance(trace, Trace)
    assert "cannot be checked" in oracle.requests[1].messages[-1].content
    talk = ScriptedOracle(["I add.", said, said], dialogue=True)
    [failure] = await made([WORKED], talk, mistakes="own", samples=1, clean=0, retries=1)
    is_failure(failure, "no-answer")


async def test_an_open_question_has_no_wrong_samples() -> None:
    oracle = ScriptedOracle([])
    [failure] = await made([OPEN], oracle, mistakes="own")
    is_failure(failure, "no-answer")
    assert not oracle.requests


async def test_samples_are_drawn_with_heat_and_each_is_its_own_request() -> None:
    oracle = ScriptedOracle([sample("5"), sample("6")])
    await made([WORKED], oracle, mistakes="own", samples=2)
    assert [request.sample for request in oracle.requests] == [0, 1]
    assert {(request.sampling.temperature, request.sampling.top_p) for request in oracle.requests} == {(0.7, 0.95)}
    system, user = oracle.requests[0].messages
    assert "as a number without a unit" in system.content
    assert json.loads(user.content) == {"question": WORKED.text}
    assert "5" not in user.content


async def test_a_model_that_is_better_asked_in_turns_is() -> None:
    oracle = ScriptedOracle(["First I add.\nThen 6.", "6"], dialogue=True)
    [trace] = await made([WORKED], oracle, mistakes="own", samples=1, clean=0)
    assert flagged(trace)[0] == ["First I add.\nThen 6."]
    first, second = oracle.requests
    assert [turn.role for turn in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[:2] == first.messages
    assert first.messages[1] == Message("user", WORKED.text)
    assert second.messages[-1].content == "Now write the final answer alone, as a number without a unit."


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([" ", " "], "empty"),
        (["I add.", "", ""], "empty"),
        ([Reply(text="x", finish_reason="length")] * 2, "truncated"),
    ],
)
async def test_turns_that_come_to_nothing(said: list[Said], reason: str) -> None:
    oracle = ScriptedOracle(said, dialogue=True)
    [failure] = await made([WORKED], oracle, mistakes="own", samples=1, retries=1)
    is_failure(failure, reason)
    heats = [request.sampling.temperature for request in oracle.requests]
    assert heats[-1] == pytest.approx(0.9)


async def test_what_was_asked_before_is_not_asked_again() -> None:
    store = MemoryStore()
    first = await made([WORKED], ScriptedOracle([sample("5"), sample("6")]), store, mistakes="own", samples=2, clean=0)
    again = await made([WORKED], ScriptedOracle([]), store, mistakes="own", samples=2, clean=0)
    assert first == again
    assert isinstance(first[0], Trace)


async def test_failures_are_passed_on_and_equal_questions_asked_once() -> None:
    unread = Failure(id="x", stage="trace", reason="no-answer")
    again = Question("a-2", "gsm8k", WORKED.text, "5", WORKED.steps, source="d:9")
    oracle = ScriptedOracle([sample("6")])
    found = await made([unread, WORKED, again], oracle, mistakes="own", samples=1, clean=0)
    assert len(oracle.requests) == 1
    by_id = {trace.id: trace for trace in found}
    assert by_id["x"] is unread
    assert isinstance(by_id["a"], Trace)
    is_failure(by_id["a-2"], "duplicate")


async def test_an_oracle_of_no_use_stops_the_run_and_a_refusal_only_the_row() -> None:
    with pytest.raises(OracleError, match="no key"):
        await own(WORKED, OracleError("no key"), sample("6"))
    assert "too long" in is_failure(
        await own(WORKED, RequestRefused("too long", reason="context-overflow")), "context-overflow"
    )


async def test_planted_mistakes_take_no_model() -> None:
    with pytest.raises(SettingsError, match="take no model"):
        await made([WORKED], ScriptedOracle([]))


DRAFT = {"reasoning": "The sky is blue.\nThe sea paints it.\nSo it is the sea.", "answer": "The sea."}
FLAW = {"remark": "No.", "sound": False, "passage": "The sea paints it."}
SOUND = {"remark": "Yes.", "sound": True, "passage": ""}
MENDED = {"reflection": "That is not so: air scatters blue light.", "rest": "So it is the air.", "answer": "The air."}
GOOD = {"remark": "Fine.", "passage_is_wrong": True, "answer_is_right": True}


async def drafted(question: Question, *said: dict[str, Any], clean: float = 0.0, **more: Any) -> Trace | Failure:
    oracle = ScriptedOracle([json.dumps(value) for value in said])
    [trace] = await made([question], oracle, mistakes="oracle", clean=clean, **more)
    return trace


async def test_an_oracle_drafts_criticises_corrects_and_checks() -> None:
    trace = await drafted(OPEN, DRAFT, FLAW, MENDED, GOOD)
    assert isinstance(trace, Trace)
    assert (trace.trace.kind, trace.trace.mistake, trace.trace.checked) == ("oracle", None, "oracle")
    assert flagged(trace) == (
        ["The sea paints it."],
        ["<reflection>\nThat is not so: air scatters blue light.\n</reflection>"],
    )
    parsed = parse(trace.messages[-1].content)
    assert parsed.output == "The air."
    assert parsed.thinking is not None
    assert parsed.thinking.startswith("The sky is blue.\nThe sea paints it.\n<reflection>")
    assert parsed.thinking.endswith("</reflection>\nSo it is the air.")
    assert trace.messages[0].content.startswith("Be brief.\n\n")


async def test_a_sound_draft_is_a_clean_trace_where_one_is_wanted() -> None:
    trace = await drafted(OPEN, DRAFT, SOUND, GOOD, clean=1)
    assert isinstance(trace, Trace)
    assert (trace.trace.kind, trace.trace.checked) == ("clean", "oracle")
    assert flagged(trace) == ([], [])
    is_failure(await drafted(OPEN, DRAFT, SOUND), "no-mistake")


async def test_a_flaw_is_corrected_also_where_a_clean_trace_was_wanted() -> None:
    trace = await drafted(OPEN, DRAFT, FLAW, MENDED, GOOD, clean=1)
    assert isinstance(trace, Trace)
    assert trace.trace.kind == "oracle"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [({"passage_is_wrong": False}, "right-step"), ({"answer_is_right": False}, "wrong-answer")],
)
async def test_what_the_check_finds_is_heeded(verdict: dict[str, bool], reason: str) -> None:
    assert "Fine." in is_failure(await drafted(OPEN, DRAFT, FLAW, MENDED, GOOD | verdict), reason)


async def test_a_clean_trace_has_no_passage_to_be_wrong() -> None:
    assert isinstance(await drafted(OPEN, DRAFT, SOUND, GOOD | {"passage_is_wrong": False}, clean=1), Trace)
    is_failure(await drafted(OPEN, DRAFT, SOUND, GOOD | {"answer_is_right": False}, clean=1), "wrong-answer")


async def test_a_known_answer_is_checked_by_rule_whatever_the_oracle_says() -> None:
    right = await drafted(CHOICE, DRAFT, FLAW, MENDED | {"answer": "B"}, GOOD)
    assert isinstance(right, Trace)
    assert right.trace.checked == "rule"
    is_failure(await drafted(CHOICE, DRAFT, FLAW, MENDED | {"answer": "A"}, GOOD), "wrong-answer")


async def test_a_passage_must_stand_in_the_draft() -> None:
    elsewhere = FLAW | {"passage": "The moon paints it."}
    trace = await drafted(OPEN, DRAFT, elsewhere, FLAW, MENDED, GOOD)
    assert isinstance(trace, Trace)
    is_failure(await drafted(OPEN, DRAFT, elsewhere, elsewhere, retries=1), "passage")
    is_failure(await drafted(OPEN, DRAFT, FLAW | {"passage": " "}, retries=0), "passage")


async def test_the_reason_of_a_rejection_is_told() -> None:
    replies = [json.dumps(value) for value in (DRAFT, FLAW | {"passage": "x y"}, FLAW, MENDED, GOOD)]
    oracle = ScriptedOracle(replies)
    await made([OPEN], oracle, mistakes="oracle", clean=0)
    assert "word by word" in oracle.requests[2].messages[-1].content
    assert oracle.requests[2].messages[-2] == Message("assistant", replies[1])


@pytest.mark.parametrize("stage", range(4))
async def test_each_step_may_come_to_nothing(stage: int) -> None:
    said = [json.dumps(value) for value in (DRAFT, FLAW, MENDED, GOOD)]
    said[stage] = "no JSON"
    oracle = ScriptedOracle(said)
    [failure] = await made([OPEN], oracle, mistakes="oracle", clean=0, retries=0)
    is_failure(failure, "invalid")
    assert len(oracle.requests) == stage + 1


async def test_what_a_step_is_shown() -> None:
    def say(request: Request) -> str:
        rubric, shown = (turn.content for turn in request.messages)
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "reflection": lambda: MENDED,
            "passage_is_wrong": lambda: GOOD,
            "sound": lambda: FLAW,
            "reasoning": lambda: DRAFT,
        }
        seen.append((rubric, json.loads(shown)))
        return json.dumps(next(value() for name, value in steps.items() if f" {name}: " in rubric))

    seen: list[tuple[str, dict[str, Any]]] = []
    await made([OPEN], ScriptedOracle(say), mistakes="oracle", clean=0)
    assert all("the whole answer as the person who asked" in rubric for rubric, _ in seen)
    draft, critique, correction, check = (shown for _, shown in seen)
    assert draft == {"system": "Be brief.", "question": OPEN.text}
    assert critique == draft | {"draft": DRAFT}
    assert correction == draft | {"draft": DRAFT, "critique": FLAW}
    assert check == draft | {
        "answer": "The air.",
        "reasoning": [
            {"part": "step", "text": "The sky is blue."},
            {"part": "mistake", "text": "The sea paints it."},
            {"part": "correction", "text": MENDED["reflection"]},
            {"part": "step", "text": "So it is the air."},
        ],
    }


async def test_a_chinese_question_is_asked_about_in_chinese() -> None:
    oracle = ScriptedOracle([json.dumps(value) for value in (DRAFT, FLAW, MENDED, GOOD)])
    [trace] = await made([CHINESE], oracle, mistakes="oracle", clean=0)
    assert all("JSON 值" in request.messages[0].content for request in oracle.requests)
    assert isinstance(trace, Trace)
    assert "先思考" in trace.messages[0].content


def test_how_much_is_asked() -> None:
    assert requests_per_question(TraceSettings(), dialogue=False) == 0
    assert requests_per_question(TraceSettings(mistakes="own", samples=3), dialogue=False) == 3
    assert requests_per_question(TraceSettings(mistakes="own", samples=3), dialogue=True) == 6
    assert requests_per_question(TraceSettings(mistakes="oracle"), dialogue=True) == 4


def test_only_samples_are_drawn_with_heat_of_our_own() -> None:
    default = Sampling(temperature=0.2, top_p=0.9, max_tokens=512, repetition_penalty=1.1, seed=5)
    assert TraceSettings(mistakes="oracle").sampling(default) == default
    assert TraceSettings(mistakes="own").sampling(default) == Sampling(0.7, 0.95, 512, 1.1, 5)
    assert TraceSettings(mistakes="own", temperature=0, top_p=1, max_tokens=99).sampling(default) == Sampling(
        0.0, 1.0, 99, 1.1, 5
    )
