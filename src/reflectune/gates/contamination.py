"""Contamination: words of evaluation sets in rewrites, found by hashes of n-grams and then compared word by word."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from reflectune.gates.evaluation import EvaluationText, read_evaluation
from reflectune.gates.marks import Candidate, GateSettings, Half, Mark, halves, nothing, quote
from reflectune.gates.table import HashTable
from reflectune.gates.texts import Size, Text, is_character, named, read

_TELLING_SHARE = 3
"""One in so many tokens of a run must be another word, and no number or single letter: counting is no contamination."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A run of tokens that a text shares with one of an evaluation set.

    Attributes:
        place: Which evaluation text.
        start: Where the run begins in the text.
        there: Where it begins in the evaluation text.
        length: How many tokens it has.
        share: It makes up this share of the evaluation text.
    """

    place: int
    start: int
    there: int
    length: int
    share: float


class EvaluationIndex:
    """The runs of words of evaluation sets.

    Holds the texts themselves, 16 to 32 bytes for each run of words, and about 200 bytes for each text.

    Args:
        settings: How long a run must be.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._run = Size(settings.ngram_words, settings.ngram_characters)
        self._short = Size(settings.short_words, settings.short_characters)
        self._equal = Size(settings.equal_words, settings.equal_characters)
        self._texts: list[EvaluationText] = []
        self._runs = HashTable()
        self._begins: dict[int, array[int]] = {}
        self._whole: dict[int, int] = {}
        self._read = lru_cache(maxsize=256)(self._read_again)

    def add(self, given: EvaluationText) -> None:
        """Take in a text; one that is too short to tell anything is passed over."""
        text = read(given.text)
        if not self._equal.reached_by(text):
            return
        place = len(self._texts)
        self._texts.append(given)
        if self._run.reached_by(text):
            for run in self._run.windows(text):
                self._runs.add(hash(run), place)
            return
        self._whole.setdefault(hash(tuple(text.tokens)), place)
        if self._short.reached_by(text):
            begin = next(self._short.windows(text))
            self._begins.setdefault(hash(begin), array("L")).append(place)

    def text(self, place: int) -> EvaluationText:
        """The evaluation text of a place."""
        return self._texts[place]

    def tokens(self, place: int) -> Text:
        """The same, read for comparison."""
        return self._read(place)

    def equal(self, text: Text) -> Overlap | None:
        """The short evaluation text that this text is, if it is one."""
        place = self._whole.get(hash(tuple(text.tokens)))
        if place is None or self._read(place).tokens != text.tokens:
            return None
        return Overlap(place, 0, 0, len(text.tokens), 1.0)

    def overlaps(self, text: Text) -> Iterator[Overlap]:
        """The runs that a text shares with evaluation texts, each as long as it goes."""
        runs = list(self._run.windows(text))
        reached = 0
        for start, place in self._runs.find(list(map(hash, runs))):
            if start < reached or not _telling(runs[start]):
                continue
            there = _find(self._read(place).tokens, runs[start])
            if there is not None:
                overlap = self._extended(text, Overlap(place, start, there, len(runs[start]), 0.0))
                reached = overlap.start + overlap.length - len(runs[start]) + 1
                yield overlap

    def held(self, text: Text) -> Iterator[Overlap]:
        """The short evaluation texts that a text holds whole."""
        if not self._begins:
            return
        for start, begin in enumerate(map(hash, self._short.windows(text))):
            for place in self._begins.get(begin, ()):
                whole = self._read(place).tokens
                if text.tokens[start : start + len(whole)] == whole and _telling(whole):
                    yield Overlap(place, start, 0, len(whole), 1.0)

    def _extended(self, text: Text, overlap: Overlap) -> Overlap:
        """The run with the equal tokens before and after it."""
        mine, theirs = text.tokens, self._read(overlap.place).tokens
        start, there = overlap.start, overlap.there
        while start and there and mine[start - 1] == theirs[there - 1]:
            start, there = start - 1, there - 1
        length = overlap.length + overlap.start - start
        longest = min(len(mine) - start, len(theirs) - there)
        while length < longest and mine[start + length] == theirs[there + length]:
            length += 1
        return Overlap(overlap.place, start, there, length, length / len(theirs))

    def _read_again(self, place: int) -> Text:
        return read(self._texts[place].text)


class Contamination:
    """Marks rewrites that hold a run of words of an evaluation set: the longest, if there are several.

    Args:
        settings: How long a run must be.
        against: The evaluation sets.

    Raises:
        InputError: One cannot be read.
    """

    def __init__(self, settings: GateSettings, against: Sequence[str | Path]) -> None:
        self._index = EvaluationIndex(settings)
        for source in against:
            for text in read_evaluation(source):
                self._index.add(text)

    def look(self, candidate: Candidate) -> Iterator[Mark]:
        """Look for evaluation texts in both halves, whether rewritten or not: what stays in the data counts."""
        for half in halves(candidate):
            text = read(half.new)
            if (found := self._worst(half, text)) is not None:
                yield self._mark(candidate.id, half, text, found)

    def conclude(self) -> Iterable[Mark]:
        """Nothing: each row is judged by itself."""
        return nothing()

    def _worst(self, half: Half, text: Text) -> Overlap | None:
        """The longest run. Short texts are looked for in instructions: many are answers that anybody would write."""
        found = list(self._index.overlaps(text))
        if half.subject == "instruction":
            found += self._index.held(text)
            if not found and (equal := self._index.equal(text)):
                return equal
        return max(found, key=lambda overlap: (overlap.length, overlap.share), default=None)

    def _mark(self, row: str, half: Half, text: Text, overlap: Overlap) -> Mark:
        given, theirs = self._index.text(overlap.place), self._index.tokens(overlap.place)
        last, last_there = overlap.start + overlap.length - 1, overlap.there + overlap.length - 1
        run = text.tokens[overlap.start : last + 1]
        whole = "all of" if overlap.share == 1 else f"{overlap.share:.0%} of"
        earlier = _find(read(half.old).tokens, run) is not None
        return Mark(
            id=row,
            gate="contamination",
            subject=half.subject,
            detail=(
                f"The {half.subject} shares {named(overlap.length, text)} with {given.source}, row {given.row} "
                f"({whole} its {given.field}){', as did the original' if earlier else ''}."
            ),
            other=given.place,
            score=round(overlap.share, 3),
            found=quote(text.part(overlap.start, last)),
            there=quote(theirs.part(overlap.there, last_there)),
        )


def _telling(run: Sequence[str]) -> bool:
    words = {token for token in run if not token.isdecimal() and (len(token) > 1 or is_character(token))}
    return len(words) * _TELLING_SHARE >= len(run)


def _find(tokens: list[str], run: Sequence[str]) -> int | None:
    """Where a run begins among tokens."""
    wanted = list(run)
    for start in range(len(tokens) - len(wanted) + 1):
        if tokens[start] == wanted[0] and tokens[start : start + len(wanted)] == wanted:
            return start
    return None
