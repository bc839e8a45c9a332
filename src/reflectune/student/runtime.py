"""torch and transformers, imported when they are first used."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from reflectune.errors import MissingExtraError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The numbers of glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
_KEPT = 1 << 30


def torch_and_transformers() -> tuple[Any, Any]:
    """Import both, for work on a machine that is used for other things too.

    Threads do not spin for work, which starves others; and memory that is freed is kept for what comes next: by
    default glibc gives a layer's results back to the kernel, which clears the same pages for the next layer.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    _keep_freed_memory()
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


def _keep_freed_memory() -> None:
    tell = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # An older glibc may refuse the first; by itself, the second would make things slower.
    if tell and tell(_MMAP_THRESHOLD, _KEPT):
        tell(_TRIM_THRESHOLD, _KEPT)
