"""How much of a data set is the same over again."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from reflectune.errors import MissingExtraError
from reflectune.gates import Candidate, find_marks
from reflectune.gates.texts import normal, read
from reflectune.records import Version

if TYPE_CHECKING:
    from reflectune.embedding import Vectors


def mean_distance(vectors: Vectors) -> float | None:
    """The mean cosine distance of all pairs of rows, from their sum: no pair is looked at.

    The square of the sum of n vectors of length 1 is n, and twice the sum of the cosines of all pairs.

    Args:
        vectors: An array [n, d], rows of length 1 or NaN.

    Returns:
        From 0 to 2; `None` where fewer than two rows have a vector.
    """
    import numpy as np

    written = vectors[~np.isnan(vectors).any(axis=1)]
    count = len(written)
    if count < 2:  # noqa: PLR2004 - a pair
        return None
    total = written.sum(axis=0, dtype=np.float64)
    own = np.einsum("ij,ij->", written, written, dtype=np.float64)
    return float(1 - (total @ total - own) / (count * (count - 1)))


def distinct_bigrams(texts: Sequence[str]) -> float | None:
    """The share of different ones among all pairs of neighbouring words (characters in scripts without spaces).

    Returns:
        From 0 to 1; `None` where no text has two words.
    """
    import numpy as np

    # Hashes take eight bytes each; two of so few are hardly ever equal by chance.
    found = array("q")
    for text in texts:
        found.extend(map(hash, pairwise(read(text).tokens)))
    return len(np.unique(np.frombuffer(found, np.int64))) / len(found) if found else None


def exact_duplicates(texts: Sequence[str]) -> float | None:
    """The share of texts that are an earlier one but for case, white space and common punctuation; `None` of none."""
    return (len(texts) - len(set(map(normal, texts)))) / len(texts) if texts else None


def near_duplicates(rows: Sequence[tuple[str, Version]], progress: Callable[[int, int], None]) -> float | None:
    """The share of rows whose instruction with its input is nearly that of an earlier row, or equal.

    Returns:
        What the gate `duplicate` marks at its default; `None` where rensa is not installed, or there are no rows.
    """
    nothing = Version(instruction="", response="")

    def candidates() -> Iterator[Candidate]:
        for done, (name, version) in enumerate(rows, start=1):
            # Without its response, so that a row which has only that from another is still compared with.
            yield Candidate(name, nothing, version.model_copy(update={"response": ""}))
            progress(done, len(rows))

    try:
        marks = sum(1 for _ in find_marks(candidates(), gates=["duplicate"]))
    except MissingExtraError:
        return None
    return marks / len(rows) if rows else None
