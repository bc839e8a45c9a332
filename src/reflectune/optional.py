"""Libraries that only some parts need: imported when they are used."""

from __future__ import annotations

import importlib
from typing import Any

from reflectune.errors import MissingExtraError


def load_optional(module: str, needed_by: str, extra: str = "hf") -> Any:
    """Import a module of an extra.

    Args:
        module: Its name.
        needed_by: What cannot be done without it.
        extra: The extra that brings it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as fault:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"{needed_by}: {package} is not installed", mend=f"pip install 'reflectune[{extra}]'"
        ) from fault
