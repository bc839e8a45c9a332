"""Pages: templates, languages, themes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import yaml
from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from reflectune.page.text import shown, visible
from reflectune.prompts import Language, placed

__all__ = ["language_of", "show", "text", "texts_of"]

_HERE = Path(__file__).parent
_THEMES = ("light", "dark")


def show(request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page.

    Besides what is given, a template has `t(name, **values)` for its texts, `texts(*areas)` for those of its scripts,
    `lang`, `theme` and `path`, and two filters for the texts of strangers, which write out what cannot be seen:
    `visible` for attributes, `shown` for everywhere else.

    Args:
        request: What was asked for; its cookies say in which language and theme.
        template: A file in `templates`.
        status: The HTTP status.
        context: What the template shows.
    """
    language = language_of(request)
    theme = request.cookies.get("theme", "")
    html = (
        _environment()
        .get_template(template)
        .render(
            t=partial(text, language),
            texts=partial(texts_of, language),
            lang=language,
            theme=theme if theme in _THEMES else "",
            path=request.url.path,
            **context,
        )
    )
    return HTMLResponse(html, status)


def language_of(request: Request) -> Language:
    """The language that a request wants its page in: by its cookie, else by its browser; else English."""
    chosen = request.cookies.get("lang") or request.headers.get("accept-language", "")
    return "zh" if chosen.strip().lower().startswith("zh") else "en"


def text(language: Language, name: str, **values: object) -> str:
    """A text of a page.

    Args:
        language: In which language.
        name: Its area and its name in it, as `runs.retry`.
        values: What stands in place of its placeholders, `{{name}}`.

    Raises:
        KeyError: There is no such text.
    """
    area, _, key = name.partition(".")
    return placed(_texts(language, area)[key], {name: str(value) for name, value in values.items()})


def texts_of(language: Language, areas: Iterable[str]) -> dict[str, str]:
    """All texts of some areas, by name, for a page's script."""
    return {f"{area}.{key}": value for area in areas for key, value in _texts(language, area).items()}


@cache
def _texts(language: Language, area: str) -> dict[str, str]:
    found = yaml.safe_load((_HERE / "texts" / language / f"{area}.yaml").read_text(encoding="utf-8"))
    return {str(key): str(value) for key, value in found.items()}


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"visible": visible, "shown": lambda text: Markup(shown(text))}  # noqa: S704 - is escaped
    environment.policies["json.dumps_function"] = partial(json.dumps, ensure_ascii=False)
    return environment
