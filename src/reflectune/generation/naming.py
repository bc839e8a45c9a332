"""From the name of a model to the model, wherever it runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from reflectune.errors import SettingsError
from reflectune.oracles import Oracle
from reflectune.oracles.naming import Address, open_oracle
from reflectune.oracles.weights import EMBEDDED

__all__ = ["file_name", "is_folder", "model_name", "open_model"]

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


def open_model(name: str, address: Address | None = None, recall: Callable[[str], str | None] | None = None) -> Oracle:
    """Make the model that a name stands for.

    Args:
        name: `local`, `local:FILE.gguf` or `local:ORG/NAME` for a GGUF file; an existing folder or `hf:ID` for a
            transformers model in this process; anything else is an endpoint's model, `MODEL` or `MODEL@URL`.
        address: Where an endpoint is, and how it is reached.
        recall: Gives what an earlier process found out about an endpoint.

    Raises:
        MissingExtraError: A package that it needs is not installed; names the command.
        OracleError: The model cannot be loaded.
        SettingsError: The name is a file, or an endpoint needs a key and there is none.
    """
    if is_folder(name):
        from reflectune.generation.hugging_face import HuggingFaceModel

        return HuggingFaceModel.open(name)
    if Path(name).is_file():
        kind = f"local:{name}" if name.endswith(".gguf") else "a model's folder"
        raise SettingsError(f"{name} is a file.", mend=f"Name {kind}.")
    if name.startswith(("./", "../", "/", "~")):
        raise SettingsError(f"There is no model at {name}.", mend="Check the path.")
    return open_oracle(name, address, recall)


def is_folder(name: str) -> bool:
    """Whether a name stands for a transformers model in this process."""
    embedded = name == "local" or name.startswith("local:")
    return name.startswith("hf:") or (not embedded and Path(name).is_dir())


def model_name(name: str) -> str:
    """What people call a model: without its address, and of a folder its own name and the one above it."""
    if name == "local":
        return EMBEDDED
    if name.startswith("hf:"):
        return name.removeprefix("hf:")
    if name.startswith("local:"):
        return _with_folder(Path(name.removeprefix("local:")))
    path = Path(name)
    if path.is_dir():
        return _with_folder(path)
    return name.partition("@")[0]


def _with_folder(path: Path) -> str:
    """The name of a model and of the folder that it is in: many students are called `student`."""
    name = path.stem if path.suffix == ".gguf" else path.resolve().name
    folder = path.resolve().parent.name
    return name if folder in {"", "runs"} or not path.exists() else f"{folder}-{name}"


def file_name(name: str) -> str:
    """A name that may be one of a file."""
    return _NOT_IN_NAMES.sub("-", name).strip("-.") or "model"
