"""Libraries that only some containers need."""

from __future__ import annotations

import importlib
from typing import Any

from reflectune.errors import MissingExtraError


def load_optional(module: str, needed_by: str) -> Any:
    """Import a module of the extra `hf`.

    Args:
        module: Its name.
        needed_by: What cannot be read or written without it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{needed_by}: {package} is not installed", mend="pip install 'reflectune[hf]'"
        ) from fault
