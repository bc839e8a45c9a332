"""What several test files need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from browser import app, browser, page
from loopback import Loopback

__all__ = ["app", "browser", "page"]

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start a server or a browser."""
    for item in items:
        if {"loopback", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest.fixture
def loopback() -> Iterator[Callable[..., Loopback]]:
    """Start OpenAI-compatible servers: `loopback("--latency-ms", "50")`; each is ended with the test."""
    with ExitStack() as running:
        yield lambda *flags: running.enter_context(Loopback(*flags))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets, which is no part of the repository."""
    folder = Path(os.environ.get("REFLECTUNE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (REFLECTUNE_TEST_DATA names the folder)")
    return folder
