"""Arms side by side: what each came to, and each against the plain one."""

from __future__ import annotations

from typing import Any

import pytest

from reflectune.evaluate.benchmarks.comparison import compare
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.intervals import ratio_difference
from reflectune.evaluate.scores import Arm
from reflectune.records import Failure


def item(number: int, arm: Arm, *marks: bool, **more: Any) -> Item:
    return Item(benchmark="gsm8k", id=str(number), model="m", arm=arm, marks={"accuracy": marks}, tokens=10, **more)


def test_each_arm_has_its_share_its_cost_and_its_flips() -> None:
    items = [
        item(1, "reflective", True, draft=False, reflections=1, without_output=False),
        item(2, "reflective", False, draft=True, reflections=2, without_output=False),
        item(3, "reflective", True, draft=True, without_output=False),
        item(4, "reflective", False, without_output=True, finish_reason="length"),
        Item(
            benchmark="gsm8k", id="5", model="m", arm="reflective",
            failure=Failure(id="5", stage="generate", reason="timeout"),
        ),
    ]  # fmt: skip
    [found] = compare(items)
    [arm] = found.arms
    assert (arm.items, arm.failed, arm.value) == (4, 1, 50.0)
    assert (arm.drafts, arm.mended, arm.spoiled) == (3, 1, 1)
    assert (arm.without_output, arm.reflections, arm.tokens, arm.cut_off) == (25.0, 0.75, 10.0, 25.0)
    assert arm.interval is not None
    assert arm.interval.low < 50 < arm.interval.high
    assert found.paired == ()  # there is no plain arm


def test_arms_are_compared_on_the_questions_that_both_answered() -> None:
    plain = [item(number, "plain", number < 2) for number in range(12)]
    prompted = [item(number, "prompt-only", number != 0) for number in range(2, 10)] + [item(0, "prompt-only", False)]
    [found] = compare([*prompted, *plain])
    assert [arm.arm for arm in found.arms] == ["plain", "prompt-only"]
    [paired] = found.paired
    assert (paired.pairs, paired.gained, paired.lost) == (9, 8, 1)
    assert paired.difference == pytest.approx(100 * 7 / 9)
    assert paired.p_value == pytest.approx(2 * (1 + 9) / 2**9)  # exact: at most one of nine
    assert paired.interval is not None
    assert paired.interval.low < paired.difference < paired.interval.high


def test_arms_that_agree_everywhere_show_no_difference() -> None:
    items = [item(number, arm, number % 2 == 0) for number in range(6) for arm in ("plain", "reflective")]
    [paired] = compare(items)[0].paired
    assert (paired.difference, paired.gained, paired.lost, paired.p_value) == (0.0, 0, 0, 1.0)


def test_a_reply_that_answers_several_things_counts_each_of_them() -> None:
    items = [item(1, "plain", True, True, False), item(2, "plain", False)]
    [arm] = compare(items)[0].arms
    assert arm.value == 50.0  # two of four
    told = [item(1, "prompt-only", True, True, True), item(2, "prompt-only", False)]
    [paired] = compare([*items, *told])[0].paired
    assert paired.difference == 25.0  # three of four, and not the mean of a third and of nothing
    assert (paired.gained, paired.lost) == (1, 0)


def test_a_difference_of_ratios_draws_rows_and_not_marks() -> None:
    found = ratio_difference([(2, 3), (0, 1)], [(3, 3), (0, 1)])
    assert found is not None
    assert found.mean == 0.25
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0, 1 / 3))  # both rows may be the first
    assert ratio_difference([], []) is None


def test_questions_without_a_common_answer_are_not_compared() -> None:
    [found] = compare([item(1, "plain", True), item(2, "prompt-only", True)])
    assert found.paired == ()
