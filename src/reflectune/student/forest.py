"""Texts that begin alike share their beginning: many token sequences as one packed sequence of tree-like segments.

A model reads the pack once. A segment attends to itself and to the segments that its texts begin with, so a prompt that
all texts share is computed once, and so is what the versions of a row have in common. Nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Tokens = Sequence[int]

SHORTEST = 8
"""Fewer common tokens than this are not worth a segment of their own."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the pack that is read in one go.

    Attributes:
        begin: Its first place in the pack.
        end: The place after its last.
        before: The runs that its texts begin with, as (begin, end), in order.
    """

    begin: int
    end: int
    before: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Forest:
    """A pack of texts.

    Attributes:
        tokens: Every token of the pack.
        positions: The place of each in its text.
        segments: How the pack is divided.
        runs: For each text, the runs of the pack that it consists of, in order.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    runs: list[tuple[tuple[int, int], ...]] = field(default_factory=list)

    @classmethod
    def of(cls, texts: Sequence[Tokens]) -> Forest:
        """Pack texts, in any order."""
        forest = cls(runs=[()] * len(texts))
        order = sorted(range(len(texts)), key=lambda text: tuple(texts[text]))
        forest._grow(texts, order, 0, ())
        return forest

    def places(self, text: int) -> list[int]:
        """The place in the pack of each token of a text."""
        return [place for begin, end in self.runs[text] for place in range(begin, end)]

    def chains(self) -> list[Segment]:
        """The segments, each as one with the first that continues it, and the first that continues that: one text."""
        found: list[Segment] = []
        for segment in self.segments:
            if segment.before and segment.before[-1][1] == segment.begin:
                found[-1] = Segment(found[-1].begin, segment.end, found[-1].before)
            else:
                found.append(segment)
        return found

    def _grow(
        self, texts: Sequence[Tokens], order: Sequence[int], depth: int, before: tuple[tuple[int, int], ...]
    ) -> None:
        """Pack what follows the first `depth` tokens, which these texts have in common, sorted as they are."""
        for group in _alike(texts, order, depth):
            first, last = texts[group[0]], texts[group[-1]]
            end = common(first, last, depth) if len(group) > 1 else len(first)
            run = self._append(first[depth:end], depth, before)
            whole = [text for text in group if len(texts[text]) == end]
            for text in whole:
                self.runs[text] = run
            if len(whole) < len(group):
                self._grow(texts, group[len(whole) :], end, run)

    def _append(self, tokens: Tokens, depth: int, before: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        begin = len(self.tokens)
        if not tokens:
            return before
        self.tokens.extend(tokens)
        self.positions.extend(range(depth, depth + len(tokens)))
        self.segments.append(Segment(begin, len(self.tokens), before))
        return (*before, (begin, len(self.tokens)))


def _alike(texts: Sequence[Tokens], order: Sequence[int], depth: int) -> Iterator[Sequence[int]]:
    """Groups of texts whose next tokens are the same. Sorted texts that begin alike stand side by side."""
    begin = 0
    for place in range(1, len(order) + 1):
        if place == len(order) or not _share(texts[order[begin]], texts[order[place]], depth):
            yield order[begin:place]
            begin = place


def _share(one: Tokens, other: Tokens, depth: int) -> bool:
    end = common(one, other, depth)
    return end - depth >= SHORTEST or end == len(one) == len(other)


def common(one: Tokens, other: Tokens, depth: int = 0) -> int:
    """How many tokens two texts begin with alike; at least `depth` are known to be."""
    shorter = min(len(one), len(other))
    return next((place for place in range(depth, shorter) if one[place] != other[place]), shorter)
