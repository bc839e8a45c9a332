"""What the README and the docs tell people to type does what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loopback import Loopback

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROWS = [
    {"instruction": "Why do cats purr?", "output": "They like it."},
    {"instruction": "Why do dogs bark at the postman?", "output": "They guard their house."},
]
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def fenced(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(program: str, *pages: Path) -> list[str]:
    """Every command line in a shell block of the pages that calls a program, without its comment."""
    lines = [line for page in pages or PAGES for body in fenced(page, "sh") for line in body.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.startswith(program + " ")]


def type_in(command: str, folder: Path, server: Loopback) -> subprocess.CompletedProcess[str]:
    """Type a command, with every endpoint pointing to the server."""
    words = shlex.split(re.sub(r"http://[\w.:]+/v1", server.base_url, command))[1:]
    environment = os.environ | {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": server.base_url}
    return subprocess.run(
        [sys.executable, "-m", "reflectune", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def embedded(command: str) -> bool:
    """Whether a command runs the embedded model."""
    return command.startswith("reflectune recycle") and "--oracle" not in command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_in_turn(page: Path, loopback: Callable[..., Loopback], tmp_path: Path) -> None:
    server = loopback()
    (tmp_path / "data.json").write_text(json.dumps(ROWS))
    for body in fenced(page, "yaml"):
        if name := re.match(r"# (\S+\.yaml): ", body):
            (tmp_path / name[1]).write_text(body)
    for command in ("reflectune recycle data.json --oracle gpt-4o-mini", *commands("reflectune", page)):
        if not embedded(command):
            done = type_in(command, tmp_path, server)
            assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.model
@pytest.mark.parametrize("command", sorted({line for line in commands("reflectune") if embedded(line)}))
def test_commands_with_the_embedded_model_run(command: str, loopback: Callable[..., Loopback], tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps(ROWS[:1]))
    done = type_in(command, tmp_path, loopback())
    assert done.returncode in {0, 3}, done.stderr  # 3: a weak model may fail the only row
    assert (tmp_path / "runs/data/recycled.jsonl").is_file()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {command.split()[1] for command in commands("make")}
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no `make {target}`"


@pytest.mark.model
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (program,) = fenced(ROOT / "README.md", "python")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("instruction=", "id="))


@pytest.mark.model
def test_the_example_script_runs(tmp_path: Path) -> None:
    script = ROOT / "examples" / "recycle.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert {line.split(":")[0] for line in done.stdout.splitlines() if re.match(r"\w+: ", line)} >= {"rainbow", "desk"}


def test_our_own_pairs_are_what_the_readme_says() -> None:
    from reflectune import open_source
    from reflectune.language import prompt_language

    rows = list(open_source(ROOT / "examples" / "pairs.jsonl").rows())
    examples = [row.example for row in rows if row.example]
    assert len(examples) == len(rows) == 10
    assert sum(prompt_language(example.question) == "zh" for example in examples) == 2
    assert any(example.input for example in examples)
    assert any(example.history for example in examples)


def test_every_file_of_the_readmes_tree_is_there() -> None:
    (tree,) = [body for body in fenced(ROOT / "README.md", "text") if "src/reflectune/" in body]
    named = set(re.findall(r"\b(\w+(?:\.py|/))", tree)) - {"reflectune/"}
    package = ROOT / "src" / "reflectune"
    existing = {
        path.name + ("/" if path.is_dir() else "")
        for path in [*package.rglob("*"), *(ROOT / "tests").iterdir(), *(ROOT / "bench").iterdir(), *ROOT.iterdir()]
    }
    assert named <= existing, named - existing
    top = {
        path.name + ("/" if path.is_dir() else "")
        for path in package.iterdir()
        if not path.name.startswith(("__", "py."))
    }
    assert top <= named, f"the README's tree lacks {top - named}"


def test_the_command_line_page_is_what_help_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"
