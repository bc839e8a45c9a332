"""Pictures of every page, light and dark, wide and narrow.

`make screenshots` writes them to build/screenshots, and the two that the README shows to docs/pictures.

What they show is real: our own ten pairs, recycled, scored and selected by the embedded model; its answers with and
without being told to reflect, judged by itself; a conversation with it. The first time that takes some minutes; what is
there is not made again.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "screenshots"
RUNS = PLACE / "runs"
SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")
PICTURES = ROOT / "docs" / "pictures"
"""Those that the README shows."""
QUESTIONS = 6
PUZZLE_SECONDS = 180


def main() -> None:
    """Make what the pictures show, then the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium: apt-get install chromium")
    make_runs()
    with listening("ui", "--runs", str(RUNS), "--no-open", "--model", "local") as url, judging() as place:
        take(chromium, url, place)
    print(f"{len(list(PLACE.glob('*.png')))} pictures in {PLACE.relative_to(ROOT)}")


def make_runs() -> None:
    """The runs, each where it is missing."""
    pairs = ROOT / "examples" / "pairs.jsonl"
    made("pairs", "recycle", str(pairs), "--versions", "all", "--max-failed", "1")
    if not (RUNS / "pairs" / "selected.jsonl").is_file():
        reflectune("score", str(RUNS / "pairs"), "--student", "local")
        reflectune("select", str(RUNS / "pairs"))
    for name, flags in {"plain": (), "reflecting": ("--reflect",)}.items():
        made(name, "generate", "local", str(pairs), "--limit", str(QUESTIONS), "--max-tokens", "160", *flags)
    answers = [str(RUNS / name / "answers.jsonl") for name in ("plain", "reflecting")]
    made("judged", "judge", *answers, "--judge", "local", "--max-failed", "1")
    if not (RUNS / "pairs" / "report.html").is_file():
        reflectune("report", str(RUNS / "pairs"))


def made(name: str, *words: str) -> None:
    """Make a run where it is missing."""
    if not (RUNS / name / "state.sqlite").is_file():
        reflectune(*words, "--run", str(RUNS / name))


def reflectune(*words: str) -> None:
    """Call the program."""
    done = subprocess.run([sys.executable, "-m", "reflectune", *words], cwd=ROOT, check=False)
    if done.returncode not in {0, 3}:
        sys.exit(f"reflectune {' '.join(words)} ended with {done.returncode}")


@contextmanager
def listening(*words: str) -> Iterator[str]:
    """The app, until the block ends."""
    command = [sys.executable, "-m", "reflectune", *words, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        yield next(line.strip() for line in process.stdout if line.startswith("http"))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


@contextmanager
def judging() -> Iterator[str]:
    """The page on which a person judges."""
    answers = [str(RUNS / name / "answers.jsonl") for name in ("plain", "reflecting")]
    with listening("judge", *answers, "--human", "--no-open", "--run", str(PLACE / "by-hand")) as url:
        yield url


def take(chromium: str, url: str, place: str) -> None:
    """Every page in every size and theme."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        talk = conversation(browser, url)
        for size, (width, height) in SIZES.items():
            for theme in THEMES:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
                page = context.new_page()
                for name, opened in pages(url, place, talk).items():
                    opened(page)
                    page.screenshot(path=PLACE / f"{name}-{size}-{theme}.png", full_page=size == "narrow")
                context.close()
        tall = browser.new_context(viewport={"width": 1280, "height": 1350})
        page = tall.new_page()
        opener(f"{url}runs/pairs/rows/3")(page)
        page.screenshot(path=PICTURES / "compare.png")
        chinese = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 900})
        page = chinese.new_page()
        page.goto(f"{url}runs/pairs/rows")
        page.wait_for_timeout(1000)
        page.screenshot(path=PLACE / "rows-chinese.png")
        browser.close()


def pages(url: str, place: str, talk: Path) -> dict[str, Callable[[Any], None]]:
    """What opens each page, by its name."""
    paths = {
        "runs": "",
        "run": "runs/pairs",
        "rows": "runs/pairs/rows",
        "row": "runs/pairs/rows/3",
        "statistics": "runs/pairs/statistics",
        "evaluation": "evaluation",
        "playground": "playground",
        "nowhere": "nowhere",
    }
    found = {name: opener(url + path) for name, path in paths.items()}
    report = (RUNS / "pairs" / "report.html").as_uri()
    return {**found, "judging": opener(place), "conversation": opener(talk.as_uri()), "report": opener(report)}


def opener(address: str) -> Callable[[Any], None]:
    """What opens an address and waits until its page is quiet."""

    def opened(page: Any) -> None:
        page.goto(address)
        page.wait_for_timeout(1500)

    return opened


def conversation(browser: Any, url: str) -> Path:
    """The puzzle, asked of the embedded model, plain and made to reflect; saved as the page that is shared."""
    saved = PLACE / "conversation.html"
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.goto(f"{url}playground")
    page.get_by_label("Two side by side").check()
    reflecting = page.locator(".talk").nth(1)
    reflecting.locator("summary").first.click()
    reflecting.get_by_label("Who reflects").select_option("rounds")
    reflecting.locator("summary").first.click()
    page.get_by_role("button", name="Cup and coin").click()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('.foot').length === 2", timeout=1000 * PUZZLE_SECONDS)
    page.screenshot(path=PLACE / "playground-answered.png")
    page.locator(".thought summary").click()
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.screenshot(path=PICTURES / "playground.png")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a page").click()
    download.value.save_as(saved)
    context.close()
    return saved


if __name__ == "__main__":
    PLACE.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    main()
