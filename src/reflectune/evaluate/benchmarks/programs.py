"""The program in a reply that was asked to complete a function."""

from __future__ import annotations

import ast
import io
import re
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["program_of"]

_FENCE = re.compile(r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,2}[.)])[ \t]+)?)(?P<marks>`{3,}|~{3,})(?P<about>[^`\n]*)")
_INNER = 3
"""A fence that is indented by more than this, from the one that opened the block, stands in the code."""
_CODE = re.compile(
    r"\s|#|@|[)\]}]|(?:from|import|def|class|async|if|for|while|try|except|else|with)\b.*|[A-Za-z_]\w*\s*="
)
_TRIES = 5


def program_of(question: dict[str, Any], text: str) -> str:
    """The program that tells whether a completed function passes its tests.

    The reply's code is the last fenced block that defines the function and is Python, else the last block that defines
    it, else the last one; without a block it is the text itself, without the prose around it where there is some. Code
    that defines the function stands after what else the question holds, its imports and helpers; other code goes on
    from where the question breaks off.

    Args:
        question: The question, with the beginning of the function, its name and the tests.
        text: The reply.
    """
    begun, name = question["question"], question["entry_point"]
    codes = _blocks(text) or [text if _parsed(text) or _parsed(begun + text) else _without_prose(text)]
    defining = [code for code in map(_flush, codes) if _defines(code, name)]
    ends = f"\n\n{question['test']}\n\ncheck({name})\n"
    if not defining:
        going_on = [code for code in codes if _parsed(begun + code)]
        return f"{begun}{(going_on or codes)[-1]}{ends}"
    whole = [code for code in defining if _parsed(code)]
    future, code = _apart((whole or defining)[-1], _is_future)
    closed = begun if _parsed(begun) else f"{begun.rstrip()}\n    pass\n"
    _, given = _apart(closed, lambda node: getattr(node, "name", None) == name)
    return f"{future}{given}\n{code}{ends}"


def _blocks(text: str) -> list[str]:
    """The fenced blocks, without the indentation of their fences."""
    lines, found, place = text.split("\n"), list[str](), 0
    while place < len(lines):
        opening = _FENCE.fullmatch(lines[place])
        place += 1
        if opening is None:
            continue
        indent = len(opening["indent"])
        ends = [number for number in range(place, len(lines)) if _closes(lines[number], opening)] or [len(lines)]
        codes = ["\n".join(_cut(line, indent) for line in lines[place:end]) + "\n" for end in ends[:_TRIES]]
        # A bare fence may stand in a docstring: the block ends where it is Python.
        best = next((number for number, code in enumerate(codes) if _parsed(_flush(code)) is not None), 0)
        found.append(codes[best])
        place = ends[best] + 1
    return found


def _closes(line: str, opening: re.Match[str]) -> bool:
    fence = _FENCE.fullmatch(line.rstrip())
    return (
        fence is not None
        and not fence["about"]
        and not fence["indent"].strip()
        and fence["marks"].startswith(opening["marks"])
        and len(fence["indent"]) <= len(opening["indent"]) + _INNER
    )


def _cut(line: str, indent: int) -> str:
    return line[min(indent, len(line) - len(line.lstrip(" \t"))) :]


def _flush(code: str) -> str:
    """Code at the left edge, where all of it is indented."""
    return textwrap.dedent(code) if _parsed(code) is None else code


def _without_prose(text: str) -> str:
    """A text without the lines that neither are indented nor begin as Python does."""
    return "\n".join(line for line in text.split("\n") if not line or _CODE.match(line)) + "\n"


def _defines(code: str, name: str) -> bool:
    return (
        re.search(rf"^(?:(?:async\s+)?def\s+{re.escape(name)}\b|{re.escape(name)}\s*=)", code, re.MULTILINE) is not None
    )


def _apart(code: str, chosen: Callable[[ast.stmt], bool]) -> tuple[str, str]:
    """The lines of the statements that are chosen, and all others; nothing and all of it where it is no Python."""
    found = _parsed(code)
    taken: set[int] = set()
    for node in found.body if found else ():
        if chosen(node):
            first = min(part.lineno for part in (node, *getattr(node, "decorator_list", ())))
            taken.update(range(first - 1, node.end_lineno or first))
    lines = io.StringIO(code, newline=None).readlines()  # as the parser counts them
    return (
        "".join(line for place, line in enumerate(lines) if place in taken),
        "".join(line for place, line in enumerate(lines) if place not in taken),
    )


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _parsed(code: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how a model writes its strings
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
