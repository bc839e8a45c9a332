"""The curves of a training: kept line by line, read again, drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflectune.errors import RunError
from reflectune.training import curves
from reflectune.training.curves import Point


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept = tmp_path / "curves.jsonl"
    curves.append(kept, Point(step=0, held_out_loss=2.5))
    for step in range(1, 5):
        curves.append(kept, Point(step=step, epoch=step / 4, loss=2 / step, tokens=100 * step))
    return kept


def test_points_come_back_in_their_order(path: Path) -> None:
    points = curves.read(path)
    assert [point.step for point in points] == [0, 1, 2, 3, 4]
    assert points[0] == Point(step=0, held_out_loss=2.5)
    assert points[2] == Point(step=2, epoch=0.5, loss=1.0, tokens=200)
    assert path.read_text().splitlines()[0] == '{"step":0,"held_out_loss":2.5}'


def test_no_file_holds_no_points(tmp_path: Path) -> None:
    assert curves.read(tmp_path / "nowhere.jsonl") == []
    curves.cut(tmp_path / "nowhere.jsonl", 3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("torn", ['{"step":5,"lo', '{"step":5}', "\udcff"])
def test_a_torn_last_line_is_no_point(path: Path, torn: str) -> None:
    with path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(torn)
    assert [point.step for point in curves.read(path)] == [0, 1, 2, 3, 4]
    curves.cut(path, 9)
    curves.append(path, Point(step=5))
    assert [point.step for point in curves.read(path)] == [0, 1, 2, 3, 4, 5]


def test_a_broken_line_is_named(path: Path) -> None:
    with path.open("a") as file:
        file.write("{}\n")
    with pytest.raises(RunError, match=r"curves\.jsonl, line 6: this is no point"):
        curves.read(path)


@pytest.mark.parametrize(("step", "kept"), [(-1, []), (0, [0]), (2, [0, 1, 2]), (9, [0, 1, 2, 3, 4])])
def test_points_after_a_step_are_forgotten(path: Path, step: int, kept: list[int]) -> None:
    curves.cut(path, step)
    assert [point.step for point in curves.read(path)] == kept
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_no_number_is_left_out() -> None:
    assert Point(step=1, loss=float("nan"), grad_norm=float("inf")) == Point(step=1)


def test_a_figure_fits_its_width_and_says_both_losses(path: Path) -> None:
    for width in (80, 40):
        titles, figure = curves.drawn(curves.read(path), width).split("\n2.50 ", 1)
        lines = figure.splitlines()
        assert max(map(len, [*titles.splitlines(), *lines[1:]])) <= width
        assert " ".join(titles.split()) == "─ loss 2.000 → 0.500 ● held-out loss 2.500 → 2.500"
        assert lines[0].startswith("┤●")
        assert lines[7].startswith("0.50 ┤")
        assert lines[-1].split() == ["step", "0", "4"]


def test_a_falling_loss_falls_in_the_figure() -> None:
    points = [Point(step=step, loss=10 - step / 100) for step in range(1, 501)]
    rows = curves.drawn(points, 40).splitlines()[1:9]
    begins = [min(place for place, sign in enumerate(row[7:]) if sign != " ") for row in rows]
    assert begins == sorted(begins)
    assert begins[0] < 3
    assert begins[-1] > 20


def test_little_can_be_drawn_too() -> None:
    assert curves.drawn([]) == ""
    assert curves.drawn([Point(step=1, learning_rate=0.1)]) == ""
    assert "loss 1.500 → 1.500" in curves.drawn([Point(step=3, loss=1.5)])
    assert "● held-out loss 1.500" in curves.drawn([Point(step=3, held_out_loss=1.5)])
