"""The pages over a run of 52,002 rows, in a real browser: how soon they are there, how soon an answer to a question is.

    python bench/viewer.py

The run is that of `viewer_run.py`: real texts, made-up roles and scores. `reflectune ui` serves it to a Chromium
without a window. A page's first paint is what the browser says (first contentful paint); that its rows are there is
when the first line of the list, or the versions of the row, stand in the page. A question is a filter that is chosen, a
search that is typed (its wait for the next key, 100 ms, is taken out) or a heading that is clicked, until the answer
stands in the list; all of it is asked once the index is whole, and how long answers are partial before is told beside
it. The limits of the same run: an error page of the same server, which shows next to nothing, and the
same search as a plain scan of the text by SQLite.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import TESTS, finished, save
from on_real_rows import PROOF
from viewer_run import ROWS, make_run

FIRST_PAINT_MS, ANSWER_MS = 1000.0, 200.0
PAINTS, TIMES = 7, 7
_TYPING_MS = 100.0
_SEARCHES = ("the", "photosynthesis", "in the following", "th", "e", "天气", "人工智能", "的", "no such words at all")
_FILTERS = (("status", "failed"), ("status", "rewritten"), ("human", "accept"), ("language", "zh"), ("reason", "copy"))
_SORTS = ("position", "response_after", "score", "ifd_after", "rifd_after", "change")
_PAINT = """() => new Promise((done) => {
  const told = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
  const ask = () => told() === undefined ? setTimeout(ask, 5) : done(told());
  ask();
})"""
_ANSWERED = """([change, waiting]) => new Promise((done) => {
  const list = document.querySelector("#lines");
  const began = performance.now();
  let asked = false;
  const look = new MutationObserver(() => {
    const busy = list.hasAttribute("aria-busy");
    asked ||= busy;
    if (asked && !busy) {
      look.disconnect();
      requestAnimationFrame(() => setTimeout(() => done(performance.now() - began - waiting)));
    }
  });
  look.observe(list, { attributes: true });
  const [what, name, value] = change;
  if (what === "click") document.querySelector(`[data-sort="${name}"]`).click();
  else {
    const field = document.querySelector(name);
    field.value = value;
    field.dispatchEvent(new Event(what, { bubbles: true }));
  }
})"""


def told(times: list[float]) -> dict[str, float]:
    """Median and worst of some times, in ms."""
    return {"median_ms": round(statistics.median(times), 1), "worst_ms": round(max(times), 1)}


def painted(page: Any, address: str, there: str) -> tuple[float, float]:
    """Milliseconds until a page is painted first, and until what it is for is there."""
    page.goto("about:blank")
    page.goto(address, wait_until="commit")
    page.wait_for_selector(there)
    ready: float = page.evaluate("performance.now()")
    return page.evaluate(_PAINT), ready


def asked(page: Any, change: tuple[str, ...], waiting: float = 0.0) -> float:
    """Milliseconds from a change in the form of the list until its answer is painted."""
    taken: float = page.evaluate(_ANSWERED, [list(change), waiting])
    return taken


def made_index(run: Path, url: str, page: Any, rows: int) -> dict[str, float]:
    """Make the index from nothing, as the page does, and say what it took.

    Until then answers are about those rows only that are in it: what is filtered and sorted is whole once all of them
    are, what is searched once it is done.
    """
    began = time.perf_counter()
    page.goto(f"{url}/runs/run/rows")
    address = f"{url}/api/runs/run/rows?limit=1"
    listed = 0.0
    while (state := page.request.get(address).json())["index"]["working"] or state["total"] < 1:
        if not listed and state["total"] >= rows:
            listed = time.perf_counter() - began
        time.sleep(0.1)
    seconds = time.perf_counter() - began
    sizes = {name: (run / name).stat().st_size / 1e6 for name in ("view.sqlite", "state.sqlite")}
    if state["total"] != page.request.get(address).json()["total"] or state["index"]["error"]:
        raise SystemExit(f"The index is not whole: {state['index']}")
    return {
        "seconds": round(seconds, 1),
        "sort_and_filter_whole_after_s": round(listed or seconds, 1),
        "search_whole_after_s": round(seconds, 1),
        "index_mb": round(sizes["view.sqlite"], 1),
        "run_mb": round(sizes["state.sqlite"], 1),
        "rows": state["total"],
    }


def scanned(run: Path) -> float:
    """Milliseconds that SQLite takes to look through the stored results for a word; the limit without an index."""
    with closing(sqlite3.connect(f"file:{run / 'state.sqlite'}?mode=ro", uri=True)) as database:
        query = "SELECT count(*) FROM results WHERE stage = 'recycle' AND instr(CAST(body AS TEXT), 'photosynthesis')"
        times = []
        for _ in range(3):
            began = time.perf_counter()
            database.execute(query).fetchone()
            times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def questions(page: Any) -> dict[str, list[float]]:
    """Every question again and again: what each took."""
    found: dict[str, list[float]] = {}

    def note(name: str, ask: Callable[[], float], clear: Callable[[], float]) -> None:
        for _ in range(TIMES):
            found.setdefault(name, []).append(ask())
            clear()

    for word in _SEARCHES:
        change = ("input", "#search", word)
        note(
            f"search {word}", lambda c=change: asked(page, c, _TYPING_MS), lambda: asked(page, ("input", "#search", ""))
        )
    for name, value in _FILTERS:
        place = f"[data-filter={name}]"
        change = ("change", place, value)
        clear = ("change", place, "")
        note(f"filter {name} {value}", lambda c=change: asked(page, c), lambda c=clear: asked(page, c))
    for column in _SORTS:
        for _ in range(TIMES):
            found.setdefault(f"sort {column}", []).append(asked(page, ("click", column, "")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resume", action="store_true", help="do nothing where the result is there")
    parser.add_argument("--rows", type=int, default=ROWS, help="fewer of them; then nothing is saved")
    arguments = parser.parse_args()
    if arguments.resume and finished("viewer"):
        return
    sys.path.insert(0, str(TESTS))
    from playwright.sync_api import sync_playwright

    from browser import CHROMIUM, started, tab

    if CHROMIUM is None:
        raise SystemExit("It needs Chromium: apt-get install chromium")
    run = PROOF / "viewer" / "run"
    print(f"making {arguments.rows:,} rows", flush=True)
    make_run(run, arguments.rows)
    with started(run.parent) as app, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        with tab(chromium) as (page, watched):
            index = made_index(run, app.url, page, arguments.rows)
            print("index", index, flush=True)
            pages = {
                "runs": (app.url, "#runs article"),
                "one run": (f"{app.url}/runs/run", "#reasons tr"),
                "rows": (f"{app.url}/runs/run/rows", "#lines tr"),
                "one row": (f"{app.url}/runs/run/rows/{arguments.rows // 2}", "#side-QA, .failure"),
            }
            paints = {name: [painted(page, *where) for _ in range(PAINTS)] for name, where in pages.items()}
            least = [painted(page, f"{app.url}/runs/no-such-run", "main *")[0] for _ in range(PAINTS)]
            watched.faults.clear()  # the browser reports the 404 that was asked for
            page.goto(f"{app.url}/runs/run/rows")
            page.wait_for_selector("#lines tr")
            page.wait_for_selector("[data-filter=reason] option[value=copy]", state="attached")
            times = questions(page)
            if watched.faults:
                raise SystemExit(f"The browser reports: {watched.faults}")
        chromium.close()
    first = {name: told([paint for paint, _ in seen]) for name, seen in paints.items()}
    whole = {name: told([ready for _, ready in seen]) for name, seen in paints.items()}
    answers = {name: told(seen) for name, seen in times.items()}
    scan, page_alone = scanned(run), statistics.median(least)
    show(first, whole, answers, page_alone, scan)
    worst_paint = max(one["worst_ms"] for one in first.values())
    worst_answer = max(one["worst_ms"] for one in answers.values())
    if arguments.rows < ROWS:
        return
    save(
        "viewer",
        met=worst_paint < FIRST_PAINT_MS and worst_answer < ANSWER_MS and index["rows"] == arguments.rows,
        rows=arguments.rows,
        scores="made up by a seeded generator; texts are real rows in made-up roles",
        bounds={"first_paint_ms": FIRST_PAINT_MS, "answer_ms": ANSWER_MS},
        index=index,
        first_paint=first,
        content_there=whole,
        answers=answers,
        worst_answer_ms=worst_answer,
        error_page_first_paint_ms=round(page_alone, 1),
        scan_without_index_ms=round(scan, 1),
        ratios={
            "first_paint_of_rows_to_error_page": round(first["rows"]["median_ms"] / page_alone, 2),
            "search_to_scan": round(answers["search photosynthesis"]["median_ms"] / scan, 4),
        },
    )


def show(
    first: dict[str, dict[str, float]],
    whole: dict[str, dict[str, float]],
    answers: dict[str, dict[str, float]],
    page_alone: float,
    scan: float,
) -> None:
    """Print it all."""
    for name, one in first.items():
        ratio = one["median_ms"] / page_alone
        print(f"first paint  {name:28} {_shown(one)}   {ratio:4.2f} x an error page")
        print(f"  all there  {'':28} {_shown(whole[name])}")
    for name, one in answers.items():
        ratio = one["median_ms"] / scan
        print(f"answer       {name:28} {_shown(one)}   {ratio:5.3f} x a plain scan")
    print(f"an error page {page_alone:.1f} ms, a plain scan {scan:.1f} ms")


def _shown(one: dict[str, float]) -> str:
    return f"{one['median_ms']:7.1f} ms, worst {one['worst_ms']:7.1f}"


if __name__ == "__main__":
    main()
