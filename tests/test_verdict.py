"""What a verdict says: the rules of the conclusion, of the caveats, and of the words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reflectune.prompts import PLACEHOLDER
from reflectune.verdict.caveats import RULES, caveats_of
from reflectune.verdict.conclusion import concluded, said_of, standing, standing_level
from reflectune.verdict.paragraph import paragraph
from reflectune.verdict.records import (
    Comparison,
    Conclusion,
    Data,
    Figures,
    Measured,
    Rate,
    Repeat,
    Student,
    Verdict,
)
from reflectune.verdict.sections import caveat_text
from reflectune.verdict.wording import LANGUAGES, short_name, words

BETTER, WORSE, OPEN, LACKING = (55.0, 65.0), (35.0, 45.0), (45.0, 56.0), None
Ends = tuple[float, float] | None


def rate(ends: Ends) -> Rate | None:
    return Rate(value=sum(ends) / 2, low=ends[0], high=ends[1]) if ends else None


def figures(raw: Ends = BETTER, level: Ends = BETTER, items: int = 200, **more: Any) -> Figures:
    won = rate(raw) or Rate(value=50.0)
    at_equal = rate(level)
    values = {
        "dataset": "all",
        "items": items,
        "verdicts": items,
        "failed": 0,
        "wins": items // 2,
        "ties": 0,
        "losses": items - items // 2,
        "winning_score": 1.0,
        "win_rate": won,
        "level": Measured(by="alpaca-eval" if at_equal else None, rate=at_equal),
        "flipped": 10.0,
        "first_preferred": 50.0,
        "longer_wins": 55.0,
        "sign_test": 0.5,
        "lengths": (60.0, 50.0),
        "standing": standing(won, items),
        "standing_level": standing(at_equal, items) if at_equal else None,
        "could_show": 57.0,
    }
    return Figures.model_validate(values | more)


def comparison(other: str = "original", pooled: Figures | None = None, **more: Any) -> Comparison:
    found = pooled or figures()
    values = {"ours": "recycled", "other": other, "judge": "judge-7b", "seeds": (0, 1), "by_seed": {0: 60.0, 1: 61.0}}
    return Comparison.model_validate(values | {"sets": (found,), "pooled": found} | more)


def told(*comparisons: Comparison, **more: Any) -> Verdict:
    """A verdict in which no rule finds anything, but for what is given."""
    baselines = [comparison(other) for other in ("random", "longest", "same-tokens")]
    values = {
        "name": "small",
        "conclusion": concluded(comparisons or (comparison(), *baselines)),
        "comparisons": comparisons or (comparison(), *baselines),
        "students": (
            Student(name="recycled-0", arm="recycled", rows=150),
            Student(name="original-0", arm="original", rows=200),
        ),
        "benchmarks": (),
        "data": Data(rows=200, rewritten=199, failed=1, kept=150, dropped=49, against=True, contaminated=0),
        "stages": (),
        "repeat": Repeat(student="student-1b", oracle="oracle-70b", judge="judge-7b", seeds=(0, 1)),
    }
    return Verdict.model_validate(values | more)


@pytest.mark.parametrize(
    ("ends", "items", "said"),
    [
        (BETTER, 100, "better"),
        (WORSE, 100, "worse"),
        (OPEN, 100, "not-shown"),
        ((50.0, 60.0), 100, "not-shown"),
        ((40.0, 50.0), 100, "not-shown"),
        ((50.0001, 60.0), 100, "better"),
        (BETTER, 10, "better"),
        (BETTER, 9, "too-few"),
        (LACKING, 100, "not-shown"),
    ],
)
def test_an_interval_that_includes_half_shows_nothing(ends: Ends, items: int, said: str) -> None:
    assert standing(rate(ends) or Rate(value=50.0), items) == said


@pytest.mark.parametrize(
    ("raw", "level", "said"),
    [
        (BETTER, BETTER, "better"),
        (BETTER, OPEN, "length"),
        (BETTER, WORSE, "length"),
        (BETTER, LACKING, "better-length-unknown"),
        (WORSE, WORSE, "worse"),
        (WORSE, OPEN, "length-worse"),
        (WORSE, BETTER, "length-worse"),
        (WORSE, LACKING, "worse-length-unknown"),
        (OPEN, OPEN, "no-difference-shown"),
        (OPEN, BETTER, "no-difference-shown"),
        (OPEN, WORSE, "no-difference-shown"),
        (OPEN, LACKING, "no-difference-shown"),
    ],
)
def test_what_a_comparison_says_raw_and_at_equal_length(raw: Ends, level: Ends, said: str) -> None:
    assert said_of(figures(raw, level)) == said
    assert concluded([comparison(pooled=figures(raw, level))]).kind == said


@pytest.mark.parametrize(
    ("main", "baselines", "kind", "unbeaten"),
    [
        (BETTER, {"random": BETTER, "longest": BETTER}, "better", ()),
        (BETTER, {"random": OPEN, "longest": BETTER}, "better-than-original-only", ("random",)),
        (BETTER, {"random": OPEN, "same-tokens": WORSE}, "better-than-original-only", ("random", "same-tokens")),
        (OPEN, {"random": BETTER}, "no-difference-shown", ()),
        (WORSE, {"random": OPEN}, "worse", ("random",)),
    ],
)
def test_a_baseline_that_is_not_beaten_is_named(
    main: Ends, baselines: dict[str, Ends], kind: str, unbeaten: tuple[str, ...]
) -> None:
    others = [comparison(name, figures(ends, ends)) for name, ends in baselines.items()]
    found = concluded([comparison(pooled=figures(main, main)), *others])
    assert (found.kind, found.unbeaten) == (kind, unbeaten)
    assert set(found.beaten) | set(found.unbeaten) == set(baselines)


@pytest.mark.parametrize(
    ("model", "matched", "said"),
    [
        (BETTER, BETTER, "better"),
        (WORSE, WORSE, "worse"),
        (BETTER, OPEN, "not-shown"),
        (OPEN, BETTER, "not-shown"),
        (BETTER, WORSE, "not-shown"),
        (BETTER, LACKING, "better"),
        (LACKING, LACKING, None),
    ],
)
def test_at_equal_length_both_ways_must_say_so(model: Ends, matched: Ends, said: str | None) -> None:
    assert standing_level(Measured(by="alpaca-eval", rate=rate(model), matched=rate(matched)), 100) == said


def test_too_few_prompts_and_nothing_at_all() -> None:
    assert concluded([comparison(pooled=figures(items=9))]).kind == "too-few"
    assert concluded([]) == Conclusion(kind="nothing")
    assert "Nothing is compared yet" in paragraph(told(comparisons=(), conclusion=concluded([])), words("en"))


def test_another_judge_changes_no_conclusion() -> None:
    person = comparison("random", figures(WORSE, WORSE), judge="human:ada")
    assert concluded([comparison(), person]) == Conclusion(kind="better", longer=True)


CONCLUSIONS = [
    (figures(BETTER, BETTER), "better: the interval lies above 50%, also at equal length."),
    (figures(BETTER, OPEN), "longer answers, not shown to be better"),
    (figures(BETTER, OPEN, lengths=(40.0, 50.0)), "better, but at equal length no advantage is shown"),
    (figures(BETTER, None), "whether by more than the length of its answers cannot be said"),
    (figures(WORSE, WORSE), "worse: the interval lies below 50%"),
    (figures(WORSE, OPEN), "worse, but at equal length no disadvantage is shown"),
    (figures(OPEN, OPEN), "no difference shown: 50% cannot be ruled out."),
    (figures(OPEN, BETTER), "no difference shown: 50% cannot be ruled out, though at equal length it lies above."),
    (figures(OPEN, WORSE), "though at equal length it lies below."),
    (figures(BETTER, BETTER, items=6), "too few prompts to say anything: there are 6, and it takes 10."),
]


@pytest.mark.parametrize(("pooled", "said"), CONCLUSIONS, ids=range(len(CONCLUSIONS)))
def test_the_paragraph_concludes(pooled: Figures, said: str) -> None:
    text = paragraph(told(comparison(pooled=pooled)), words("en"))
    assert f"Conclusion: {said}" in text or said in text.partition("Conclusion: ")[2]
    assert "no difference" not in text.replace("no difference shown", "")
    assert "{{" not in paragraph(told(comparison(pooled=pooled)), words("zh"))


def test_the_paragraph_tells_what_was_compared() -> None:
    text = paragraph(told(), words("en"))
    assert text.startswith(
        "student-1b was trained (2 seeds) on 150 rows recycled by oracle-70b, and with the same settings on 200"
        " original rows. judge-7b compared their answers to 200 prompts (all), each pair in both orders."
        " The student of the recycled data wins 60.0% (95%: 55.0 to 65.0) against the student of the original data"
    )
    assert "At equal length it wins 60.0% (95%: 55.0 to 65.0)" in text
    assert "It wins 60.0% (95%: 55.0 to 65.0) against the student of a random subset (better)" in text


def test_it_says_what_so_many_prompts_could_have_shown() -> None:
    open_ = figures(OPEN, OPEN)
    for value, said in ((57.2, "a win rate of 57% or more"), (104.0, "hardly show even"), (None, "preferred neither")):
        pooled = open_.model_copy(update={"could_show": value})
        assert said in paragraph(told(comparison(pooled=pooled)), words("en"))
    assert "80%" not in paragraph(told(), words("en"))


def test_of_an_unbeaten_baseline_it_says_simply_what_it_is() -> None:
    text = paragraph(told(comparison(), comparison("random", figures(OPEN, OPEN))), words("en"))
    assert "not shown better than simply taking as many original rows at random." in text


FOUND: list[tuple[str, dict[str, Any]]] = [
    ("unfinished", {"missing": ("judge recycled against random",)}),
    ("unnamed", {"unnamed": ("first/by-hand",)}),
    ("judge-is-oracle", {"repeat": Repeat(oracle="gpt-4o@http://x/v1", judge="gpt-4o@http://x/v1", seeds=(0, 1))}),
    ("judge-is-student", {"repeat": Repeat(student="owner/qwen-1b", judge="hf:owner/qwen-1b", seeds=(0, 1))}),
    ("weak-judge", {"repeat": Repeat(judge="local:SmolLM2-135M-Instruct.Q8_0.gguf:84b81b63", seeds=(0, 1))}),
    ("always-ties", {"comparisons": (comparison(pooled=figures(ties=200)),)}),
    ("flips", {"comparisons": (comparison(pooled=figures(flipped=30.5)),)}),
    ("leans", {"comparisons": (comparison(pooled=figures(first_preferred=20.0)),)}),
    ("longer-wins", {"comparisons": (comparison(pooled=figures(longer_wins=71.0)),)}),
    ("few-items", {"comparisons": (comparison(pooled=figures(items=99)),)}),
    ("one-seed", {"repeat": Repeat(seeds=(0,))}),
    ("seeds-disagree", {"comparisons": (comparison(by_seed={0: 45.0, 1: 60.0}),)}),
    ("no-verdict", {"comparisons": (comparison(pooled=figures(failed=3)),)}),
    ("no-answer", {"students": (Student(name="recycled-0", arm="recycled", unanswered=2),)}),
    ("cut-off", {"students": (Student(name="recycled-0", arm="recycled", answers=10, cut_off=3),)}),
    ("no-baseline", {"comparisons": (comparison(), comparison("random"))}),
    ("no-level", {"comparisons": (comparison(pooled=figures(level=None)),)}),
    (
        "ways-disagree",
        {
            "comparisons": (
                comparison(
                    pooled=figures().model_copy(
                        update={"level": Measured(by="alpaca-eval", rate=rate(BETTER), matched=rate(OPEN))}
                    )
                ),
            )
        },
    ),
    (
        "extrapolated",
        {
            "comparisons": (
                comparison(
                    pooled=figures().model_copy(
                        update={"level": Measured(by="alpaca-eval", rate=rate(BETTER), extrapolated=98.0)}
                    )
                ),
            )
        },
    ),
    (
        "longer-data",
        {
            "students": (
                Student(name="recycled-0", arm="recycled", mean_response=130.0),
                Student(name="original-0", arm="original", mean_response=100.0),
            )
        },
    ),
    ("dropped", {"data": Data(kept=10, dropped=11, against=True, contaminated=0)}),
    ("not-rewritten", {"data": Data(rows=100, failed=6, against=True, contaminated=0)}),
    ("not-looked-for", {"data": Data()}),
    ("contaminated", {"data": Data(against=True, contaminated=1)}),
    ("short-training", {"students": (Student(name="recycled-0", arm="recycled", steps=49),)}),
    (
        "worse-held-out",
        {"students": (Student(name="recycled-0", arm="recycled", held_out_before=1.0, held_out_after=1.1),)},
    ),
    ("judges-differ", {"comparisons": (comparison(), comparison(judge="human:ada"))}),
]


def test_every_rule_has_a_case() -> None:
    assert sorted(RULES) == sorted(name for name, _ in FOUND)


def test_where_all_is_well_no_rule_finds_anything() -> None:
    assert caveats_of(told()) == ()


@pytest.mark.parametrize(("name", "given"), FOUND, ids=[name for name, _ in FOUND])
def test_what_a_rule_finds_is_told(name: str, given: dict[str, Any]) -> None:
    caveats = {caveat.name: caveat.values for caveat in caveats_of(told(**given))}
    assert name in caveats
    for language in LANGUAGES:
        text = caveat_text(name, caveats[name], words(language))
        assert text
        assert "{{" not in text


def test_the_embedded_model_is_the_same_by_every_name() -> None:
    same = Repeat(oracle="local", judge="local:SmolLM2-135M-Instruct.Q8_0.gguf:84b81b63", seeds=(0, 1))
    assert "judge-is-oracle" in {caveat.name for caveat in caveats_of(told(repeat=same))}


@pytest.mark.parametrize(
    ("named", "short"),
    [
        ("gpt-4o@https://api.example.com/v1", "gpt-4o"),
        ("local:SmolLM2-135M-Instruct.Q8_0.gguf:84b81b63 (dialogue c91cfb92)", "SmolLM2-135M-Instruct.Q8_0"),
        ("local", "SmolLM2-135M-Instruct"),
        ("hf:owner/model-7b", "model-7b"),
        ("human:ada", "human:ada"),
        (None, ""),
    ],
)
def test_a_models_bare_name(named: str | None, short: str) -> None:
    assert short_name(named) == short


def test_both_languages_say_the_same_things() -> None:
    english, chinese = words("en").table, words("zh").table
    assert list(english) == list(chinese)
    for name, text in english.items():
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(chinese[name])), name


def test_what_is_said_of_half_is_never_that_there_is_no_difference() -> None:
    for text in words("en").table.values():
        assert not re.search(r"no difference(?! (is )?shown)", text), text
