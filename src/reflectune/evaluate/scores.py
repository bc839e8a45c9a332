"""What an evaluation came to: one record for each figure, written into the run's folder as `evaluation.json`.

Every figure carries its interval, what it was measured on, how many items had no answer, whose judgement it is, and
where the raw replies lie, so that tables and pages are made of these records alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field, ValidationError

from reflectune.errors import RunError
from reflectune.files import write_whole
from reflectune.records import Record

__all__ = ["FILE", "Arm", "Evaluation", "Form", "Score", "rows_learnt_from"]

FILE = "evaluation.json"
_FACTS = "facts.json"
"""What training leaves in a student's folder."""

Form = Literal["generative", "logprob", "pairwise", "alpaca-eval"]
"""How a figure comes about. Figures of different forms never stand in one table."""
Arm = Literal["plain", "prompt-only", "reflective"]
"""plain: as the model comes; prompt-only: told to reflect; reflective: a model that was taught to, told to reflect."""


class Score(Record):
    """One figure of one model.

    Attributes:
        model: The model, as a person names it.
        benchmark: What it was measured on, such as `gsm8k`, `ifeval`, `mmlu`, `alpaca-eval` or the name of a test set.
        form: How the figure comes about.
        metric: What the figure is, such as `accuracy`, `prompt-strict`, `win-rate`, `lc-win-rate`, `winning-score`.
        value: The figure; shares are in percent.
        low: Where it lies at least, with a confidence of 95%; `None` where that cannot be said.
        high: Where it lies at most.
        standard_error: Of the figure, in its own unit.
        items: How many items the figure is made of.
        failed: How many more items there were that have no answer or no verdict.
        shots: How many worked examples each prompt held.
        arm: How the model was asked; `None` where there is no such choice.
        judge: Who judged, with its version; `None` where a rule did.
        against: What it was compared with.
        official: Whether the figure follows the published procedure in everything; `None` where there is none.
        note: What must be known to read it, such as that it is approximate, and why.
        mean_length: Of the answers, in characters.
        tokens: That the model wrote for all the answers, its reasoning included.
        without_output: The share of replies without an `<output>`, in percent.
        reflections: `<reflection>` blocks a reply, on average.
        replies: The file of the raw replies, relative to the folder of the run.
    """

    model: str
    benchmark: str
    form: Form
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    items: int
    failed: int = 0
    shots: int | None = None
    arm: Arm | None = None
    judge: str | None = None
    against: str | None = None
    official: bool | None = None
    note: str = ""
    mean_length: float | None = None
    tokens: int | None = None
    without_output: float | None = None
    reflections: float | None = None
    replies: str | None = None


class Evaluation(Record):
    """What one evaluation came to.

    Attributes:
        command: The command that made it: `judge`, `alpaca-eval` or `benchmark`.
        versions: Versions of reflectune and of the libraries that computed the figures, by name.
        settings: What was asked for, as the settings of the command.
        scores: The figures.
        learnt_from: Rows that a model was trained on, by the model, where its folder says so.
    """

    command: str
    versions: dict[str, str]
    settings: dict[str, object]
    scores: tuple[Score, ...]
    learnt_from: dict[str, int] = Field(default_factory=dict)

    def save(self, run: Path) -> Path:
        """Write it into a run's folder; returns the file.

        Raises:
            RunError: It cannot be written.
        """
        path = run / FILE
        try:
            run.mkdir(parents=True, exist_ok=True)
            write_whole(path, self.model_dump_json(indent=1) + "\n")
        except OSError as error:
            raise RunError(f"Cannot write {path}: {error}.", mend="Name another folder with --run.") from error
        return path

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read one.

        Raises:
            RunError: It cannot be read, or was written by another version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RunError(f"Cannot read {path}: {error}.", mend="Check the path.") from error
        except ValidationError as error:
            raise RunError(
                f"{path} is no evaluation that this version of reflectune wrote: {error.errors()[0]['msg']}.",
                mend="Evaluate again, or take the file away.",
            ) from error


def rows_learnt_from(model: str) -> int | None:
    """How many rows a student was trained on, as its folder says; `None` where that is not known.

    Args:
        model: The model as a command names it: a folder of `reflectune train`, `merged` in it, or a GGUF file of it.
    """
    path = Path(model.removeprefix("local:"))
    for folder in (path, path.parent):
        try:
            rows = orjson.loads((folder / _FACTS).read_bytes())["rows"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return rows if isinstance(rows, int) else None
    return None
