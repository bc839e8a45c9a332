"""What a journey has come to, stage by stage: `pipeline.json` in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from reflectune.errors import RunError
from reflectune.files import write_whole
from reflectune.records import Record

__all__ = ["FILE", "PipelineState", "Spending", "StageState"]

FILE = "pipeline.json"


class Spending(Record):
    """What the models were asked for in a stage, over all of its attempts.

    Attributes:
        requests: How many replies there were, rejected ones among them.
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        cost: US dollars; `None` where a price is unknown.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0


class StageState(Record):
    """What a stage has come to.

    Attributes:
        name: The stage, as a person reads it.
        kind: The command that does it.
        command: The whole command line.
        state: `running` also where its process was killed.
        fingerprint: A hash of the command and of what its inputs hold.
        seconds: How long it took, over all of its attempts.
        exit: Its last exit code.
        attempts: How often it was begun.
        summary: The object that the command printed at its end.
        spent: What models were asked for.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    state: Literal["running", "stopped", "failed", "done"]
    fingerprint: str
    seconds: float = 0.0
    exit: int | None = None
    attempts: int = 1
    summary: dict[str, Any] = Field(default_factory=dict)
    spent: Spending | None = None


class PipelineState(Record):
    """What a journey has come to.

    Attributes:
        reflectune: The version that worked on it last.
        stages: The stages that were begun, by their key, in the order of the plan.
        files: Hashes of files that stages read, by path: size, time of the last change in nanoseconds, hash.
    """

    reflectune: str
    stages: dict[str, StageState] = Field(default_factory=dict)
    files: dict[str, tuple[int, int, str]] = Field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, version: str) -> PipelineState:
        """The state of a journey's folder; an empty one where it has none yet.

        Raises:
            RunError: It cannot be read.
        """
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_bytes()).model_copy(update={"reflectune": version})
        except FileNotFoundError:
            return cls(reflectune=version)
        except (OSError, ValidationError) as error:
            told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise RunError(
                f"{path} cannot be read: {told}.", mend="Take it away: every stage then looks for itself what is done."
            ) from error

    def save(self, folder: Path) -> None:
        """Write it into a journey's folder, whole or not at all.

        Raises:
            RunError: It cannot be written.
        """
        path = folder / FILE
        try:
            write_whole(path, self.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise RunError(f"Cannot write {path}: {error}.", mend="Free some disk space.") from error

    def with_stage(self, key: str, stage: StageState) -> PipelineState:
        """The same with a stage as it is now."""
        return self.model_copy(update={"stages": {**self.stages, key: stage}})
