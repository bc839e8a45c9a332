"""Upload a run to the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from reflectune.cli.dataset import is_run
from reflectune.cli.screen import err
from reflectune.errors import RunError, SettingsError
from reflectune.optional import load_optional
from reflectune.runs.deciding import refuse_behind

FILES = ("README.md", "recycled.jsonl", "failures.jsonl", "run.json", "recipe.yaml", "gates.jsonl")
"""What is uploaded of a run, where it is there. The replies themselves stay."""


def push_run(run: Path, repository: str, *, private: bool, dry_run: bool) -> None:
    """Upload what a run has come to as a data set, in one commit.

    Raises:
        MissingExtraError: The extra `hf` is not installed.
        RunError: The run has no data yet, rows were decided about since it was written, or the hub refuses it.
        SettingsError: The name is none of the hub's.
    """
    if not (run / "recycled.jsonl").is_file():
        raise RunError(f"The run {run} has written no data yet.", mend="Start it with `reflectune recycle`.")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise SettingsError(f"{repository!r} is no name on the hub.", mend="Write OWNER/NAME.")
    if is_run(str(run)):
        refuse_behind(run, "recycled.jsonl")
    files = [name for name in FILES if (run / name).is_file()]
    for name in files:
        err.print(f"{(run / name).stat().st_size:>13,} bytes  {name}")
    if dry_run:
        err.print(f"These would go to {repository}.")
        return
    hub = load_optional("huggingface_hub", repository)
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Of the HTTP library that the hub's is built on; which one that is depends on its version.
    transport: Any = next(
        (kind for kind in HfHubHTTPError.__mro__ if kind.__name__ in {"HTTPError", "RequestException"}), OSError
    )
    try:
        api = hub.HfApi()
        url = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        message = "Upload data made by reflectune"
        api.upload_folder(
            repo_id=repository, repo_type="dataset", folder_path=run, allow_patterns=files, commit_message=message
        )
    except (HfHubHTTPError, HFValidationError, transport, OSError) as error:
        mend = "Log in with `hf auth login` or set HF_TOKEN, and check the name (OWNER/NAME) and the network."
        raise RunError(f"The hub did not take {repository}: {error}", mend=mend) from error
    err.print(f"{url}")
