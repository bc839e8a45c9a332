"""What the pages say, in both languages; and that templates and scripts keep to what the policy allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from reflectune.prompts import PLACEHOLDER
from reflectune.web import pages

WEB = Path(pages.__file__).parent
AREAS = sorted(path.name for path in (WEB / "texts" / "en").glob("*.yaml"))
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))
SCRIPTS = sorted((WEB / "static").glob("*.js"))


def texts(language: str, area: str) -> dict[str, str]:
    return yaml.safe_load((WEB / "texts" / language / area).read_text(encoding="utf-8"))


def test_both_languages_have_the_same_areas() -> None:
    assert sorted(path.name for path in (WEB / "texts" / "zh").glob("*.yaml")) == AREAS


@pytest.mark.parametrize("area", AREAS)
def test_both_languages_say_the_same_things(area: str) -> None:
    english, chinese = texts("en", area), texts("zh", area)
    assert list(english) == list(chinese)
    for name, text in english.items():
        assert isinstance(text, str), f"{name} is no text: YAML reads {text!r}"
        assert isinstance(chinese[name], str), f"{name} is no text: YAML reads {chinese[name]!r}"
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(chinese[name])), name
        assert text.strip()
        assert chinese[name].strip()


def test_every_text_that_is_named_is_there() -> None:
    known = {f"{area.removesuffix('.yaml')}.{name}" for area in AREAS for name in texts("en", area)}
    areas = {name.partition(".")[0] for name in known}
    for path in [*TEMPLATES, *SCRIPTS]:
        named = re.findall(r"\b(?:t|text)\(\s*[\"']([a-z_]+\.[a-z_0-9]+)[\"']", path.read_text(encoding="utf-8"))
        for name in named:
            if name.partition(".")[0] in areas and not name.endswith("_"):
                assert name in known, f"{path.name} names {name}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_has_nothing_inline_and_escapes_all(path: Path) -> None:
    html = path.read_text(encoding="utf-8")
    assert not re.search(r"<[^>]*\son\w+\s*=", html), "an event handler"
    assert not re.search(r"<[^>]*\sstyle\s*=", html), "a style attribute"
    assert not re.search(r"<style\b", html), "a style sheet"
    assert not re.search(r"\|\s*safe\b|autoescape\s+false", html), "unescaped text"
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", html), "something from elsewhere"
    assert not re.search(r"=\"\{\{[^}]*tojson(?! \| forceescape)", html), "the double quotes of JSON end the attribute"
    for tag in re.findall(r"<script\b[^>]*>", html):
        assert "src=" in tag or 'type="application/json"' in tag, "an inline script"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_never_writes_html(path: Path) -> None:
    script = path.read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\.srcdoc", script
    )
    assert not re.search(r"[\"'`]https?://(?!www\.w3\.org/)", script)
