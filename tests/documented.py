"""Every command that the README, the docs and --help tell people to type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typer.main import get_command

from reflectune.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [
    *(path for name in ("README.md", "README.zh.md", "CONTRIBUTING.md") if (path := ROOT / name).is_file()),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name != "cli.md"),
]
"""All but the page that is made from --help, whose examples are read from there."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = ("reflectune", "torchrun", "accelerate", "make", "pip", "python", "ray")
_COMMAND = re.compile(rf"(\$ )?(?P<command>([A-Z_]+=\S+ )*((echo|cat) .+ \| ?)?({'|'.join(PROGRAMS)}) .+)")
_REMARK = re.compile(r"\s{2,}|\s+#\s")


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line, without its remark.

    Attributes:
        line: What is typed.
        where: The page, or the command whose help it is.
        shell: Whether it stands in a block that is run in turn.
    """

    line: str
    where: str
    shell: bool = False

    @property
    def ours(self) -> str:
        """The part that calls reflectune, without what stands before a pipe or after one; empty where there is none."""
        found = re.search(r"(?:^|\| ?|[A-Z_]+=\S+ |-m )(reflectune .+?)(?: \| .+| > .+)?$", self.line)
        return found[1] if found else ""


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of a page that are in a language."""
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def on_page(page: Path) -> Iterator[Typed]:
    """Every command in a block of a page, whatever the block's language."""
    for language, body in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in body.replace("\\\n", " ").splitlines():
            if found := _COMMAND.fullmatch(line.strip()):
                command = _REMARK.split(re.sub(r"(?<=\S) {2,}(?=--)", " ", found["command"]))[0]
                yield Typed(command, str(page.relative_to(ROOT)), shell=language in {"sh", "bash", "shell"})


def in_help() -> Iterator[Typed]:
    """Every example of a command's help."""
    waiting = [("", get_command(app))]
    while waiting:
        name, command = waiting.pop()
        waiting += [(f"{name} {more}".strip(), one) for more, one in getattr(command, "commands", {}).items()]
        _, _, examples = (command.help or "").partition("[bold]Example")
        for line in examples.splitlines():
            if found := _COMMAND.fullmatch(line.strip()):
                yield Typed(_REMARK.split(found["command"])[0], f"reflectune {name} --help")


def everything() -> list[Typed]:
    """All of them, each line once: the first place that it stands in."""
    found = [typed for page in PAGES for typed in on_page(page)]
    found += in_help()
    return list({typed.line: typed for typed in reversed(found)}.values())[::-1]


def in_prose() -> Iterator[Typed]:
    """Commands that stand in a sentence, in full or as the beginning of one."""
    for page in PAGES:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for command in re.findall(r"`(reflectune [^`]+)`", text):
            yield Typed(" ".join(command.split()), str(page.relative_to(ROOT)))
