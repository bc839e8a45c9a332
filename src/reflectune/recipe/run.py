"""A run: its data, its oracle, and its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, field_validator

from reflectune.recipe.base import Settings, Shape
from reflectune.recipe.recycle import RecycleSettings
from reflectune.recipe.score import ScoreSettings
from reflectune.recipe.select import SelectSettings

StageName = Literal["recycle", "score", "select"]


class Recipe(Settings):
    """What a run does, as its `recipe.yaml` says.

    Attributes:
        data: The file or hub data set that is read.
        map: Which of its columns hold what, where that was stated.
        limit: How many of its rows are taken; by default all.
        shard: Which share of those rows is this run's, as `2/8`: every eighth row, from the second on.
        oracle: The model that is asked.
        base_url: Where an endpoint's model is served.
        key_env: The environment variable that holds the endpoint's key.
        max_concurrency: The most requests in flight.
        rpm: The most requests a minute; by default what the endpoint allows.
        tpm: The most tokens a minute, sent and received; by default what the endpoint allows.
        batch: Whether to ask through the provider's batches, which take up to a day and cost half.
        budget: The most US dollars that the run may cost in all.
        prices: A file of prices that go before the public ones.
        timeout: Seconds until a request is given up and tried again.
        max_failed: The share of rows that may fail before the command says so by its exit code.
        fill: What stands in the output for a row that failed: nothing, or the original marked as such.
        output: A further file that the data is written to, its container told by its suffix.
        to: The shape of the data that is written; by default the input's own columns.
        provenance: Whether each row that is written says where it comes from, in the column `reflectune`.
        license: The licence of the data, for the data set card.
        stages: What is done with the data, in order.
        recycle: How rows are recycled.
        chooser: The student that chooses which versions of a row are made, and how it scores them.
        score: How versions are scored by the student.
        select: Which version of a row the student keeps, and which rows.
    """

    data: str
    map: str | None = None
    limit: int | None = Field(default=None, ge=1)
    shard: str | None = Field(default=None, pattern=r"^\d{1,6}/\d{1,6}$")
    oracle: str = Field(default="local", min_length=1)
    base_url: str | None = None
    key_env: str = Field(default="OPENAI_API_KEY", pattern=r"^[A-Za-z_]\w{0,63}$")
    max_concurrency: int = Field(default=32, ge=1)
    rpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tpm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch: bool = False
    budget: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    prices: Path | None = None
    timeout: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    max_failed: float = Field(default=0.05, ge=0, le=1)
    fill: Literal["none", "original"] = "none"
    output: Path | None = None
    to: Shape | None = None
    provenance: bool = True
    license: str | None = Field(default=None, min_length=1, max_length=200)
    stages: tuple[StageName, ...] = ("recycle",)
    recycle: RecycleSettings = RecycleSettings()
    chooser: ScoreSettings | None = None
    score: ScoreSettings | None = None
    select: SelectSettings | None = None

    @field_validator("shard")
    @classmethod
    def _in_range(cls, shard: str | None) -> str | None:
        if shard is not None and not 1 <= shard_of(shard)[0] <= shard_of(shard)[1]:
            raise ValueError("a shard is written i/n, with i from 1 to n")
        return shard


def in_order(*stages: StageName) -> tuple[StageName, ...]:
    """Stages in the order in which they are done, each once."""
    return tuple(sorted(set(stages), key=get_args(StageName).index))


def shard_of(text: str) -> tuple[int, int]:
    """Which shard of how many `2/8` is."""
    index, _, count = text.partition("/")
    return int(index), int(count)
