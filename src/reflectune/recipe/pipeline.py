"""A whole journey: from data through the method to students that are compared."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from reflectune.recipe.base import Settings
from reflectune.recipe.benchmark import BenchmarkSettings
from reflectune.recipe.generate import GenerateSettings
from reflectune.recipe.judge import JudgeSettings
from reflectune.recipe.recycle import RecycleSettings
from reflectune.recipe.score import ScoreSettings
from reflectune.recipe.select import SelectSettings
from reflectune.recipe.traces import TraceSettings
from reflectune.recipe.train import TrainSettings

Arm = Literal["original", "recycled", "random", "longest", "same-tokens", "base", "reflective"]
"""What a student is, by what it learns from.

original: all rows as they were; recycled: what selection kept, else all that was recycled; random, longest: as many
original rows as recycled has, drawn at random or with the longest responses; same-tokens: original rows in random
order, again and again, until their responses have as many tokens as those of recycled; base: nothing; reflective:
traces that reflect.
"""

_NOT_HERE = {
    "train.student": "is stated for all: write student above",
    "train.seed": "is stated for all: write seeds above",
    "score.student": "is stated for all: write student above",
    "select.to": "is not for a journey, which writes what it reads: leave it out",
    "select.output": "is not for a journey, which writes what it reads: leave it out",
    "judging.name_a": "is not for a journey, whose students are called by their arms: leave it out",
    "judging.name_b": "is not for a journey, whose students are called by their arms: leave it out",
}
"""Settings of stages that a journey says itself, so that nothing would come of stating them."""
_NOT_OF_TRACES = ("map", "license", "recycle", "score", "select", "coherence")


class Model(Settings):
    """A model that is asked, and how fast. A name alone stands for a model with all else left as it is.

    Attributes:
        name: The model: `local`, `local:FILE.gguf`, a transformers folder or `hf:ID`, `MODEL` or `MODEL@URL`.
        base_url: Where an endpoint's model is served.
        key_env: The environment variable that holds the endpoint's key.
        max_concurrency: The most requests in flight.
        rpm: The most requests a minute; by default what the endpoint allows.
        tpm: The most tokens a minute, sent and received.
        timeout: Seconds until a request is given up and tried again.
    """

    name: str = Field(default="local", min_length=1)
    base_url: str | None = None
    key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_]\w{0,63}$")
    max_concurrency: int = Field(default=32, ge=1)
    rpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, given: object) -> object:
        return {"name": given} if isinstance(given, str) else given


class PipelineRecipe(Settings):
    """The recipe of a journey: what is made better, who works on it, and what is compared with what.

    Attributes:
        name: What the journey is called; its folder is `runs/` and this name, by default the recipe file's.
        data: The file or hub data set that is made better.
        map: Which of its columns hold what, where that is to be stated.
        limit: How many of its rows are taken; by default all.
        license: The licence of the data, for the data set card.
        oracle: The model that criticises and rewrites.
        student: The model that learns: a folder, a hub id, `hf:ID`, `local` or a `.gguf` file.
        judge: The model that judges the students' answers.
        budget: The most US dollars that all stages together may cost.
        prices: A file of prices that go before the public ones.
        max_failed: The share of rows that may fail in a stage before the journey stops there.
        arms: The students that are compared, by what they learn from.
        seeds: Each student is trained once with each of these.
        recycle: How rows are recycled.
        score: How the student scores them; by default they are scored where selection needs it.
        select: Which rows and versions are kept; by default all that was recycled.
        traces: How traces are made of questions, in place of recycling.
        train: How each student is trained; the student and the seeds are stated above.
        launch: What starts training on several devices, such as `torchrun --nproc-per-node 8`.
        prompts: Files of prompts that every student answers, each a test set.
        prompts_limit: How many prompts of each are taken; by default all.
        generate: How they are answered.
        judging: How answers are compared.
        benchmark: Which benchmarks every student takes; by default none.
        coherence: Whether the statistics tell the coherence of instruction and response, which takes an embedder.
        engine: Where rows are recycled, scored, answered and judged: here, or on a Ray cluster.
        address: The cluster's address; by default one is started on this machine.
        workers: How many workers there are; by default one a node, or one a GPU where their models use GPUs.
    """

    name: str | None = Field(default=None, pattern=r"^\w[\w.-]{0,99}$")
    data: str = Field(min_length=1)
    map: str | None = None
    limit: int | None = Field(default=None, ge=1)
    license: str | None = Field(default=None, min_length=1, max_length=200)
    oracle: Model = Model()
    student: str = Field(default="local", min_length=1)
    judge: Model = Model()
    budget: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    prices: Path | None = None
    max_failed: float = Field(default=0.05, ge=0, le=1)
    arms: tuple[Arm, ...] = Field(default=("original", "recycled", "random", "longest", "same-tokens"), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0,), min_length=1)
    recycle: RecycleSettings = RecycleSettings()
    score: ScoreSettings | None = None
    select: SelectSettings | None = None
    traces: TraceSettings | None = None
    train: TrainSettings = TrainSettings()
    launch: str | None = Field(default=None, min_length=1)
    prompts: tuple[str, ...] = ()
    prompts_limit: int | None = Field(default=None, ge=1)
    generate: GenerateSettings = GenerateSettings()
    judging: JudgeSettings = JudgeSettings()
    benchmark: BenchmarkSettings | None = None
    coherence: bool = True
    engine: Literal["here", "ray"] = "here"
    address: str | None = None
    workers: int | None = Field(default=None, ge=1)

    @field_validator("arms", "seeds", "prompts")
    @classmethod
    def _once(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        for place, value in enumerate(values):
            if value in values[:place]:
                raise ValueError(f"{value} is named twice")
        return values

    @field_validator("launch")
    @classmethod
    def _of_words(cls, launch: str | None) -> str | None:
        if launch is not None and not shlex.split(launch):  # quotes that are not closed are an error, too
            raise ValueError("it names no program")
        return launch

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.traces is None and "reflective" in self.arms:
            raise ValueError("the arm reflective learns from traces, and there are none: add `traces: {}`")
        if self.traces is not None and not set(self.arms) <= {"base", "reflective"}:
            raise ValueError("of traces the arms are base and reflective")
        if "recycled" not in self.arms and self.traces is None:
            raise ValueError("recycled is missing from the arms, and it is what the others are compared with")
        return self

    @model_validator(mode="after")
    def _all_heard(self) -> Self:
        """Refuse what nothing would come of."""
        for name, why in _NOT_HERE.items():
            section, _, key = name.partition(".")
            stage = getattr(self, section)
            if stage is not None and key in stage.model_fields_set:
                raise ValueError(f"{name} {why}")
        if self.traces is None and self.train.reflection:
            raise ValueError("train.reflection is for traces, and there are none: leave it out, or add `traces: {}`")
        fields = type(self).model_fields
        stated = [name for name in _NOT_OF_TRACES if getattr(self, name) != fields[name].default]
        if self.traces is not None and stated:
            raise ValueError(f"of traces nothing is recycled, scored and selected: leave out {' and '.join(stated)}")
        for name in ("address", "workers"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise ValueError(f"{name} is for a Ray cluster: add `engine: ray`, or leave it out")
        return self

    @property
    def ours(self) -> Arm:
        """The arm that the others are compared with."""
        return "recycled" if self.traces is None else "reflective"

    @property
    def scoring(self) -> ScoreSettings | None:
        """How the student scores; `None` where nothing needs it."""
        if self.score is None and self.select is None:
            return None
        return (self.score or ScoreSettings()).model_copy(update={"student": self.student})
