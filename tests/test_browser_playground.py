"""The playground in a real browser, over a real endpoint whose model thinks in tags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import App, started, tab
from loopback import Loopback
from serving import UPSTREAM

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with one model behind a slow endpoint."""
    with (
        Loopback("--between-ms", "5", script=UPSTREAM) as upstream,
        started(tmp_path_factory.mktemp("runs"), "--model", f"thinker@{upstream.base_url}") as running,
    ):
        yield running


def ask(page: Any, words: str) -> None:
    page.get_by_label("Ask something").fill(words)
    page.get_by_role("button", name="Send").click()
    page.wait_for_function("() => !document.querySelector('[aria-busy=\"true\"]') && document.querySelector('.foot')")


def test_an_answer_streams_and_its_thinking_folds_and_unfolds(playground: App, page: Any) -> None:
    page.goto(f"{playground.url}/playground")
    page.get_by_label("Ask something").fill("[slow 60] Where is the coin?")
    page.keyboard.press("Enter")
    thought = page.locator(".thought")
    page.wait_for_selector(".thought[open] .part.thinking")  # open while it comes
    assert page.locator(".part.output").count() == 0
    page.wait_for_selector(".part.output")
    page.wait_for_selector(".thought:not([open])")  # folded as soon as the answer begins
    page.wait_for_selector(".foot")
    assert "coin" in page.locator(".part.output").inner_text()
    assert not page.locator(".part.thinking").first.is_visible()
    thought.locator("summary").click()
    assert page.locator(".part.thinking").first.is_visible()
    assert page.locator(".part.reflection").first.is_visible()
    assert "Thinking" in thought.locator("summary").inner_text()
    assert re.search(r"\d+ words", thought.locator("summary").inner_text())
    assert "<" not in page.locator(".turn.reflecting").inner_text()


def test_the_puzzle_is_one_click_away(playground: App, page: Any) -> None:
    page.goto(f"{playground.url}/playground")
    page.get_by_role("button", name="Cup and coin").click()
    assert "coin" in page.get_by_label("Ask something").input_value()


def test_two_side_by_side_and_shared_as_a_file(playground: App, page: Any, tmp_path: Path) -> None:
    page.goto(f"{playground.url}/playground")
    page.get_by_label("Two side by side").check()
    ask(page, "What is <script>alert(1)</script> \u202eworth?")
    assert page.locator(".talk").count() == 2
    plain, reflecting = page.locator(".talk").all()
    assert plain.locator(".thought").count() == 0
    assert "<thinking>" in plain.locator(".part.text").inner_text()  # the plain model's tags are text
    assert reflecting.locator(".thought").count() == 1
    assert "[U+202E]" in page.locator(".turn.user").first.inner_text()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert [turn["role"] for turn in saved["columns"][1]["turns"]] == ["user", "assistant"]
    assert {part["kind"] for part in saved["columns"][1]["turns"][1]["parts"]} >= {"thinking", "reflection", "output"}

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a page").click()
    shared = tmp_path / "shared.html"
    download.value.save_as(shared)
    page.goto(shared.as_uri())
    assert page.locator("section").count() == 2
    assert page.locator("script").count() == 0
    assert "<script>alert(1)</script>" in page.locator("body").inner_text()


def test_later_turns_are_sent_without_what_was_thought(playground: App, page: Any) -> None:
    page.goto(f"{playground.url}/playground")
    ask(page, "first question")
    with page.expect_request("**/chat?tags=parts") as sent:
        ask(page, "second question")
    messages = sent.value.post_data_json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert "first question" in messages[1]["content"]
    first = page.locator(".turn.reflecting").first
    assert messages[1]["content"].strip() == first.locator(".part.output").inner_text().strip()
    assert page.locator(".turn").count() == 4


def test_what_goes_wrong_is_told_and_the_question_stays(playground: App, browser: Any) -> None:
    with tab(browser) as (page, watched):
        page.goto(f"{playground.url}/playground")
        ask(page, "[refuse 400] anything")
        assert "No answer" in page.locator(".foot .bad").inner_text()
        assert page.get_by_label("Ask something").input_value() == "[refuse 400] anything"
        ask(page, "now well")
        assert "now well" in page.locator(".part.output").inner_text()
    assert [fault for fault in watched.faults if "400" not in fault and "502" not in fault] == []


def test_an_answer_can_be_stopped(playground: App, page: Any) -> None:
    page.goto(f"{playground.url}/playground")
    page.get_by_label("Ask something").fill("[endless] go on")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".part")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".foot")
    assert "stopped" in page.locator(".foot").inner_text()


def test_language_and_theme_stay(playground: App, page: Any) -> None:
    page.goto(f"{playground.url}/playground")
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("text=试用")
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    page.locator("[data-theme-switch]").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.get_by_role("button", name="English").is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(playground: App, browser: Any, width: int) -> None:
    with tab(browser, viewport={"width": width, "height": 800}) as (page, watched):
        page.goto(f"{playground.url}/playground")
        page.get_by_label("Two side by side").check()
        ask(page, "word " * 40 + "x" * 300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not watched.faults, watched.faults
