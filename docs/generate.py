"""Write docs/cli.md from the --help of every command; with --check, fail where it is stale."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer
from typer.main import get_command
from typer.testing import CliRunner

from reflectune.cli import app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = "110"


def commands(group: typer.models.click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:  # type: ignore[name-defined]
    """The path of every command below a group, the group's own first."""
    found = [path]
    for name, command in sorted(getattr(group, "commands", {}).items()):
        found += commands(command, (*path, name))
    return found


def page() -> str:
    """The page as it should be."""
    os.environ |= {"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1"}
    parts = ["# Command line", "", "Made from `--help` by `make docs`.", ""]
    for path in commands(get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"], prog_name="reflectune").output
        lines = "\n".join(line.rstrip() for line in shown.strip("\n").splitlines())
        parts += [f"## reflectune {' '.join(path)}".rstrip(), "", "```text", lines, "```", ""]
    return "\n".join(parts)


def main() -> int:
    """Write the page, or check it."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write("docs/cli.md is stale: run `make docs`.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
