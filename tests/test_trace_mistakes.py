"""Mistakes that are planted by rule, and the traces that hold them."""

from __future__ import annotations

import json
import re
from collections import Counter
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from reflectune.recipe import TraceSettings
from reflectune.recipe.traces import MistakeKind
from reflectune.records import Failure, Message
from reflectune.tags import parse
from reflectune.traces import Question, Questions, Trace, plant_traces
from reflectune.traces.mistakes import Mistake, planted
from reflectune.traces.solutions import steps_of
from reflectune.traces.trace import Draft, Piece, finished
from reflectune.traces.wording import CORRECTIONS, corrected

KINDS: tuple[MistakeKind, ...] = get_args(MistakeKind)
TEXT = "A tank holds 48 liters. It loses 6 liters each day for 4 days. How many liters are left?"
SOLUTION = "It loses 6*4 = <<6*4=24>>24 liters.\nSo 48-24 = <<48-24=24.0>>24 liters are left."
LEFT = "It loses 6*4 = <<6*4=24>>24 liters.\nSo 60-24 = <<60-24=36>>36 liters are left."


def question(solution: str = LEFT, answer: str = "36", text: str = TEXT.replace("48", "60"), **more: Any) -> Question:
    return Question("row", "gsm8k", text, answer, steps_of(solution), source="data.jsonl:1", **more)


def mistakes(kind: MistakeKind, of: Question, tries: int = 40) -> list[Mistake]:
    """What is planted with different dice."""
    found = [planted(of, [kind], Random(seed)) for seed in range(tries)]
    return [mistake for mistake in found if mistake is not None]


def steps(of: Question) -> list[str]:
    return [step.text for step in of.steps]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_is_one_and_its_reflection_gives_the_right_step(kind: MistakeKind) -> None:
    of = question()
    found = mistakes(kind, of)
    assert len({(mistake.step, mistake.reflection) for mistake in found}) > 5
    for mistake in found:
        assert mistake.kind == kind
        assert mistake.stated != mistake.true
        assert mistake.step not in steps(of)
        assert any(step in mistake.reflection for step in steps(of))
        assert mistake.after - mistake.before == 1


def test_a_wrong_result_stands_alone() -> None:
    of = question("It has 12 parts because 3*4 = <<3*4=12>>12, so 12 it is.", "12")
    for mistake in mistakes("arithmetic", of):
        wrong = mistake.stated.numerator
        assert mistake.step == f"It has {wrong} parts because 3*4 = {wrong}, so {wrong} it is."
        assert mistake.true == 12
        assert "3*4" in mistake.reflection
        assert mistake.reflection.endswith(steps(of)[0])


def test_a_sum_in_other_words_is_given_as_it_is_calculated() -> None:
    of = question("Three each for 4 people makes <<3*4=12>>12 in all.", "12")
    assert all("3 * 4" in mistake.reflection for mistake in mistakes("arithmetic", of))


def test_a_dropped_quantity_is_one_of_the_question() -> None:
    found = mistakes("dropped-condition", question())
    # 60 is given too, but what is left out comes after the first number, and 24 is a result
    assert {mistake.step for mistake in found} == {"It loses 6 liters.", "It loses 4 liters."}
    assert all(re.search(r"\b[46]\b", mistake.reflection) for mistake in found)


def test_a_result_is_no_quantity_of_the_question_even_where_the_numbers_are_equal() -> None:
    of = question("He has 9-3 = <<9-3=6>>6 left.\nSo it is 5*6 = <<5*6=30>>30 in all.", "30", "9, 3 and 6. What is it?")
    said = [*mistakes("dropped-condition", of), *mistakes("misread-question", of, 200)]
    assert said
    assert all("5*6" in mistake.step for mistake in said if mistake.before == 1 and "answer" not in mistake.step)
    assert not [mistake for mistake in said if "5*" in mistake.reflection and "answer" not in mistake.step]


def test_a_part_of_a_fraction_is_no_quantity_of_the_question() -> None:
    of = question("He has 8*2 = <<8*2=16>>16 of them.", "16", "He has 1/2 of 8?")
    assert {mistake.step for mistake in mistakes("dropped-condition", of)} == {"He has 2 of them."}
    assert {mistake.step for mistake in mistakes("misread-question", of)} == {
        f"He has {number}*2 = {2 * number} of them." for number in (6, 7, 9, 10)
    }


def test_a_mistake_that_is_none_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def right_after_all(of: Question, *_: Any) -> Mistake:
        return Mistake("arithmetic", 0, "It loses 24.", "No, 24.", 1, Fraction(24), Fraction(24))

    monkeypatch.setattr("reflectune.traces.planting.planted", right_after_all)
    [failure] = plant_traces(rows(tmp_path, ROW).rows(), TraceSettings(clean=0))
    assert isinstance(failure, Failure)
    assert failure.reason == "right-step"


def test_a_dropped_quantity_of_several() -> None:
    of = question("She has 100 - 50 - 30 = $<<100-50-30=20>>20 of it.", "20", "100, then 50 and 30 less?")
    assert {mistake.step for mistake in mistakes("dropped-condition", of)} == {
        "She has 100 - 50 = $50 of it.",
        "She has 100 - 30 = $70 of it.",
    }


def test_a_quantity_in_words_can_be_dropped() -> None:
    of = question("She sold 48/2 = $<<48/2=24>>24 worth.", "24", "She sold half of her 48?")
    assert {mistake.step for mistake in mistakes("dropped-condition", of)} == {"She sold $48 worth."}


@pytest.mark.parametrize(
    ("solution", "text"),
    [
        ("He has 7*3 = <<7*3=21>>21 of them.", "How many has he?"),
        ("He has (7+1)*3 = <<(7+1)*3=24>>24 of them.", "7, 1 and 3?"),
        ("He has 9/3 = <<9/3=3>>3 of them.", "The share is 9/3?"),
        ("9*3 = <<9*3=27>>27", "9 and 3?"),
        ("He has 5*1 = <<5*1=5>>5 of them, for 5 is 5.", "5 and 1?"),
    ],
)
def test_where_no_quantity_can_be_dropped(solution: str, text: str) -> None:
    assert mistakes("dropped-condition", question(solution, "1", text)) == []


@pytest.mark.parametrize(
    ("solution", "wrong"),
    [
        ("It took 2*3 = <<2*3=6>>6 hours.", {"It took 2*3 = 6 minutes.", "It took 2*3 = 6 days."}),
        ("It cost 2*3 = $<<2*3=6>>6 in all.", {"It cost 2*3 = 6 cents in all."}),
        ("It cost 2*3 = <<2*3=6>>6 dollars.", {"It cost 2*3 = 6 cents."}),
        ("It is a 2*3 = <<2*3=6>>6-inch rule.", {"It is a 2*3 = 6 foot rule."}),
        ("It took 2*3 = <<2*3=6>>6 turns.", set()),
        ("It took 2*3 = <<2*3=6>>6.", set()),
        ("It took 2*0 = <<2*0=0>>0 hours.", set()),
        ("The 6 hours are 2*3 = <<2*3=6>>6 hours.", set()),
    ],
)
def test_a_unit_is_mistaken_for_its_neighbour(solution: str, wrong: set[str]) -> None:
    found = mistakes("wrong-unit", question(solution, "6"))
    assert {mistake.step for mistake in found} == wrong


def test_a_number_of_the_question_is_misread_or_an_early_result_is_the_answer() -> None:
    of = question()
    found = mistakes("misread-question", of, 200)
    early = [mistake for mistake in found if "answer" in mistake.step]
    assert early
    assert len(early) < len(found)
    for mistake in early:
        assert re.search(r"answer(?: is|:) 24\.$", mistake.step)
        assert (mistake.before, mistake.after) == (1, 2)
        assert (mistake.stated, mistake.true) == (24, 36)
        assert "How many liters are left?" in mistake.reflection
        assert mistake.reflection.endswith(steps(of)[1])
    for mistake in (mistake for mistake in found if mistake not in early):
        sum_, result = re.findall(r"([\d*-]+) = (\d+)", mistake.step)[0]
        assert Fraction(eval(sum_)) == int(result) == mistake.stated  # it is the right sum of the wrong numbers
        assert mistake.step.replace(sum_, "").replace(result, "") in {
            step.replace(right, "").replace(value, "")
            for step in steps(of)
            for right, value in re.findall(r"([\d*-]+) = (\d+)", step)
        }


def test_what_is_asked_is_the_last_question_even_with_decimals() -> None:
    of = question(LEFT, text="Is it so? It is 1.50 a liter at 60 and 6 and 4. What is 1.50 times that? Say it.")
    early = [mistake for mistake in mistakes("misread-question", of, 100) if "answer" in mistake.step]
    assert early
    assert all("What is 1.50 times that?" in mistake.reflection for mistake in early)
    assert not any("Is it so?" in mistake.reflection for mistake in early)


def test_an_early_result_that_is_the_answer_is_no_mistake() -> None:
    of = question(SOLUTION, "24")
    assert not [mistake for mistake in mistakes("misread-question", of, 100) if "answer" in mistake.step]


@pytest.mark.parametrize("kind", KINDS)
def test_a_solution_without_a_sum_has_no_place_for_a_mistake(kind: MistakeKind) -> None:
    assert mistakes(kind, question("It is plain to see.", "5")) == []


def test_formulas_are_changed_only_where_nothing_rests_on_the_result() -> None:
    def of(solution: str) -> Question:
        return Question("row", "math", "What is it?", "12", steps_of(solution, sentences=True), source="m:1")

    found = mistakes("arithmetic", of("So it is $3 \\cdot 4 = 12$ of them."))
    assert found
    assert all("$3 \\cdot 4$" in mistake.reflection for mistake in found)
    assert mistakes("arithmetic", of("So $3 \\cdot 4 = 12$, and $x_1 = 7$.")) == []
    assert mistakes("wrong-unit", of("So it is $3 \\cdot 4 = 12 cm$.")) == []


@pytest.mark.parametrize("kind", CORRECTIONS)
def test_every_wording_gives_the_right_step(kind: str) -> None:
    values = {name: f"<{name}>" for name in ("sum", "right", "wrong", "missing", "asked", "step")}
    said = {corrected(kind, Random(seed), **values) for seed in range(200)}
    assert said == {template.format(**values) for template in CORRECTIONS[kind]}
    assert len(said) >= 4
    assert all(text.count("<step>") == 1 for text in said)


def rows(folder: Path, *pairs: tuple[str, str]) -> Questions:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps({"question": text, "answer": answer}) + "\n" for text, answer in pairs))
    return Questions(str(path), "gsm8k")


ROW = (TEXT.replace("48", "60"), f"{LEFT}\n#### 36")


def test_a_trace_holds_its_mistake_and_the_right_steps_around_it(tmp_path: Path) -> None:
    [trace] = plant_traces(rows(tmp_path, ROW).rows(), TraceSettings(clean=0, kinds=("arithmetic",), seed=3))
    assert isinstance(trace, Trace)
    system, user, assistant = trace.messages
    assert [turn.role for turn in trace.messages] == ["system", "user", "assistant"]
    assert all(tag in system.content for tag in ("<thinking>", "<reflection>", "<output>"))
    assert user.content == ROW[0]
    content, facts = assistant.content, trace.trace
    assert (facts.kind, facts.mistake, facts.answer, facts.checked) == ("planted", "arithmetic", "36", "rule")
    assert facts.source == "data.jsonl:1"
    [mistake], [correction] = facts.mistakes, facts.corrections
    parsed = parse(content)
    assert parsed.well_formed
    assert parsed.output == "36"
    assert [block.whole for block in parsed.reflection_blocks] == [correction]
    assert content[slice(*correction)].startswith("<reflection>")
    assert content[slice(*correction)].endswith("</reflection>")
    assert content[: mistake[0]].endswith("\n")
    assert content[mistake[1] : correction[0]] == "\n"
    assert content[slice(*mistake)] not in content[mistake[1] :]


def test_a_clean_trace_has_neither_mistake_nor_reflection(tmp_path: Path) -> None:
    [trace] = plant_traces(rows(tmp_path, ROW).rows(), TraceSettings(clean=1, system=False))
    assert isinstance(trace, Trace)
    assert [turn.role for turn in trace.messages] == ["user", "assistant"]
    assert trace.messages[-1].content == (
        "<thinking>\nIt loses 6*4 = 24 liters.\nSo 60-24 = 36 liters are left.\n</thinking>\n<output>\n36\n</output>"
    )
    assert (trace.trace.kind, trace.trace.mistake) == ("clean", None)
    assert trace.trace.mistakes == trace.trace.corrections == ()


def test_the_system_prompt_is_in_the_language_of_the_question(tmp_path: Path) -> None:
    chinese = ("水箱里有六十升水，每天流失六升，四天后还剩多少升？", ROW[1])
    [trace] = plant_traces(rows(tmp_path, chinese).rows(), TraceSettings())
    [english] = plant_traces(rows(tmp_path, chinese).rows(), TraceSettings(lang="en"))
    assert isinstance(trace, Trace)
    assert isinstance(english, Trace)
    assert "先思考" in trace.messages[0].content
    assert "Think" in english.messages[0].content


def test_a_seed_gives_the_same_traces_and_another_one_others(tmp_path: Path) -> None:
    pairs = [(f"{number} times 3 and 7 more. How many?", _solved(number)) for number in range(10, 60)]
    source = rows(tmp_path, *pairs)
    first, again, other = (
        [made.model_dump() for made in plant_traces(source.rows(), TraceSettings(seed=seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def _solved(number: int) -> str:
    product = 3 * number
    return (
        f"It is {number}*3 = <<{number}*3={product}>>{product} hours.\n"
        f"So there are {product}+7 = <<{product}+7={product + 7}>>{product + 7} hours.\n#### {product + 7}"
    )


def test_the_share_of_clean_traces(tmp_path: Path) -> None:
    source = rows(tmp_path, *[(f"{number} times 3 and 7 more. How many?", _solved(number)) for number in range(400)])
    kinds = Counter(made.trace.kind for made in plant_traces(source.rows()) if isinstance(made, Trace))
    assert 0.22 < kinds["clean"] / kinds.total() < 0.38


@pytest.mark.parametrize(
    ("pair", "clean", "reason", "detail"),
    [
        (("a?", "It is plain.\n#### 5"), 1, "wrong-solution", "does not end in its answer, 5"),
        (("a?", "It is 2*2 = <<2*2=8>>8.\n#### 8"), 1, "wrong-solution", "says 2*2 = 8"),
        (("a?", "It is plainly 5.\n#### 5"), 0, "no-place", "no calculation"),
        (("a?", "####5"), 0, "no-solution", "no worked solution"),
        (("a?", "It is 5 </thinking>.\n#### 5"), 1, "malformed", "the parts make no answer"),
        (("a?", "```\nIt is 5.\n#### 5"), 1, "malformed", "the parts make no answer"),
    ],
)
def test_what_cannot_be_used_is_a_failure(
    tmp_path: Path, pair: tuple[str, str], clean: float, reason: str, detail: str
) -> None:
    [failure] = plant_traces(rows(tmp_path, pair).rows(), TraceSettings(clean=clean))
    assert isinstance(failure, Failure)
    assert (failure.stage, failure.reason) == ("trace", reason)
    assert detail in failure.detail
    assert failure.detail.startswith("data.jsonl:1: ")


def test_equal_rows_give_one_trace(tmp_path: Path) -> None:
    first, again = plant_traces(rows(tmp_path, ROW, ROW).rows())
    assert isinstance(first, Trace)
    assert isinstance(again, Failure)
    assert again.reason == "duplicate"


PIECES = (Piece("It is 4."), Piece("It is 5.", "mistake"), Piece("No, 4.", "correction"))


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        (Draft(question(), PIECES, "36", "planted", "arithmetic", flagged_right=True), "right-step"),
        (Draft(question(), PIECES, "35", "planted", "arithmetic"), "wrong-answer"),
        (Draft(question(), (*PIECES, Piece("<reflection>")), "36", "planted"), "malformed"),
        (Draft(question(), (*PIECES, Piece("<reflection>a</reflection>")), "36", "planted"), "malformed"),
        (Draft(Question("row", "open", "a?"), PIECES, "</output>", "oracle"), "malformed"),
    ],
)
def test_a_draft_that_teaches_something_wrong_is_rejected(draft: Draft, reason: str) -> None:
    failure = finished(draft, "")
    assert isinstance(failure, Failure)
    assert (failure.id, failure.stage, failure.reason) == ("row", "trace", reason)
    assert failure.raw
    assert "It is 5." in failure.raw


def test_spans_are_those_of_the_pieces_and_the_conversation_stays() -> None:
    of = question(system="Be kind.", history=(Message("user", "Hello"), Message("assistant", "Hello!")))
    pieces = (*PIECES, Piece("  So 36.\n"), Piece("It is 7.", "mistake"), Piece("No.", "correction"))
    trace = finished(Draft(of, pieces, " 36 ", "own"), "Use tags.")
    assert isinstance(trace, Trace)
    assert [turn.content for turn in trace.messages[:-1]] == ["Be kind.\n\nUse tags.", "Hello", "Hello!", of.text]
    content = trace.messages[-1].content
    assert [content[slice(*span)] for span in trace.trace.mistakes] == ["It is 5.", "It is 7."]
    assert [content[slice(*span)] for span in trace.trace.corrections] == [
        "<reflection>\nNo, 4.\n</reflection>",
        "<reflection>\nNo.\n</reflection>",
    ]
    assert trace.trace.answer == "36"


MARK = re.compile(r"<<([^<>]*)=([^<>=]*)>>")


def test_all_real_worked_solutions_become_checked_traces(data: Path) -> None:
    """What is planted is checked here from the row itself, not by what planted it."""
    path = data / "gsm8k" / "train_first2000.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    raws = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    made = list(plant_traces(Questions(str(path)).rows()))
    assert len(made) == len(raws) == 2000
    traces = [trace for trace in made if isinstance(trace, Trace)]
    assert len(traces) >= 0.95 * len(raws)
    assert all(failure.reason and failure.detail for failure in made if isinstance(failure, Failure))
    assert {trace.trace.mistake for trace in traces} == {None, *KINDS}
    assert 0.25 < sum(trace.trace.kind == "clean" for trace in traces) / len(traces) < 0.35
    for raw, trace in zip(raws, made, strict=True):
        if isinstance(trace, Trace):
            _check(raw, trace)


def _check(raw: dict[str, str], trace: Trace) -> None:
    solution, _, answer = raw["answer"].rpartition("####")
    marked = [line.strip() for line in solution.split("\n") if line.strip()]
    right = [MARK.sub("", line) for line in marked]
    content, facts = trace.messages[-1].content, trace.trace
    parsed = parse(content)
    assert parsed.well_formed
    assert parsed.output == facts.answer == answer.strip()
    assert [block.whole for block in parsed.reflection_blocks] == list(facts.corrections)
    if facts.kind == "clean":
        assert parsed.thinking == "\n".join(right)
        return
    [mistake], [correction] = facts.mistakes, facts.corrections
    flagged, [reflection] = content[slice(*mistake)], parsed.reflections
    assert content[mistake[1] : correction[0]] == "\n"
    assert flagged not in right
    corrected_step = next(step for step in sorted(right, key=len, reverse=True) if reflection.endswith(step))
    place = max(index for index, step in enumerate(right) if step == corrected_step)
    before = content[len("<thinking>\n") : mistake[0]].splitlines()
    after = content[correction[1] :].partition("</thinking>")[0].split("\n")[1:-1]
    assert [*before, corrected_step, *after] == right or right.count(corrected_step) > 1
    if re.search(r"answer(?: is|:) [\d.,]+\.$", flagged):
        assert Fraction(flagged.split()[-1].rstrip(".").replace(",", "")) != Fraction(facts.answer.replace(",", ""))
        return
    wrong_numbers, right_numbers = (Counter(re.findall(r"[\d.,]*\d", step)) for step in (flagged, corrected_step))
    if facts.mistake == "wrong-unit":
        assert wrong_numbers == right_numbers
        units = (Counter(re.findall(r"[a-z]+|[$]", step)) for step in (flagged, corrected_step))
        assert next(units) != next(units)
        return
    sums = MARK.findall(marked[place])
    if sums:  # the value that the row's own mark gives is stated less often than it should be
        value = Fraction(eval(sums[-1][0])).limit_denominator(10**6)
        stated = [number for number in right_numbers if Fraction(number.replace(",", "")) == value]
        assert stated
        assert sum(wrong_numbers[number] for number in stated) < sum(right_numbers[number] for number in stated)
    assert wrong_numbers != right_numbers


def test_real_problems_in_latex_become_traces_or_failures(data: Path) -> None:
    path = data / "math" / "math500_test.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    made = list(plant_traces(Questions(str(path)).rows(), TraceSettings(clean=1)))
    assert len(made) == 500
    assert sum(isinstance(trace, Trace) for trace in made) >= 495


@pytest.mark.parametrize(("name", "count"), [("arc/ARC-Challenge-Test.jsonl", 1172), ("mmlu", 2000)])
def test_real_choices_are_read(data: Path, name: str, count: int) -> None:
    path = data / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    files = sorted(path.rglob("*.csv")) if path.is_dir() else [path]
    found = [row for file in files for row in Questions(str(file)).rows()]
    assert len(found) >= count
    assert all(isinstance(row, Question) and row.form == "choice" and row.answer in "ABCDE" for row in found)
