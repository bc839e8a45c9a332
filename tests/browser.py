"""A real Chromium over the real app, for tests of the pages.

`started(runs)` is a process of `reflectune ui` over a folder of runs. The fixtures `app`, which starts one that ends
with the test, `browser` and `page` are there for every test. A page is a tab that fails the test where the browser
reports a fault, a page asks for anything from elsewhere, or a dialog opens.

A condition that a test waits for is looked at in every document that comes, also in one that has only begun, where
there is no element yet, not even the root: it has to bear that (`?.`), else the test fails where the machine is busy.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class App:
    """The app as a process.

    Attributes:
        url: Its address, without a slash at the end.
        runs: The folder of its runs.
    """

    url: str
    runs: Path


@contextmanager
def started(runs: Path, *flags: str, env: dict[str, str] | None = None) -> Iterator[App]:
    """The app over a folder of runs, until the block ends."""
    command = [sys.executable, "-m", "reflectune", "ui", "--runs", str(runs), "--no-open", "--port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip().rstrip("/")
        assert url, process.stderr.read()
        yield App(url, runs)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, told = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert "Traceback" not in told, told


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Starts the app over a folder of runs; it ends with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def start(runs: Path = tmp_path, *flags: str, env: dict[str, str] | None = None) -> App:
            return stack.enter_context(started(runs, *flags, env=env))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window; it ends with the module, as a loop runs in this thread as long as it is there."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield chromium
        chromium.close()


@dataclass
class Watched:
    """What a tab did that it must not do."""

    faults: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "file:")):
            self.faults.append(f"request: {request.url}")


@contextmanager
def tab(browser: Any, **how: Any) -> Iterator[tuple[Any, Watched]]:
    """A tab of its own, and what it does that it must not do."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB", **how})
    page = context.new_page()
    page.set_default_timeout(60_000)  # a bound for what never comes; a busy machine is no fault
    watched = Watched()
    watched.watch(page)
    try:
        yield page, watched
    finally:
        context.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab; what it does that it must not do fails the test."""
    with tab(browser) as (opened, watched):
        yield opened
    assert not watched.faults, watched.faults
