"""From verdicts to figures: published counts, prompts that are counted once, length, and what cannot be said."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from journey import JUDGE, balanced, judged, values, verdict
from reflectune.evaluate.alpaca_eval import length_control
from reflectune.evaluate.judge.figures import tally
from reflectune.evaluate.judge.kept import VERDICTS
from reflectune.evaluate.judge.reviews import read_reviews
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.formats import write_rows
from reflectune.verdict.comparisons import FEWEST_FOR_MODEL, Said, compared, figures_of
from reflectune.verdict.conclusion import concluded, said_of
from reflectune.verdict.folder import read_folder
from reflectune.verdict.records import Comparison, Figures

PUBLISHED = {"vicuna": (44, 15, 21, 1.2875), "koala": (85, 36, 59, 1.1444), "lima": (165, 59, 76, 1.2967)}
FEW = FEWEST_FOR_MODEL - 10


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the resamples of the model of length, which take nearly all of the time."""
    monkeypatch.setattr(length_control, "RESAMPLES", length_control.RESAMPLES // 4)


def of(verdicts: list[Verdict], *, seeds: int = 1) -> Figures:
    return figures_of("set", [Said(("set", one.id), seed, one) for seed in range(seeds) for one in verdicts])


def published(data: Path, journey: Path, judge: str, sets: tuple[str, ...]) -> Comparison:
    """The published reviews as a journey's verdicts."""
    folder = data / "pairwise" / "cherry_logs"
    if not folder.is_dir():
        pytest.skip(f"no published reviews: {folder} is not there")
    for name in sets:
        reviews = read_reviews(folder / f"{name}_wrap_reviews_{judge}.json")
        run = judged(journey, "original", (), dataset=name)
        write_rows(run / VERDICTS, (one.model_dump(mode="json") for one in reviews.verdicts))
    return compared(read_folder(journey).judgings)[0]


def test_by_gpt4_fewer_data_are_better_also_at_equal_length(data: Path, tmp_path: Path) -> None:
    found = published(data, tmp_path, "gpt4", tuple(PUBLISHED))
    for one in found.sets:
        assert (one.wins, one.ties, one.losses, round(one.winning_score, 4)) == PUBLISHED[one.dataset]
    pooled = found.pooled
    assert (pooled.items, pooled.failed, pooled.wins, pooled.losses) == (560, 0, 294, 156)
    assert pooled.win_rate.low is not None
    assert 50 < pooled.win_rate.low < 62.3 < (pooled.win_rate.high or 0)
    assert pooled.level.by == "alpaca-eval"
    assert pooled.level.rate is not None
    assert pooled.level.rate.value < pooled.win_rate.value  # its answers are the longer ones
    assert concluded([found]).kind == "better"


def test_by_gpt35_on_vicuna_alone_more_is_not_shown_than_longer_answers(data: Path, tmp_path: Path) -> None:
    found = published(data, tmp_path, "gpt3.5", ("vicuna",))
    raw, level = found.pooled.win_rate, found.pooled.level.rate
    assert level is not None
    assert (found.pooled.wins, found.pooled.ties, found.pooled.losses, raw.value) == (16, 58, 6, 56.25)
    assert (level.low or 0) < 50 < (level.high or 0)
    assert (found.pooled.level.by, level) == ("matched", found.pooled.level.matched)  # the penalty left nothing
    assert (found.pooled.flipped or 0) > 65
    assert said_of(found.pooled) == ("length" if (raw.low or 0) > 50 else "no-difference-shown")


def test_one_seed_is_what_the_judge_itself_prints() -> None:
    verdicts = balanced(values(12, 6, 10))
    found, alone = of(verdicts), tally(verdicts)
    assert alone is not None
    assert alone.win_rate.interval is not None
    assert found.win_rate.value == pytest.approx(alone.win_rate.mean)
    assert found.win_rate.low == pytest.approx(alone.win_rate.interval.low)
    assert found.win_rate.high == pytest.approx(alone.win_rate.interval.high)
    assert found.sign_test == alone.sign_test
    assert found.flipped == alone.flipped.percent


def test_the_same_verdicts_under_three_seeds_are_no_more_prompts() -> None:
    verdicts = balanced(values(40, 20, 30))
    once, thrice = of(verdicts), of(verdicts, seeds=3)
    assert (thrice.items, thrice.verdicts, thrice.wins) == (90, 270, 120)
    assert thrice.win_rate == once.win_rate
    assert thrice.sign_test == once.sign_test
    assert thrice.could_show == once.could_show
    assert once.level.rate is not None
    assert thrice.level.rate is not None
    width, narrower = ((one.high or 0) - (one.low or 0) for one in (once.level.rate, thrice.level.rate))
    assert narrower > 0.8 * width  # three times as many prompts would make it 0.58 of it


def test_many_prompts_of_the_same_spread_make_the_interval_narrower() -> None:
    one_side = [verdict(str(place), value) for place, value in enumerate(values(48, 24, 48))]
    few, many = of(balanced(values(12, 6, 12))), of([one.model_copy(update={"length_a": 50}) for one in one_side])
    assert (few.win_rate.high or 0) - (few.win_rate.low or 0) > 1.8 * (
        (many.win_rate.high or 0) - (many.win_rate.low or 0)
    )
    assert (few.could_show or 0) > (many.could_show or 0) > 50


def test_a_judge_of_length_alone_is_found_out() -> None:
    lengths = random.Random(3)
    verdicts = []
    for place in range(300):
        longer = lengths.random() < 0.8
        verdicts.append(verdict(str(place), 1 if longer else -1, (50 + (30 if longer else -30), 50)))
    found = of(verdicts)
    assert found.standing == "better"
    assert found.standing_level != "better"
    assert said_of(found) == "length"
    assert found.level.matched is not None
    assert found.level.matched.value == 50.0
    assert found.longer_wins == 100.0


def test_length_is_controlled_by_what_there_are_prompts_for() -> None:
    enough = of(balanced(values(32, 2, FEWEST_FOR_MODEL - 34)))
    assert enough.level.by == "alpaca-eval"
    fewer = of(balanced(values(12, 4, 8)))
    assert fewer.level.by == "matched"
    assert fewer.level.rate == fewer.level.matched
    one_side = of([verdict(str(place), value, (60, 50)) for place, value in enumerate(values(12, 4, 8))])
    assert (one_side.level.by, one_side.level.rate, one_side.standing_level) == (None, None, None)


def test_answers_that_are_nearly_always_longer_are_extrapolated() -> None:
    verdicts = [verdict(str(place), value, (90 - place % 7, 50)) for place, value in enumerate(values(54, 2, 4))]
    assert of(verdicts).level.extrapolated == 100.0


@pytest.mark.parametrize(("value", "low", "high", "standing"), [(1, 69.15, 100.0, "better"), (-1, 0.0, 30.85, "worse")])
def test_where_all_is_won_or_lost_the_interval_is_exact(value: int, low: float, high: float, standing: str) -> None:
    found = of([verdict(str(place), value) for place in range(10)])
    assert found.win_rate.low == pytest.approx(low, abs=0.01)
    assert found.win_rate.high == pytest.approx(high, abs=0.01)
    assert found.standing == standing


def test_of_ties_alone_nothing_can_be_said() -> None:
    found = of([verdict(str(place), 0, flips=True) for place in range(30)])
    assert (found.win_rate.value, found.win_rate.low, found.could_show) == (50.0, None, None)
    assert (found.standing, found.flipped, found.sign_test) == ("not-shown", 100.0, 1.0)


def test_comparisons_are_by_arm_and_judge_and_tell_each_seed(tmp_path: Path) -> None:
    judged(tmp_path, "random", balanced(values(FEW // 2, 0, FEW // 2)))
    judged(tmp_path, "same-tokens", balanced(values(FEW // 2, 0, FEW // 2)))
    judged(tmp_path, "original", balanced(values(24, 0, 6)), seed=0)
    run = judged(tmp_path, "original", balanced(values(FEW // 2, 0, FEW // 2)), seed=7)
    judged(tmp_path, "original", [verdict("x", 1, judge="other")], dataset="second")
    (run / "judge_failures.jsonl").write_text('{"id":"9","stage":"judge","reason":"unparsed","detail":"","raw":null}\n')
    found = compared(read_folder(tmp_path).judgings)
    assert [(one.other, one.judge) for one in found] == [
        ("original", JUDGE),
        ("original", "other"),
        ("random", JUDGE),
        ("same-tokens", JUDGE),
    ]
    main = found[0]
    assert (main.seeds, main.by_seed) == ((0, 7), {0: 80.0, 7: 50.0})
    assert (main.pooled.items, main.pooled.verdicts, main.pooled.failed) == (FEW, 2 * FEW, 1)


def test_the_same_prompt_of_two_test_sets_is_two_prompts(tmp_path: Path) -> None:
    for dataset in ("first", "second"):
        judged(tmp_path, "original", balanced(values(10, 0, 10)), dataset=dataset)
    found = compared(read_folder(tmp_path).judgings)[0]
    assert [one.dataset for one in found.sets] == ["first", "second"]
    assert (found.pooled.dataset, found.pooled.items) == ("all", 40)


def test_a_folder_whose_name_says_nothing_is_named_and_not_counted(tmp_path: Path) -> None:
    run = judged(tmp_path, "original", balanced(values(10, 0, 10)))
    shutil.copytree(run, run.parent / "by-hand")
    folder = read_folder(tmp_path)
    assert folder.unnamed == ("first/by-hand",)
    assert len(folder.judgings) == 1
