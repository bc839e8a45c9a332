"""A conversation as one file: a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from reflectune.page import page
from reflectune.page.text import shown

__all__ = ["shared_page"]

Say = Callable[[str], str]

_FOLDED = ("thinking", "reflection")


def shared_page(conversation: dict[str, Any], say: Say, language: str) -> str:
    """A conversation, or two side by side, as a page.

    Args:
        conversation: `columns`, each with its `model`, `settings` and `turns`; a turn has a `role` and `parts`.
        say: Gives the texts.
        language: `en` or `zh`.
    """
    columns = "\n".join(_column(column, say) for column in conversation["columns"])
    body = f"<h1>{escape(say('playground.title'))}</h1>\n<div class=talks>\n{columns}\n</div>"
    return page(say("playground.title"), body, "zh-Hans" if language == "zh" else "en")


def _column(column: dict[str, Any], say: Say) -> str:
    told = ", ".join(f"{name}: {value}" for name, value in column["settings"].items() if value not in {None, ""})
    turns = "\n".join(_turn(turn, say) for turn in column["turns"])
    return f"<section>\n<h2>{shown(column['model'])}</h2>\n<p class=soft>{shown(told)}</p>\n{turns}\n</section>"


def _turn(turn: dict[str, Any], say: Say) -> str:
    who = "you" if turn["role"] == "user" else "model"
    folded: list[str] = []
    said: list[str] = []
    for part in turn["parts"]:
        kind = part["kind"]
        name = f"<b>{escape(say(f'playground.{kind}'))}</b> " if kind == "reflection" else ""
        html = f'<div class="said {kind}" dir=auto>{name}{shown(part["text"])}</div>'
        (folded if kind in _FOLDED else said).append(html)
    thought = f"<details><summary>{escape(say('playground.thinking'))}</summary>{''.join(folded)}</details>"
    note = f"<p class=soft>{shown(turn['note'])}</p>" if turn["note"] else ""
    return f"<h3>{escape(say(f'playground.{who}'))}</h3>\n{thought if folded else ''}{''.join(said)}{note}"
