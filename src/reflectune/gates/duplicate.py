"""Duplicates: rewrites that say the same, or nearly, as that of an earlier row.

Two texts are compared by their sets of shingles (runs of a few words): the share that is in both is their Jaccard
similarity. MinHash and locality-sensitive hashing (rensa) propose pairs; each is then compared in full. A row is
compared with rows that were not marked themselves, so every marked row has its like among those that stay, and no two
that stay are alike, as far as the proposals go.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, log
from typing import Any

import orjson

from reflectune.errors import MissingExtraError
from reflectune.gates.marks import Candidate, GateSettings, Half, Mark, halves, nothing
from reflectune.gates.shelf import Shelf
from reflectune.gates.texts import Size, normal, read
from reflectune.language import length

_SEED = 42
_MISSED = 0.01
"""The share of pairs just at the threshold that may go without a proposal; fewer of those that are more alike."""
_FEW_BANDS = 9
"""More are only taken where two numbers a band are still too many: each takes about 80 bytes for each text."""


class Duplicate:
    """Marks rewrites that duplicate the rewrite of an earlier row. The first of those that are alike is not marked.

    Holds about two kilobytes for each row that is not marked; its texts lie in a temporary file.

    Args:
        settings: How alike is too much.

    Raises:
        MissingExtraError: rensa is not installed, and more than equal texts is asked for.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._ids: list[str] = []
        self._instructions = _Seen(settings)
        self._responses = _Seen(settings)

    def look(self, candidate: Candidate) -> Iterator[Mark]:
        """Compare a row with those before it."""
        instruction, response = halves(candidate)
        texts = [(self._instructions, _Compared(instruction, self._settings))]
        if length(response.new) >= self._settings.shared_response:
            texts.append((self._responses, _Compared(response, self._settings)))
        marks = [self._mark(candidate, text, seen, found) for seen, text in texts if (found := seen.like(text))]
        if marks:
            yield from marks
            return
        for seen, text in texts:
            seen.keep(text, len(self._ids))
        self._ids.append(candidate.id)

    def conclude(self) -> Iterable[Mark]:
        """Nothing: a row is only compared with those before it."""
        return nothing()

    def _mark(self, candidate: Candidate, text: _Compared, seen: _Seen, found: _Like) -> Mark:
        half = text.half
        other = self._ids[seen.row(found.place)]
        kind = "the same as" if found.equal else f"nearly the same ({found.alike:.2f}) as"
        source = ""
        if seen.alike_before(text, found.place):
            source = "; their originals were alike too" if half.rewritten else "; it was so in the source"
        return Mark(
            id=candidate.id,
            gate="duplicate",
            subject=half.subject,
            detail=f"The {half.subject} is {kind} that of row {other}{source}.",
            other=other,
            score=round(found.alike, 3),
        )


@dataclass(frozen=True, slots=True)
class _Like:
    """A text seen before that is like another one.

    Attributes:
        place: Which one.
        alike: Their similarity.
        equal: Whether they are the same but for case, white space and punctuation.
    """

    place: int
    alike: float
    equal: bool


class _Compared:
    """A half of a candidate with what it is compared by, made when it is first asked for."""

    def __init__(self, half: Half, settings: GateSettings) -> None:
        self.half = half
        self.key = hash(normal(half.new))
        self._settings = settings
        self._shingles: set[str] | None = None

    @property
    def shingles(self) -> set[str]:
        if self._shingles is None:
            self._shingles = shingles(self.half.new, self._settings)
        return self._shingles


class _Seen:
    """The texts of one half of the rows that were not marked."""

    def __init__(self, settings: GateSettings) -> None:
        self._settings = settings
        self._rows = array("L")
        self._equal: dict[int, int] = {}
        self._shelf = Shelf()
        self._proposals = _Proposals(settings.near) if settings.near < 1 else None

    def row(self, place: int) -> int:
        """Which row a text belongs to."""
        return self._rows[place]

    def like(self, text: _Compared) -> _Like | None:
        """The text seen before that is most like this one; `None` where none is enough."""
        same = self._equal.get(text.key)
        if same is not None:
            return _Like(same, 1.0, equal=True)
        if self._proposals is None or not text.shingles:
            return None
        best = None
        for place in sorted(self._proposals.of(text.shingles)):
            alike = jaccard(text.shingles, shingles(self._texts(place)[0], self._settings))
            if alike >= self._settings.near and (best is None or alike > best.alike):
                best = _Like(place, alike, equal=False)
        return best

    def keep(self, text: _Compared, row: int) -> None:
        """Remember a text for the rows after it."""
        place = len(self._rows)
        self._rows.append(row)
        self._equal[text.key] = place
        self._shelf.put(orjson.dumps([text.half.new, text.half.old if text.half.rewritten else None]))
        if self._proposals is not None and text.shingles:
            self._proposals.add(text.shingles, place)

    def alike_before(self, text: _Compared, place: int) -> bool:
        """Whether the originals of two texts were alike too."""
        new, old = self._texts(place)
        earlier = new if old is None else old
        if normal(earlier) == normal(text.half.old):
            return bool(earlier.strip())
        both = (shingles(original, self._settings) for original in (earlier, text.half.old))
        return jaccard(*both) >= self._settings.near

    def _texts(self, place: int) -> tuple[str, str | None]:
        """The rewrite and, where it is another text, the original."""
        new, old = orjson.loads(self._shelf.get(place))
        return new, old


class _Proposals:
    """Texts that are likely to be alike, by MinHash and locality-sensitive hashing.

    Args:
        near: From which similarity on a pair is to be proposed, but for one in a hundred at the most.

    Raises:
        MissingExtraError: rensa is not installed.
    """

    def __init__(self, near: float) -> None:
        rensa = _rensa()
        count, rows = bands(near)
        self._numbers = count * rows
        self._minhash = rensa.RMinHash
        self._index = rensa.RMinHashLSH(near, self._numbers, count)

    def of(self, shingles: set[str]) -> list[int]:
        """The places of the texts that may be like this one."""
        found: list[int] = self._index.query(self._sketch(shingles))
        return found

    def add(self, shingles: set[str], place: int) -> None:
        """Propose a text from now on."""
        self._index.insert(place, self._sketch(shingles))

    def _sketch(self, shingles: set[str]) -> Any:
        sketch = self._minhash(self._numbers, _SEED)
        sketch.update(list(shingles))
        return sketch


def bands(near: float) -> tuple[int, int]:
    """Into how many bands of how many numbers a sketch is cut, so that hardly a pair at the threshold is missed.

    A pair of similarity s agrees in a band of r numbers with probability s**r, and is proposed where one band agrees.
    Long bands propose fewer pairs that are not alike, but more of them are needed.
    """
    for numbers in range(8, 1, -1):
        count = ceil(log(_MISSED) / log(1 - near**numbers))
        if count <= _FEW_BANDS:
            break
    return count, numbers


def shingles(text: str, settings: GateSettings) -> set[str]:
    """The runs of a few words of a text (or characters); a shorter text is one shingle, an empty one none."""
    seen = read(text)
    found = set(map(" ".join, Size(settings.shingle_words, settings.shingle_characters).windows(seen)))
    return found or ({" ".join(seen.tokens)} if seen.tokens else set())


def jaccard(one: set[str], other: set[str]) -> float:
    """The share of shingles that are in both among those that are in either; 0 where there are none."""
    both = len(one & other)
    either = len(one) + len(other) - both
    return both / either if either else 0.0


def _rensa() -> Any:
    try:
        return importlib.import_module("rensa")
    except ImportError as fault:
        raise MissingExtraError(
            "Near duplicates: rensa is not installed",
            mend="pip install 'reflectune[quality]'   (--near 1 finds equal texts without it)",
        ) from fault
