"""What the gates are given, what they are told, and what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from pydantic import Field

from reflectune.records import Record, Reflection, Version

GateName = Literal["duplicate", "contamination", "drift", "length"]
GATES: tuple[GateName, ...] = get_args(GateName)
"""Every gate, in the order in which they look at a row."""

_LONGEST_QUOTE = 400


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rewritten row that the gates look at.

    Attributes:
        id: The row's id.
        old: The pair as it was read.
        new: The pair as it was rewritten.
    """

    id: str
    old: Version
    new: Version


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a candidate.

    Attributes:
        subject: Which one: the instruction (with its input) or the response.
        old: Its text as it was read.
        new: Its text as it was rewritten.
    """

    subject: Reflection
    old: str
    new: str

    @property
    def rewritten(self) -> bool:
        """Whether this half was rewritten at all; often only the response is."""
        return self.new != self.old


class Mark(Record):
    """What a gate says of a row.

    Attributes:
        id: The row's id.
        gate: The gate's name.
        subject: Which half of the pair it is about.
        detail: One sentence for a person.
        other: What it matches: the id of another row, or `FILE:ROW` of an evaluation set.
        score: How sure or how far: the share of equal shingles (duplicate), the share of the evaluation text that is
            there (contamination), or how many spreads from the median (length; negative below it).
        found: The words of the rewrite that match.
        there: The same words as they stand in what it matches.
    """

    id: str
    gate: GateName
    subject: Reflection
    detail: str
    other: str = ""
    score: float | None = None
    found: str = ""
    there: str = ""


class GateSettings(Record):
    """When the gates mark a row. Sizes are in words, and in characters where a script is written without spaces.

    Attributes:
        near: The share of equal shingles (Jaccard) from which two texts are near duplicates; 1 marks only equal ones.
        shingle_words: Words in a shingle.
        shingle_characters: Characters in one.
        shared_response: Two rows may have the same response by right as long as it is shorter than this.
        ngram_words: So many words in a row, shared with an evaluation set, are contamination.
        ngram_characters: So many characters in a row are.
        short_words: An evaluation text that is shorter counts where the whole of it is there, from this size on.
        short_characters: The same in characters.
        equal_words: An even shorter one counts where it is the whole instruction, from this size on.
        equal_characters: The same in characters.
        spread: How many spreads (of the logarithm of the length) from the median make an outlier.
        fewest: Outliers are looked for among at least so many rewrites of one kind.
        shortest_instruction: An instruction that is shorter is marked, whatever the others are like.
        shortest_response: The same for a response.
    """

    near: float = Field(default=0.8, ge=0.3, le=1)
    shingle_words: int = Field(default=3, ge=1)
    shingle_characters: int = Field(default=5, ge=1)
    shared_response: int = Field(default=20, ge=1)
    ngram_words: int = Field(default=13, ge=2)
    ngram_characters: int = Field(default=20, ge=2)
    short_words: int = Field(default=8, ge=1)
    short_characters: int = Field(default=12, ge=1)
    equal_words: int = Field(default=4, ge=1)
    equal_characters: int = Field(default=6, ge=1)
    spread: float = Field(default=5.0, gt=0)
    fewest: int = Field(default=30, ge=3)
    shortest_instruction: int = Field(default=2, ge=0)
    shortest_response: int = Field(default=1, ge=0)


class Gate(Protocol):
    """Sees every candidate once, in order."""

    def look(self, candidate: Candidate) -> Iterable[Mark]:
        """What there is to say of this candidate at once."""
        ...

    def conclude(self) -> Iterable[Mark]:
        """What can only be said when all of them were seen; called once, at the end."""
        ...


def halves(candidate: Candidate) -> tuple[Half, Half]:
    """The two halves of a candidate: the instruction with its input, and the response."""
    old, new = candidate.old, candidate.new
    return (
        Half("instruction", _question(old), _question(new)),
        Half("response", old.response, new.response),
    )


def quote(text: str, most: int = _LONGEST_QUOTE) -> str:
    """A text on one line, cut off where it is long."""
    flat = " ".join(text[: 4 * most].split())
    return flat if len(flat) <= most else f"{flat[:most].rstrip()} …"


def nothing() -> Iterator[Mark]:
    """No marks."""
    return iter(())


def _question(version: Version) -> str:
    return f"{version.instruction}\n\n{version.input}" if version.input.strip() else version.instruction
