"""What several test files need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from browser import app, browser, page
from loopback import Loopback

__all__ = ["app", "browser", "page"]

ROOT = Path(__file__).parents[1]

# Threads that compute share the processors with the other test processes, and do not spin where they wait: else two
# processes on two processors take each other's time. Torch reads it when it is first imported.
_AT_ONCE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _AT_ONCE)))
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# How long one example takes says how busy the machine is.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


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
