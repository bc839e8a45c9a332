"""The student: the model that will learn from the data, asked how hard it finds a text.

tokens.py      from texts to tokens, and which of them are scored
templates.py   how the student is asked
model.py       a Hugging Face causal LM in this process; forest.py and attention.py compute many texts at once,
               linear.py, gated.py and head.py make its products cheaper
server.py      one behind a server that returns the log-probabilities of prompts
weights.py     from the name of a student to its folder
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from reflectune.errors import SettingsError
from reflectune.oracles.naming import Address, settings_of
from reflectune.recipe import ScoreSettings
from reflectune.student.model import LocalStudent
from reflectune.student.runtime import torch_and_transformers
from reflectune.student.tokens import Target, Unscorable
from reflectune.student.weights import find_student

__all__ = ["LocalStudent", "Student", "Target", "Unscorable", "is_served", "open_student"]


class Student(Protocol):
    """A model that says how likely it finds a text.

    Attributes:
        name: What it is called.
        revision: What tells its weights from others; empty where that is not known.
        dtype: The numbers that it computes with; empty where that is not known.
        tokenizer: Its tokenizer, of transformers.
        longest: The most tokens that it reads; `None` where that is not known.
        batch_tokens: About how many tokens are worth giving it together.
    """

    name: str
    revision: str
    dtype: str
    tokenizer: Any
    longest: int | None
    batch_tokens: int

    def losses(self, targets: Sequence[Target]) -> list[float | Unscorable]:
        """The mean negative log-likelihood of each target's scored tokens, in nats, or why there is none."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def open_student(settings: ScoreSettings | str, address: Address | None = None) -> Student:
    """Load a student.

    Args:
        settings: Which model, and how it computes; or only its name.
        address: How a server is reached; the settings name the variable that holds its key.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        OracleError: The model cannot be loaded or fetched.
        SettingsError: The name stands for nothing.
    """
    if isinstance(settings, str):
        settings = ScoreSettings(student=settings)
    name = settings.student
    if is_served(name):
        from reflectune.student.server import ServerStudent

        api = settings_of(name, replace(address or Address(), key_env=settings.key_env))
        return ServerStudent(api, open_tokenizer(settings.tokenizer or api.model))
    if settings.tokenizer is not None:
        raise SettingsError(
            "--tokenizer is for a student that is a server: this one brings its own.", mend="Leave it out."
        )
    return LocalStudent(find_student(name), settings)


def is_served(name: str) -> bool:
    """Whether a name stands for a student that is a server, as `MODEL@URL`."""
    return "@" in name and not Path(name).expanduser().exists()


def open_tokenizer(name: str) -> Any:
    """The tokenizer in a folder or of a hub id.

    Raises:
        MissingExtraError: transformers is not installed.
        SettingsError: There is none.
    """
    _, transformers = torch_and_transformers()
    try:
        return transformers.AutoTokenizer.from_pretrained(name.removeprefix("hf:"))
    except Exception as error:  # whatever the hub's library raises
        raise SettingsError(
            f"There is no tokenizer {name}: {str(error).strip().partition(chr(10))[0]}",
            mend="Name the folder or hub id of the served model's tokenizer with --tokenizer.",
        ) from error
