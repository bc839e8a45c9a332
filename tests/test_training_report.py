"""A training on one page, and what there is to say of it."""

from __future__ import annotations

import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reflectune.recipe.train import TrainSettings
from reflectune.training.curves import Point
from reflectune.training.facts import Facts, Figures, duration
from reflectune.training.report import write_report

EVIL = "<script>alert('x')</script>"


def points(steps: int) -> list[Point]:
    """The curves of a run whose loss falls from 2 to 1, with a measurement every ten steps."""
    made = [Point(step=0, held_out_loss=2.5)]
    for step in range(1, steps + 1):
        made.append(
            Point(
                step=step,
                epoch=step / steps,
                loss=1 + math.exp(-step / 20),
                learning_rate=1e-5,
                grad_norm=0.5,
                tokens=100 * step,
                tokens_per_second=50.0 if step % 2 else 100.0,
            )
        )
        if step % 10 == 0:
            made.append(Point(step=step, held_out_loss=2.5 - step / steps))
    return made


def facts(**values: object) -> Facts:
    told = {
        "name": "student",
        "base": "org/base",
        "settings": TrainSettings(),
        "data": "data.jsonl",
        "rows": 100,
        "template": "chat",
        "figures": Figures.of(points(100)),
        **values,
    }
    return Facts.model_validate(told)


def page(folder: Path, curves: list[Point], told: Facts) -> str:
    path = write_report(folder, curves, told)
    assert [file.name for file in folder.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


class Balance(HTMLParser):
    """Checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("steps", [12, 100, 1000])
def test_the_page_has_charts_and_needs_nothing_else(steps: int, tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    text = page(tmp_path, points(steps), facts())
    assert re.findall(r"<h3>(.*?)</h3>", text) == [
        *("Loss", "Learning rate", "Tokens with loss a second", "Norm of the gradients")
    ]
    assert text.count("<svg") == 4
    assert "<script" not in text
    assert re.findall(r"https?://[^\"'<> ]+", text.replace("http://www.w3.org/", "")) == []
    assert not re.search(r"\b(src|href)=", text)
    assert len(text) < 120_000
    parser = Balance()
    parser.feed(text)
    assert parser.open == []


def test_only_what_was_measured_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    text = page(tmp_path, [Point(step=step, loss=2.0) for step in (1, 2)], facts())
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["Loss"]
    assert ">held-out loss<" not in re.sub(r"<dl.*</dl>", "", text, flags=re.DOTALL)
    assert "<svg" not in page(tmp_path, [], facts(figures=Figures()))
    held_out = page(tmp_path, [Point(step=0, held_out_loss=2.0)], facts())
    assert held_out.count("<svg") == 1


def test_without_the_extra_the_page_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    text = page(tmp_path, points(12), facts())
    assert "<svg" not in text
    assert "The extra plots draws the curves here: <code>pip install &#x27;reflectune[plots]&#x27;</code>" in text
    assert "<dd>2.500 → 1.500</dd>" in text


def test_text_of_others_is_escaped(tmp_path: Path) -> None:
    told = facts(
        name=EVIL,
        base=EVIL,
        data=EVIL,
        data_sha256=EVIL,
        template=EVIL,
        template_hash=EVIL,
        dropped={EVIL: 3},
        devices=(EVIL,),
        versions={EVIL: EVIL},
        evaluation={EVIL: EVIL},
    )
    text = page(tmp_path, [], told)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10


def test_rows_and_reasons_are_counted(tmp_path: Path) -> None:
    told = facts(rows=12000, held_out=240, cut=3, dropped={"empty": 2, "too-long": 41})
    assert told.told_rows() == [
        *(("learnt from", "12,000"), ("of them without their end", "3"), ("held out", "240")),
        *(("left out: too-long", "41"), ("left out: empty", "2")),
    ]
    assert "<th scope=row>left out: too-long</th><td>41</td>" in page(tmp_path, [], told)


def test_figures_are_made_of_the_curves() -> None:
    found = Figures.of(points(100))
    assert (found.steps, found.tokens, found.held_out_before, found.held_out_after) == (100, 10000, 2.5, 1.5)
    assert found.first_loss == pytest.approx(sum(1 + math.exp(-step / 20) for step in range(1, 11)) / 10)
    assert found.last_loss == pytest.approx(sum(1 + math.exp(-step / 20) for step in range(91, 101)) / 10)
    assert found.tokens_per_second == pytest.approx(1 / (0.5 / 50 + 0.5 / 100))
    assert Figures.of([]) == Figures()
    assert Figures.of([Point(step=3, held_out_loss=1.0)]) == Figures(steps=3, held_out_after=1.0)


def test_figures_that_were_not_measured_are_left_out() -> None:
    told = dict(facts(figures=Figures.of([Point(step=3, held_out_loss=1.0)])).told_figures())
    assert told == {"held-out loss": "1.000", "optimiser steps": "3", "tokens with loss": "0"}
    more = dict(facts(seconds=42.4, peak_memory=3 << 30, read_tokens=12345).told_figures())
    assert (more["time"], more["most memory of a GPU"], more["tokens read"]) == ("42 s", "3.0 GiB", "12,345")


def test_settings_are_the_main_ones_and_those_that_differ() -> None:
    plain = facts().told_settings()
    assert plain[:3] == [("method", "full"), ("epochs", "3"), ("batch", "128")]
    assert len(plain) == 9
    settings = TrainSettings(
        method="lora",
        student="/home/somebody/model",
        deepspeed=Path("/home/somebody/zero.json"),
        lora_targets=("q_proj", "v_proj"),
        packing=False,
        reflection=True,
        template="/home/t.jinja",
    )
    told = facts(settings=settings).told_settings()
    assert told[len(plain) :] == [
        *(("lora rank", "16"), ("lora alpha", "default"), ("lora dropout", "0"), ("reflection", "yes")),
        *(("lora targets", "q_proj, v_proj"), ("packing", "no"), ("deepspeed", "zero.json")),
    ]
    assert "somebody" not in str(told)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_times_are_for_people(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_facts_are_written_and_read_again() -> None:
    told = facts(dropped={"empty": 1}, evaluation={"AlpacaEval 2, length-controlled win rate": "12.3%", "mine": None})
    assert Facts.model_validate_json(told.model_dump_json()) == told
    results = dict(told.told_evaluation())
    assert results["AlpacaEval 2, length-controlled win rate"] == "12.3%"
    assert results["mine"] == results["Benchmarks (lm-eval)"] == "not run"
