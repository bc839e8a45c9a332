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
    shown = screen.getvalue()
    assert "gsm8k, accuracy: 4 questions" in shown
    plain, prompted = (line for line in shown.splitlines() if "[red]m" in line)
    assert "50.0 (" in plain
    assert all(text in prompted for text in ("75.0 (", "+25.0 (", "1.000", "0%", "1 of 4"))
    assert comparing.plain(comparisons)[0]["paired"][0]["gained"] == 1
