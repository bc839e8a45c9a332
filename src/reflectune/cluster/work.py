"""What a worker does with rows: the stages themselves, with what they need in a process of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from reflectune.chooser import StudentChooser
from reflectune.cluster.places import whole
from reflectune.cluster.pupil import Pupil
from reflectune.errors import RunError
from reflectune.evaluate.judge import judge
from reflectune.generation import generate, open_model
from reflectune.generation.naming import is_folder
from reflectune.oracles import Oracle
from reflectune.oracles.engine import Engine
from reflectune.oracles.naming import Address, open_oracle
from reflectune.recipe import GenerateSettings, JudgeSettings, RecycleSettings
from reflectune.records import Failure, Record, Recycled
from reflectune.recycling import fingerprint, recycle

__all__ = ["Generating", "Judging", "Method", "Model", "Recycling", "Work", "ends_as"]

Method = Callable[[Sequence[Any], Engine], AsyncGenerator[Record]]
"""A stage: what became of each row, as it lands."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model, to be opened where it is asked.

    Attributes:
        name: What it is called.
        address: Where its endpoint is.
        any_kind: Whether it may be a transformers model too.
        slots: How many requests it can usefully have in flight; `None` where the caller chooses.
    """

    name: str
    address: Address
    any_kind: bool = False
    slots: int | None = None

    def open(self, recall: Callable[[str], str | None]) -> Oracle:
        """Open it in this process.

        Raises:
            ReflectuneError: It cannot be used.
        """
        return (open_model if self.any_kind else open_oracle)(self.name, self.address, recall)

    @classmethod
    def of(cls, name: str, address: Address, *, any_kind: bool = False, slots: int | None = None) -> Model:
        """The model of a name, whose path starts from this process's working folder."""
        in_the_worker = name.startswith("local:") or (any_kind and is_folder(name))
        return cls(whole(name) if in_the_worker else name, address, any_kind, slots)

    @property
    def inside(self) -> bool:
        """Whether it computes in the process that opens it."""
        return bool(self.slots) or self.wants_gpu

    @property
    def wants_gpu(self) -> bool:
        """Whether it is a transformers model, which takes a GPU where there is one."""
        return self.any_kind and is_folder(self.name)


class Work(Protocol):
    """A stage and who is asked.

    Attributes:
        model: Who is asked.
        told: Whether the driver wants to see what became of each row: it is not in the run's database.
        inside: Whether a model computes in the worker itself.
        wants_gpu: Whether that takes a GPU where there is one.
    """

    @property
    def model(self) -> Model: ...  # noqa: D102 - see above

    @property
    def told(self) -> bool: ...  # noqa: D102 - see above

    @property
    def inside(self) -> bool: ...  # noqa: D102 - see above

    @property
    def wants_gpu(self) -> bool: ...  # noqa: D102 - see above

    def method(self) -> Method:
        """The stage, with whatever it needs opened in this process."""
        ...


@dataclass(frozen=True, slots=True)
class Recycling:
    """Rows are recycled; see `recycling.recycle`.

    Attributes:
        model: The oracle.
        settings: What to ask for.
        chooser: The student that chooses between versions, where there is one.
        fingerprint: What rows depend on besides themselves, as the driver found it.
        told: Nothing: what became of the rows is in the run's database.
    """

    model: Model
    settings: RecycleSettings
    chooser: Pupil | None = None
    fingerprint: str = ""
    told: bool = False

    @property
    def inside(self) -> bool:
        """Whether the oracle or the student that chooses computes in the worker."""
        return self.model.inside or (self.chooser is not None and self.chooser.inside)

    @property
    def wants_gpu(self) -> bool:
        """Whether the student that chooses takes a GPU."""
        return self.chooser is not None and self.chooser.wants_gpu

    def method(self) -> Method:
        """Recycle, with a student of this process where one chooses."""
        chooser = None if self.chooser is None else StudentChooser(self.chooser.open(), self.chooser.settings)
        return partial(_recycled, self, chooser)


@dataclass(frozen=True, slots=True)
class Generating:
    """Prompts are answered; see `generation.generate`.

    Attributes:
        model: Who answers.
        settings: How.
        told: The replies.
    """

    model: Model
    settings: GenerateSettings
    told: bool = True

    @property
    def inside(self) -> bool:
        """Whether the model computes in the worker."""
        return self.model.inside

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU."""
        return self.model.wants_gpu

    def method(self) -> Method:
        """Answer prompts."""
        return partial(_generated, self.settings)


@dataclass(frozen=True, slots=True)
class Judging:
    """Pairs are judged; see `evaluate.judge`.

    Attributes:
        model: The judge.
        settings: How it judges.
        told: The verdicts.
    """

    model: Model
    settings: JudgeSettings
    told: bool = True

    @property
    def inside(self) -> bool:
        """Whether the judge computes in the worker."""
        return self.model.inside

    @property
    def wants_gpu(self) -> bool:
        """Whether it takes a GPU."""
        return self.model.wants_gpu

    def method(self) -> Method:
        """Judge pairs."""
        return partial(_judged, self.settings)


def _recycled(
    work: Recycling, chooser: StudentChooser | None, rows: Sequence[Any], engine: Engine
) -> AsyncGenerator[Record]:
    if fingerprint(engine.oracle, work.settings, chooser) != work.fingerprint:
        raise RunError(
            "A worker would make other rows than this command: its model, prompts or student are not the same.",
            mend="Install the same version of reflectune on every node, and let all of them see the same files.",
        )
    return recycle(rows, engine, work.settings, chooser)


def _generated(settings: GenerateSettings, rows: Sequence[Any], engine: Engine) -> AsyncGenerator[Record]:
    return generate(rows, engine, settings.sampling(engine.oracle.sampling))


def _judged(settings: JudgeSettings, rows: Sequence[Any], engine: Engine) -> AsyncGenerator[Record]:
    return judge(rows, engine, settings)


def ends_as(record: Record) -> tuple[str, str | None]:
    """The id of the row that a record is of, and why it failed, where it did."""
    if isinstance(record, Failure):
        return record.id, record.reason
    failed = record.failure.reason if isinstance(record, Recycled) and record.failure else None
    name: str = getattr(record, "id")  # noqa: B009 - every record of a row has one
    return name, failed
