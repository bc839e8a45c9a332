"""What is told between processes: small values that can be pickled."""

from __future__ import annotations

from dataclasses import dataclass, field

from reflectune import errors
from reflectune.errors import ReflectuneError, RunError
from reflectune.oracles.outcomes import Usage
from reflectune.records import Reply

__all__ = ["Ended", "Fault", "Page", "Progress", "Trouble", "Word"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of ours that ends the work: pickled, an error would lose what it was made of.

    Attributes:
        kind: The name of its class.
        what: What went wrong.
        mend: What can be done about it.
    """

    kind: str
    what: str
    mend: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Trouble:
        """An error as it is told."""
        if isinstance(error, ReflectuneError):
            return cls(type(error).__name__, error.what, error.mend)
        return cls("RunError", f"A worker failed: {type(error).__name__}: {error}", "The same command goes on.")

    def error(self) -> ReflectuneError:
        """The error again."""
        kind = getattr(errors, self.kind, RunError)
        plain = kind not in {errors.RequestRefused, errors.OracleBusy}
        made: ReflectuneError = (kind if plain else errors.OracleError)(self.what, mend=self.mend)
        return made


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an oracle was too busy, as `OracleBusy` says it."""

    what: str
    reason: str
    retry_after: float | None = None
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """What the keeper says to one who wants to ask.

    Attributes:
        known: The reply, where there is one already.
        stopped: Whether nothing is asked any more.
        again: Whether to come again, since its worker was taken for lost while it waited.
    """

    known: Reply | None = None
    stopped: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What the keeper says at the end of a turn that brought no reply.

    Attributes:
        counts: Whether the failure counts against the request.
        down: Whether the oracle is down.
        probes: How often it was tried in vain since.
        reached: Whether it has ever answered anybody.
        trouble: What ends the work.
    """

    counts: bool
    down: bool
    probes: int
    reached: bool
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows that are pending, by their places in the data.

    Attributes:
        first: The place of the first.
        last: The place of the last.
    """

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the work has come.

    Attributes:
        usage: What the oracle was asked for.
        landed: How many rows have ended.
        reasons: How many of them failed, by reason.
        spent: US dollars in all; `None` where the price is unknown.
        state: What a person should know of the pace.
        down: Whether the oracle is down.
        workers: How many workers are at work.
        started: How many have started so far, those that took a lost one's place among them.
        stopping: Whether nothing more is asked.
        out_of_budget: Whether that is because the money is spent.
        trouble: What ended the work.
        oracle: The name of the model, as a worker opened it.
    """

    usage: Usage
    landed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    spent: float | None = None
    state: str = ""
    down: bool = False
    workers: int = 0
    started: int = 0
    stopping: bool = False
    out_of_budget: bool = False
    trouble: Trouble | None = None
    oracle: str = ""
