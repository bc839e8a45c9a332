"""Show what the doctor finds, section by section."""

from __future__ import annotations

import orjson
import typer
from rich.console import Console
from rich.text import Text

from reflectune.cli.screen import clean
from reflectune.doctor import Asked, Finding, Section, State, examine

_MARKS: dict[State, tuple[str, str]] = {"good": ("✓", "green"), "without": ("–", "dim"), "broken": ("✗", "bold red")}
_NAMES = 17


def show(asked: Asked, *, as_json: bool) -> bool:
    """Print what is found, on standard output, as it is found.

    Returns:
        Whether nothing is broken.
    """
    sections: list[Section] = []
    out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for section in examine(asked):
        sections.append(section)
        if not as_json:
            out.print(Text(section.title, style="bold"))
            for finding in section.findings:
                out.print(_line(finding))
    broken = [finding.name for section in sections for finding in section.findings if finding.state == "broken"]
    if as_json:
        findings = {section.title: [one.model_dump() for one in section.findings] for section in sections}
        typer.echo(orjson.dumps({"broken": broken, **findings}).decode())
    else:
        verdict = f"Broken: {', '.join(broken)}." if broken else "Nothing is broken."
        out.print(Text(verdict, style="bold red" if broken else "bold green"))
    return not broken


def _line(finding: Finding) -> Text:
    """A finding in a line, and its mend in one below."""
    mark, style = _MARKS[finding.state]
    line = Text.assemble((f"  {mark} ", style), f"{finding.name:{_NAMES}} ", clean(finding.told))
    if finding.mend:
        line.append(f"\n{'':{_NAMES + 5}}→ {clean(finding.mend)}", style="yellow")
    return line
