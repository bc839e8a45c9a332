"""Rows as the student reads them, token by token, with those that carry loss marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from reflectune.records import Failure
from reflectune.training.masks import Masked

_LEARNT = ("bright_white on dark_green", "bright_white on deep_sky_blue4")
_READ = ("dim", "bright_black")


def show(rows: Iterable[Masked | Failure], tokenizer: Any, console: Console) -> None:
    """Print rows token by token: on a terminal coloured, elsewhere with the tokens that carry loss in brackets."""
    for row in rows:
        if isinstance(row, Failure):
            console.print(Text.assemble((f"row {row.id}", "bold"), f"  refused, {row.reason}: {row.detail}\n"))
            continue
        learnt = sum(row.trains)
        cut = ", its end is cut off" if row.cut else ""
        console.print(
            Text.assemble((f"row {row.id}", "bold"), f"  {len(row.tokens):,} tokens, {learnt:,} carry loss{cut}")
        )
        console.print(drawn(row, tokenizer, coloured=console.is_terminal and not console.no_color))
        console.print()


def drawn(row: Masked, tokenizer: Any, *, coloured: bool) -> Text:
    """A row's tokens, one beside the other.

    Args:
        row: The row.
        tokenizer: The student's tokenizer.
        coloured: Whether colours tell the tokens that carry loss; else they stand in brackets.
    """
    text = Text()
    for number, (token, trains) in enumerate(zip(row.tokens, row.trains, strict=True)):
        piece = shown(token, tokenizer)
        if coloured:
            text.append(piece, style=(_LEARNT if trains else _READ)[number % 2])
        else:
            text.append(f"⟦{piece}⟧" if trains else f"{piece}")
        if "↵" in piece:
            text.append("\n")
    return text


def shown(token: int, tokenizer: Any) -> str:
    """A token as people can read it: line ends are drawn, and parts of a character are named."""
    piece: str = tokenizer.decode([token], skip_special_tokens=False)
    if not piece or "\ufffd" in piece:
        piece = str(tokenizer.convert_ids_to_tokens(token))
    return "".join(char if char.isprintable() else "↵" if char == "\n" else repr(char)[1:-1] for char in piece)
