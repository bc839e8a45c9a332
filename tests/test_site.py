"""The docs as a site: every page has its place, every link leads somewhere, and nothing is asked of other sites."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted(DOCS.glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(https?:)?//|<link[^>]*rel=\"?(?:stylesheet|preconnect|icon)"
    r"\"?[^>]*href=\"?https?://|url\((?:https?:)?//|@import"
)


def pages_of(nav: Any) -> Iterator[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(part)


def anchors_of(page: Path) -> set[str]:
    """What the headings of a page are called, as GitHub and the site have it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = [re.sub(r"[`*]|\[|\]\([^)]*\)", "", head) for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def commands(page: Path) -> set[str]:
    """Every command of a page's shell blocks, without its comment."""
    bodies = [body for language, body in FENCE.findall(page.read_text(encoding="utf-8")) if language == "sh"]
    return {line.split("  #")[0].strip() for body in bodies for line in body.splitlines() if line.strip()}


def test_the_navigation_lists_every_page_once() -> None:
    listed = list(pages_of(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not target.startswith(("https://", "http://")):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.is_file(), f"{page.name}: {target}"
            if anchor and file.suffix == ".md":
                assert anchor in anchors_of(file), f"{page.name}: {target}"


def test_pages_of_the_site_link_to_nothing_outside_of_docs() -> None:
    for page in DOCS.glob("*.md"):
        for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            assert not target.startswith(("../", "/")), f"{page.name}: {target}"


def test_the_chinese_readme_types_what_the_english_one_does() -> None:
    assert commands(ROOT / "README.zh.md") - commands(ROOT / "README.md") == set()
    assert "README.md" in LINK.findall((ROOT / "README.zh.md").read_text(encoding="utf-8"))


def test_messages_in_the_faq_are_what_the_program_says() -> None:
    paths = [path for path in (ROOT / "src").rglob("*") if path.suffix in {".py", ".yaml"}]
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # one text in several pieces
    heads = re.findall(r"^### (.+)$", (DOCS / "faq.md").read_text(encoding="utf-8"), re.MULTILINE)
    quoted = [
        text
        for head in heads
        for text in re.findall(r"`([^`]+)`", head)
        if not text.startswith(("--", "This model", "No such option"))
    ]
    assert len(quoted) > 40
    for text in quoted:
        words = text.split()
        size = min(len(words), 2)
        runs = {" ".join(words[at : at + size]) for at in range(len(words) - size + 1)}
        assert any(run in source for run in runs), f"nothing of ours says {text!r}"


def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra docs)")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    built = [path for path in tmp_path.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(built) > len(list(DOCS.glob("*.md")))
    for path in built:
        found = LOADED.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name} loads {found.group()}"
    assert not list(tmp_path.glob("*.py"))
