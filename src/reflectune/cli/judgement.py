"""Write the verdict on a journey, and say it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import orjson
import typer
from rich.text import Text

from reflectune.cli.screen import clean, err
from reflectune.errors import SettingsError
from reflectune.verdict import Written, write_verdict
from reflectune.verdict.sections import caveat_text
from reflectune.verdict.wording import Language, words

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        run: The journey's folder.
        output: The page; by default in that folder.
        language: Its language.
        quiet: Whether to show only errors.
    """

    run: Path
    output: Path | None = None
    language: Language = "en"
    quiet: bool = False


def carry_out(asked: Asked, *, as_json: bool) -> None:
    """Write the page, and print the paragraph.

    Raises:
        MissingExtraError: A library that computes the figures is not installed.
        RunError: There is no journey, or a file of it cannot be used.
        SettingsError: The page's name does not end in .html, or there is no place for it.
    """
    started = time.monotonic()
    if asked.output is not None:
        _check(asked.output)
    written = write_verdict(asked.run, asked.output, language=asked.language)
    if not asked.quiet:
        _show(asked, written)
    if as_json:
        typer.echo(orjson.dumps(_summary(asked, written) | {"seconds": round(time.monotonic() - started, 3)}).decode())
    else:
        typer.echo(clean(written.verdict.text[asked.language]))


def _check(output: Path) -> None:
    if output.suffix not in {".html", ".htm"}:
        raise SettingsError(f"{output} is no page.", mend="Let --output end in .html.")
    if not output.resolve().parent.is_dir():
        raise SettingsError(f"There is no folder {output.parent}.", mend="Make it, or name another place.")


def _show(asked: Asked, written: Written) -> None:
    caveats, say = written.verdict.caveats, words(asked.language)
    for caveat in caveats[:_SHOWN]:
        err.print(Text(f"! {clean(caveat_text(caveat.name, caveat.values, say))}", style="yellow"))
    if (more := len(caveats) - _SHOWN) > 0:
        err.print(Text(f"! and {more} more on the page", style="yellow"))
    err.print(Text(f"{written.page} · {written.figures.name} · {written.markdown.name}"))


def _summary(asked: Asked, written: Written) -> dict[str, object]:
    found = written.verdict
    return {
        "run": str(asked.run),
        "page": str(written.page),
        "conclusion": found.conclusion.kind,
        "text": found.text[asked.language],
        "comparisons": {
            f"{one.ours} against {one.other}, by {one.judge}": {
                "items": one.pooled.items,
                "wins": one.pooled.wins,
                "ties": one.pooled.ties,
                "losses": one.pooled.losses,
                "win_rate": one.pooled.win_rate.model_dump(),
                "level": one.pooled.level.rate.model_dump() if one.pooled.level.rate else None,
                "standing": one.pooled.standing,
            }
            for one in found.comparisons
        },
        "caveats": [caveat.name for caveat in found.caveats],
        "missing": list(found.missing),
    }
