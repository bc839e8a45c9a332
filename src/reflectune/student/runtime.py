"""torch and transformers, imported when they are first used."""

from __future__ import annotations

import os
from typing import Any

from reflectune.errors import MissingExtraError


def torch_and_transformers() -> tuple[Any, Any]:
    """Import both, with threads that do not spin for work: by default they starve a busy machine.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise MissingExtraError(
            f"The student needs {error.name}, which is not installed.", mend="Run: pip install 'reflectune[score]'"
        ) from error
    logging: Any = transformers.logging
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return torch, transformers
