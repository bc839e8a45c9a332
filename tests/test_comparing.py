"""The table of arms, as people see it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reflectune.cli import comparing
from reflectune.evaluate.benchmarks.comparison import compare
from reflectune.evaluate.benchmarks.items import Item
from reflectune.evaluate.scores import Arm


def item(number: int, arm: Arm, *, right: bool, draft: bool | None = None) -> Item:
    marks = {"accuracy": (right,)}
    asked = arm != "plain"
    return Item(
        benchmark="gsm8k", id=str(number), model="[red]m", arm=arm, marks=marks, tokens=20, draft=draft,
        without_output=False if asked else None, reflections=int(asked),
    )  # fmt: skip


def test_arms_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(comparing, "err", Console(file=screen, width=200, markup=False))
    items = [item(number, "plain", right=number < 2) for number in range(4)]
    items += [item(number, "prompt-only", right=number < 3, draft=number > 0) for number in range(4)]
    comparisons = compare(items)
    comparing.show_comparisons(comparisons)
    rows = {line.split("│")[1].strip(): line for line in screen.getvalue().splitlines() if line.startswith("│")}
    assert screen.getvalue().count("[red]m") == 2
    assert "50.0 (" in rows["accuracy, %"]
    assert "75.0 (" in rows["accuracy, %"]
    assert "+25.0 (" in rows["against plain"]
    assert "1.000, 1, 0" in rows["p, gained, lost"]
    assert "1 of 4" in rows["wrong, then right"]
    assert "without a reply" not in rows  # nothing to tell
    assert comparing.plain(comparisons)[0]["paired"][0]["gained"] == 1
