"""Statistics, evaluations, judging by hand and the report in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import App, started, tab
from reflectune.report import write_report
from shown_run import make
from test_human_judging import served
from test_web_evaluation import judged_run

pytestmark = pytest.mark.server

WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app over a run, and two that judges judged."""
    runs = tmp_path_factory.mktemp("shown") / "runs"
    make(runs / "data")
    judged_run(runs / "judged")
    with started(runs) as running:
        yield running


def test_from_a_figure_to_the_verdicts_and_their_filters(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/evaluation")
    with page.expect_navigation():
        page.locator("table.board a").first.click()
    assert page.locator("article").count() == 8
    page.get_by_label("only those that flip with the order").check()
    with page.expect_navigation():
        page.get_by_role("button", name="Filter").click()
    assert page.locator("article").count() == 1
    page.locator("summary").click()
    assert "On A: <script>" in page.locator(".look").first.inner_text()
    assert page.evaluate("document.title") != "harm"
    page.get_by_label("judge").select_option("human:ada")
    page.get_by_label("only those that flip with the order").uncheck()
    with page.expect_navigation():
        page.get_by_role("button", name="Filter").click()
    assert page.locator("article").count() == 4
    assert page.get_by_label("judge").input_value() == "human:ada"
    assert page.locator("text=seen in one order").count() == 4


def test_raw_replies_are_shown_as_text(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/evaluation/replies?run=judged&file=verdicts.jsonl")
    assert page.locator("article").count() == 8
    assert "<img src=x onerror=" in page.locator("article").first.inner_text()


def test_statistics_come_by_themselves_and_take_the_colours_of_the_page(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/runs/data/statistics")
    page.wait_for_selector(".charts svg", timeout=240_000)
    page.get_by_role("link", name="Statistics").wait_for()
    assert "words of the response" in page.locator("table").inner_text()
    colour = "getComputedStyle(document.querySelector('.charts svg text')).fill"
    light = page.evaluate(colour)
    page.locator("[data-theme-switch]").click()
    assert page.evaluate(colour) != light
    with page.expect_navigation():
        page.locator("[data-lang-switch]").click()
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    assert "回答词数" in page.locator("table").inner_text()


@pytest.mark.parametrize("address", ["/evaluation", "/evaluation/verdicts?run=judged", "/judging"])
def test_pages_fit_a_telephone(shown: App, browser: Any, address: str) -> None:
    with tab(browser, viewport={"width": 390, "height": 844}) as (page, watched):
        page.goto(f"{shown.url}{address}")
        assert not page.evaluate(WIDE)
        assert not watched.faults, watched.faults


def test_a_person_judges_by_key_takes_back_skips_and_finishes(tmp_path: Path, page: Any) -> None:
    with served(tmp_path, "--annotator", "ada") as (process, url):
        page.goto(f"{url}/judging")
        page.wait_for_selector("#pair:not([hidden])")
        assert "Question" in page.inner_text("#instruction")
        answers = {page.inner_text("#left")[:3], page.inner_text("#right")[:3]}
        assert answers == {"goo", "bad"}
        first = page.inner_text("#instruction")

        def far(done: int) -> None:
            page.wait_for_function(f"() => document.querySelector('#far')?.textContent === '{done} of 6 judged'")

        for done, key in enumerate(("1", "2", "ArrowRight"), start=1):
            page.keyboard.press(key)
            far(done)
        for done in (2, 1, 0):
            page.keyboard.press("u")
            far(done)
        assert page.inner_text("#instruction") == first
        page.keyboard.press("s")
        page.wait_for_selector("#skipped:not(:empty)")
        for done in range(1, 7):
            better = "left" if page.inner_text("#left").startswith("good") else "right"
            page.locator(f"[data-said={better}]").click()
            far(done)
        page.wait_for_selector("#all-done:not([hidden])")
        page.locator("#finish").click()
        page.wait_for_selector("#finished:not([hidden])")
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "6 / 0 / 0" in told


@pytest.fixture(scope="module")
def report(shown: App, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the run, as HTML."""
    page = tmp_path_factory.mktemp("report") / "page.html"
    return write_report(shown.runs / "data", page).page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_report_does_no_harm_and_fits(report: str, browser: Any, width: int, scheme: str) -> None:
    with tab(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as (page, watched):
        page.set_content(report)
        for details in page.locator("details").all():
            details.evaluate("one => one.open = true")
        assert not page.evaluate(WIDE)
        assert page.evaluate("document.title") == "data: report"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 31)")
        assert not watched.faults, watched.faults
