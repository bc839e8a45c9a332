"""What a run holds, entry by entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from reflectune.records import Example, Failure, Record, Recycled, Version, VersionName
from reflectune.runs.decisions import HUMAN, Decision


class IncomingRow(Protocol):
    """A row as `formats` reads it."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def raw(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def example(self) -> Example | None: ...  # noqa: D102
    @property
    def failure(self) -> Failure | None: ...  # noqa: D102


class Marked(Protocol):
    """What a quality gate says of a row."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def gate(self) -> str: ...  # noqa: D102
    def model_dump_json(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes the results of a stage; they hold as long as none of it changes.

    Attributes:
        fingerprint: A hash of the oracle, the settings and the prompts; the results' fingerprints begin with it.
        oracle: The oracle's name.
        prompts: A hash of the prompts' wording.
    """

    fingerprint: str
    oracle: str
    prompts: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands for a row in the data.

    Attributes:
        name: Which version it is; `human` where a person wrote it.
        version: Its text.
    """

    name: VersionName | Literal["human"]
    version: Version


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the input with what became of it.

    Attributes:
        id: The row's id.
        raw: The row as it was read.
        example: The pair in it; `None` where it could not be read as one.
        result: What a stage made of it; `None` while that is pending.
        failure: Why there is nothing to export; `None` where there is, or while the row is pending.
        maker: What made the result; `None` while that is pending.
        gates: The quality gates that marked it, sorted.
        decision: What a person decided about it, as long as that holds.
        stale: What a person decided about an earlier result of it, and so is not applied.
        hash: What tells its result from the next one: for decisions, and of a row that was asked for by its id.
    """

    id: str
    raw: dict[str, Any]
    example: Example | None
    result: Recycled | None
    failure: Failure | None
    maker: Maker | None = None
    gates: tuple[str, ...] = ()
    decision: Decision | None = None
    stale: Decision | None = None
    hash: str = ""

    @property
    def rejected(self) -> bool:
        """Whether a person wants it left out of the data."""
        return self.decision is not None and self.decision.verdict == "reject"

    @property
    def standing(self) -> Standing | None:
        """What stands for the row in the data, before quality gates; `None` where nothing does.

        That is what a person wrote, else the version that the reflections led to; of a row that failed, is pending or
        was rejected, nothing.
        """
        if self.rejected:
            return None
        if self.decision is not None and self.decision.version is not None:
            return Standing(HUMAN, self.decision.version)
        if self.result is not None and self.result.rewritten:
            return Standing(self.result.best_name, self.result.best)
        return None


class Selected(Record):
    """What `select` said of a row.

    Attributes:
        kept: Whether it is kept.
        version: The version that is, or that came furthest; `human` where a person wrote it.
        reason: Why: a short name that can be counted.
        detail: The figures that decided.
    """

    kept: bool
    version: VersionName | Literal["human"] | None
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a stage has come. `rows == done + failed + pending`, always."""

    rows: int
    done: int
    failed: int
    pending: int
    reasons: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spent:
    """What the replies of one oracle took, by the oracle's own count.

    Attributes:
        oracle: The oracle's name.
        batch: Whether they came from a provider's batches, at half the price.
        requests: How many replies there were, rejected ones among them.
        prompt_tokens: Tokens sent.
        cached_tokens: Those of them that came from the oracle's prefix cache.
        completion_tokens: Tokens received.
    """

    oracle: str
    batch: bool
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What some replies took, in one figure for each.

    Attributes:
        count: How many replies there were.
        total: The sum of their figures.
        squares: The sum of their squares.
    """

    count: int
    total: float
    squares: float

    @property
    def variance(self) -> float:
        """Of the figures; 0 where there are fewer than two."""
        if self.count < 2:  # noqa: PLR2004
            return 0.0
        return max(self.squares - self.total**2 / self.count, 0.0) / (self.count - 1)
