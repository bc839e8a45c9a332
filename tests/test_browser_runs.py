"""Runs and Compare in a real browser: look, search, filter, decide, export, try again; and data that means harm."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import App, started, tab
from loopback import Loopback
from reflectune.runs import RunDir
from reflectune.runs.store import connect
from shown_run import HARMFUL_ID, LONG, make

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def oracle() -> Iterator[Loopback]:
    """Answers where failed rows are tried again."""
    with Loopback() as server:
        yield server


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, oracle: Loopback) -> Iterator[App]:
    """The app over runs to look at, to edit and to try again, and a folder that is none."""
    folder = tmp_path_factory.mktemp("shown")
    runs, data = folder / "runs", folder / "again.json"
    make(runs / "data")
    shutil.copytree(runs / "data", runs / "mended")
    data.write_text(json.dumps([{"instruction": "Copy this.", "output": "this"}]))
    make(runs / "again", oracle=f"m@{oracle.base_url}", data=str(data))
    (runs / "judged").mkdir()
    connect(runs / "judged" / "state.sqlite").close()
    for name in ("verdicts.jsonl", "evaluation.json"):
        (runs / "judged" / name).write_text("")
    with started(runs, env={"OPENAI_API_KEY": "sk-secret-of-the-test"}) as running:
        yield running


def indexed(page: Any) -> None:
    """Wait until the index is made."""
    page.wait_for_function(
        "() => document.querySelector('#index')?.hidden && document.querySelectorAll('#lines tr').length"
    )
    page.wait_for_function("() => document.querySelectorAll('.filter:not([hidden])').length > 2")


def titles(page: Any) -> list[str]:
    return [words.strip() for words in page.locator("#lines td.title").all_inner_texts()]


def stored(runs: Path, name: str) -> Any:
    with RunDir(runs / "mended", look=True) as run:
        return next(run.rows("recycle", row=name))


def test_the_runs_are_listed_and_one_is_opened(shown: App, page: Any) -> None:
    page.goto(shown.url)
    run = page.locator("#runs article", has=page.get_by_role("link", name="data", exact=True))
    assert "7 rows: 4 rewritten, 2 failed, 1 pending" in run.inner_text()
    page.get_by_role("link", name="data", exact=True).click()
    page.wait_for_selector("#reasons tr")
    assert page.locator("#counts").inner_text().split() == [
        "Rows",
        "7",
        "Rewritten",
        "4",
        "Failed",
        "2",
        "Pending",
        "1",
    ]
    assert "response" not in page.inner_text("#reasons")
    page.locator("#reasons tr", has_text="copy").get_by_role("link", name="Look at the rows").click()
    page.wait_for_function("() => document.querySelectorAll('#lines tr').length === 1")
    assert titles(page) == ["Copy this."]
    page.get_by_role("navigation", name="Views of this run").get_by_role("link", name="Overview").click()
    page.wait_for_selector("#facts")


def test_a_folder_without_rows_has_no_bar_and_no_link_to_rows(shown: App, page: Any) -> None:
    page.goto(shown.url)
    article = page.locator("#runs article", has_text="judged")
    assert "Verdicts of a judge" in article.inner_text()
    assert article.locator(".bar").count() == 0
    assert [link.get_attribute("href") for link in article.locator("a").all()] == ["/evaluation"]
    page.goto(f"{shown.url}/runs/judged")
    page.wait_for_selector("#other:not([hidden])")
    assert not page.locator("#facts").is_visible()


def test_rows_are_searched_filtered_and_sorted(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/runs/data/rows")
    indexed(page)
    assert page.inner_text("#total") == "7 rows"
    page.keyboard.press("/")
    page.keyboard.type("北京")
    page.wait_for_function("() => document.querySelector('#total')?.textContent === '1 rows'")
    assert titles(page) == ["今天天气怎么样？ Say why."]
    assert "search=" in page.url
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("() => document.querySelector('#total')?.textContent === '7 rows'")
    page.locator("[data-filter=status]").select_option("failed")
    page.wait_for_function("() => document.querySelector('#total')?.textContent === '2 rows'")
    page.reload()
    page.wait_for_function("() => document.querySelector('#total')?.textContent === '2 rows'")  # the address holds it
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("() => document.querySelector('#total')?.textContent === '7 rows'")
    page.get_by_role("button", name="r-IFD", exact=True).click()
    page.wait_for_function("() => document.querySelector('[aria-sort=ascending]')?.textContent.startsWith('r-IFD')")
    assert titles(page)[0].startswith("Name the weather")
    page.get_by_label("Sort by").select_option("change")
    page.get_by_label("At most").fill("50")  # per cent, as the column shows it
    page.keyboard.press("Tab")
    page.wait_for_function("() => /^[1-6] rows$/.test(document.querySelector('#total')?.textContent)")
    assert "high=0.5" in page.url
    shares = [int(words.rstrip("%")) for words in page.locator("#lines td[data-name=Change]").all_inner_texts()]
    assert shares
    assert max(shares) <= 50
    page.reload()
    page.wait_for_function("() => document.querySelector('#high')?.value === '50'")
    page.get_by_label("Search").fill("no such words")
    page.wait_for_selector("#nothing:not([hidden])")


def test_versions_are_compared_by_keys(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/runs/data/rows")
    indexed(page)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#side-QA")
    original, q, qa = (page.locator(f"#side-{name}") for name in ("original", "Q", "QA"))
    boxes = [side.bounding_box() for side in (original, q, qa)]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]  # side by side
    assert boxes[0]["y"] == boxes[1]["y"] == boxes[2]["y"]
    critique, text = q.locator(".critique").bounding_box(), q.locator(".of-response").bounding_box()
    assert critique["y"] + critique["height"] <= text["y"]  # before what came of it
    assert "detail 4 More detail of the instruction." in " ".join(q.locator(".critique").inner_text().split())
    assert q.locator(".of-instruction ins").inner_text().strip() == "Say why."
    assert page.locator(".outcome").inner_text().startswith("Selected: QA: both.")
    page.keyboard.press("d")
    assert page.evaluate("getComputedStyle(document.querySelector('#side-Q del')).display") == "none"
    page.keyboard.press("d")
    page.keyboard.press("j")
    page.wait_for_function("() => location.pathname.endsWith('/rows/1')")
    assert page.locator("#side-QA ins", has_text="北京").count() == 1
    page.keyboard.press("k")
    page.wait_for_function("() => location.pathname.endsWith('/rows/0')")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").inner_text().count("\n") > 10
    page.keyboard.press("Escape")
    page.wait_for_selector("#help:not([open])", state="attached")
    page.keyboard.press("Escape")
    page.wait_for_selector("#list:not([hidden])")
    page.go_back()
    page.wait_for_selector("#one:not([hidden])")


def test_a_row_is_edited_rejected_and_taken_back(shown: App, page: Any) -> None:
    page.goto(f"{shown.url}/runs/mended/rows/0")
    page.wait_for_selector("#side-QA")
    page.keyboard.press("e")
    page.wait_for_selector("#edit:not([hidden])")
    assert page.locator("#edit textarea[name=response]").input_value() == "It rains hard today."
    page.locator("#edit textarea[name=response]").fill("It snows & <b>hails</b>.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#side-human")
    assert "snows & <b>hails</b>" in page.locator("#side-human .of-response ins").inner_text()
    assert page.locator("#side-human .critique").count() == 0
    assert "goes into recycled.jsonl" in page.locator("#side-human").inner_text()
    assert page.locator(".outcome").inner_text().startswith("out of date")
    assert stored(shown.runs, "weather").standing.version.response == "It snows & <b>hails</b>."
    page.wait_for_selector("#next:enabled")  # once the index is made
    page.keyboard.press("j")
    page.wait_for_function("() => location.pathname.endsWith('/rows/1')")
    page.get_by_label("Note, why").fill("It is dull.")
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector("#decided")
    assert page.inner_text("#decided") == "rejected by hand"
    assert "It is dull." in page.inner_text("#part")
    page.keyboard.press("Escape")
    page.wait_for_selector("#list:not([hidden])")
    page.wait_for_function("() => document.querySelectorAll('#lines .status .chip').length === 2")
    page.goto(f"{shown.url}/runs/mended")
    with page.expect_download() as got:
        page.get_by_role("button", name="Download the data").click()
    rows = [json.loads(line) for line in Path(got.value.path()).read_text().splitlines()]
    assert [(row["reflectune"]["id"], row["reflectune"]["human"]) for row in rows] == [
        ("weather", "edit"),
        (HARMFUL_ID, ""),
        ("long", ""),
    ]
    assert rows[0]["output"] == "It snows & <b>hails</b>."
    page.goto(f"{shown.url}/runs/mended/rows/1")
    page.wait_for_selector("#decided")
    page.keyboard.press("u")
    page.wait_for_selector("#decided", state="detached")
    page.keyboard.press("a")
    page.wait_for_selector("#decided")
    assert stored(shown.runs, "chinese").decision.verdict == "accept"


def test_an_edit_is_not_lost_without_a_word(shown: App, browser: Any) -> None:
    with tab(browser) as (page, watched):
        page.goto(f"{shown.url}/runs/mended/rows/0")
        page.wait_for_selector("#next:enabled")
        page.wait_for_selector("#side-QA")
        page.keyboard.press("e")
        page.locator("#edit textarea[name=response]").fill("Mine.")
        colours = page.evaluate("""() => {
            const key = getComputedStyle(document.querySelector('#edit [type=submit] kbd'));
            return [key.color, key.backgroundColor];
        }""")
        assert colours[0] != colours[1]
        for leave in ("next", "back", "cancel"):
            page.locator(f"#{leave}").click()
            assert page.locator("#edit textarea[name=response]").input_value() == "Mine."
            assert page.locator("#edit").is_visible()
        page.keyboard.press("Escape")
        page.get_by_role("link", name="Statistics").click()
        page.wait_for_timeout(300)
        assert page.locator("#edit").is_visible()
        assert [words.partition(":")[0] for words in watched.faults] == ["dialog"] * 5


def test_harmful_data_is_shown_harmlessly(shown: App, page: Any) -> None:
    for address in ("", "/runs/data", "/runs/data/rows"):
        page.goto(f"{shown.url}{address}")
        page.wait_for_load_state("networkidle")
    indexed(page)
    page.goto(f"{shown.url}/runs/data/rows/5")
    page.wait_for_selector("#side-QA")
    words = page.inner_text("#part")
    for text in (
        "<script>document.title = 'harm'",
        "<img src=x onerror",
        "</output>",
        "[U+202E]",
        "[U+0007]",
        "{{ 7 * 7 }}",
    ):
        assert text in words
    assert HARMFUL_ID in words
    assert page.title() == "data: Rows · reflectune"
    assert page.locator("#part img, #part script, #part svg, #part a").count() == 0
    page.keyboard.press("e")
    assert page.locator("#edit").is_visible()  # the text did not end its field
    page.goto(f"{shown.url}/runs/data/rows/2")
    page.wait_for_selector(".failure")
    assert "raw [U+0000]<script>" in page.inner_text(".failure")
    page.goto(f"{shown.url}/runs/data/rows/6")
    page.wait_for_selector("#side-QA")
    assert len(page.inner_text("#side-QA .of-response .text")) < 5_000
    page.locator("#side-QA [data-more=response]").click()
    page.wait_for_function("() => document.querySelector('#side-QA .of-response .text')?.textContent.endsWith('end')")
    assert len(page.evaluate("document.querySelector('#side-QA .of-response .text').textContent")) == len(LONG) + 3


def test_a_narrow_screen_shows_one_version_at_a_time(shown: App, browser: Any) -> None:
    with tab(browser, viewport={"width": 390, "height": 844}, locale="zh-CN", color_scheme="dark") as (page, watched):
        for address in ("", "/runs/data", "/runs/data/rows", "/runs/data/rows/0", "/runs/data/rows/5"):
            page.goto(f"{shown.url}{address}")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, address
        page.goto(f"{shown.url}/runs/data/rows/0")
        page.wait_for_selector("#side-QA")
        assert page.locator(".side:visible").count() == 1
        page.get_by_role("tab", name="原文").click()
        assert page.locator("#side-original").is_visible()
        assert not page.locator("#side-QA").is_visible()
        assert not watched.faults, watched.faults


def test_failed_rows_are_tried_again_from_the_page(shown: App, oracle: Loopback, page: Any) -> None:
    page.goto(f"{shown.url}/runs/again")
    page.get_by_label("copy").check()
    page.get_by_role("button", name="Try failed rows again").click()
    page.wait_for_function("() => document.querySelector('#job-state')?.textContent === 'Done.'", timeout=240_000)
    assert not re.search("sk-secret", page.content())
    assert page.locator("#reasons tr", has_text="copy").count() == 0
    assert oracle.stats()["requests"] >= 1
