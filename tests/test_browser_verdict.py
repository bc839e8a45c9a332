"""The verdict page in a real browser: it fits, takes the colours of the reader, and loads nothing."""

from __future__ import annotations

from typing import Any

import pytest

from browser import tab
from journey import small
from reflectune.evaluate.alpaca_eval import length_control
from reflectune.verdict import write_verdict

pytestmark = pytest.mark.server

WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
INK = "getComputedStyle(document.querySelector('svg text')).fill"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a small journey."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(length_control, "RESAMPLES", 50)
        return write_verdict(small(tmp_path_factory.mktemp("runs") / "small")).page.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_folds_out(address: str, browser: Any, width: int) -> None:
    with tab(browser, viewport={"width": width, "height": 900}) as (page, watched):
        page.goto(address)
        assert page.locator("h1").inner_text() == "small: did it help?"
        assert "Conclusion: " in page.locator(".lead").inner_text()
        for folded in page.locator("summary").all():
            folded.click()
        assert page.locator("text=Judged by judge-7b").count() == 2
        assert not page.evaluate(WIDE)
        assert page.locator("svg").first.bounding_box()["width"] <= width
    assert not watched.faults


def test_it_is_dark_for_who_reads_in_the_dark(address: str, browser: Any) -> None:
    inks = []
    for scheme in ("light", "dark"):
        with tab(browser, color_scheme=scheme) as (page, watched):
            page.goto(address)
            inks.append(page.evaluate(INK))
        assert not watched.faults
    assert inks[0] != inks[1]


def test_no_name_in_the_picture_is_cut(address: str, browser: Any) -> None:
    with tab(browser) as (page, _):
        page.goto(address)
        frame = page.locator(".forest svg").bounding_box()
        for text in page.locator(".forest svg text").all():
            box = text.bounding_box()
            assert box["x"] >= frame["x"]
            assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
