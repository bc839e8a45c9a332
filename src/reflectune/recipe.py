"""Recipes: what a run was asked to do, one small frozen model per stage.

The flags of a command are the fields of its stage's model. A recipe is saved as YAML in the run's folder, so that the
run can be looked at, repeated and resumed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from reflectune.errors import SettingsError
from reflectune.records import Reflection, Sampling

_PLAIN = {
    "shard": "a shard is written i/n, with i from 1 to n, as 2/8",
    "take": "it says how many rows to keep, as 500 or 5%",
}
"""What is wrong with a value, where the rule that refuses it would say it less plainly."""
_MENDS = {"recycle": "Leave reflect at both, or versions at reflected."}
"""What to do about settings of a stage that do not go together."""


StageName = Literal["recycle", "score", "select"]
Shape = Literal["alpaca", "sharegpt", "messages", "prompt-completion"]


class Settings(BaseModel):
    """The base of all settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def made_of(cls, values: dict[str, Any], *, source: str) -> Self:
        """Settings of plain values.

        Args:
            values: The fields; those of a stage in a mapping of their own.
            source: Where they come from, for the error.

        Raises:
            SettingsError: A key is unknown, or a value does not fit.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explained(error, source, cls) from error


class RecycleSettings(Settings):
    """How rows are recycled.

    Attributes:
        reflect: Which reflections to make.
        versions: Which versions of a row to make: `reflected` betters the response of the new instruction (Q, QA),
            `all` that of the old one too (Q, A, QA), and `chosen` that of the instruction which the student learns more
            from (Q, and A or QA). The last two take both reflections.
        ask: How to ask: one JSON value, or one field per turn; by default what suits the oracle.
        candidates: How many rewrites to ask for at each reflection; the oracle chooses the best of more than one.
        lang: The language of the prompts; by default each row's own.
        score_after: Whether to ask for a critique of the last version too, to compare its scores with the first.
        retries: How often an oracle is asked again, with the reason, after a reply that is not accepted.
        prompts: A folder of prompt files that replace the shipped ones.
        temperature: Sampling temperature; by default the oracle's, or 0.8 where there are several candidates.
        top_p: Nucleus sampling; by default the oracle's.
        max_tokens: The most tokens of a reply; by default the oracle's.
        seed: Seed of the sampling, where the oracle takes one.
    """

    reflect: Literal["instruction", "response", "both"] = "both"
    versions: Literal["reflected", "all", "chosen"] = "reflected"
    ask: Literal["structured", "dialogue"] | None = None
    candidates: int = Field(default=1, ge=1, le=16)
    lang: Literal["en", "zh"] | None = None
    score_after: bool = False
    retries: int = Field(default=2, ge=0, le=2)
    prompts: Path | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=16)
    seed: int | None = Field(default=None, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.versions != "reflected" and self.reflect != "both":
            raise ValueError(f"versions {self.versions} takes both reflections, and reflect is {self.reflect}")
        return self

    @property
    def reflections(self) -> tuple[Reflection, ...]:
        """The reflections to make one after the other, in order."""
        return ("instruction", "response") if self.reflect == "both" else (self.reflect,)

    def sampling(self, default: Sampling) -> Sampling:
        """How to draw tokens: what these settings say, and the oracle's default where they are silent."""
        several = 0.8 if self.candidates > 1 and not default.temperature else default.temperature
        return Sampling(
            temperature=several if self.temperature is None else self.temperature,
            top_p=default.top_p if self.top_p is None else self.top_p,
            max_tokens=self.max_tokens or default.max_tokens,
            repetition_penalty=default.repetition_penalty,
            seed=default.seed if self.seed is None else self.seed,
        )


class ScoreSettings(Settings):
    """How versions are scored by the student.

    Attributes:
        student: The model that will learn from the data: a folder, `hf:ID`, `local`, `local:FILE.gguf`, or `MODEL@URL`
            for a server that returns the log-probabilities of prompts.
        tokenizer: The folder or hub id of its tokenizer, where the student is a server and its name is not one.
        key_env: The environment variable that holds the key of a student that is a server; the oracle's is not for it.
        template: The prompt template: `chat` (the tokenizer's own), `alpaca`, `vicuna`, `wizardlm`, or a file; by
            default `vicuna` under the published convention, else `chat` where the tokenizer has one, else `alpaca`.
        convention: `exact` finds a target by its characters; `published` does what the released scripts did, so that
            published scores can be reproduced.
        halves: Whether to score both halves, or only the response (IFD), which takes half the time.
        max_length: The most tokens of a text; longer ones are cut.
        prompts: A folder of prompt files that replace the shipped ones, such as `en/rifd_request.txt`.
        dtype: The numbers that the model computes with; by default float32 on a CPU, bfloat16 on a GPU.
        device: Where it runs, such as `cpu` or `cuda:1`; by default a GPU where there is one.
        batch_tokens: About how many tokens are computed at once; by default what suits the device.
    """

    student: str = Field(default="local", min_length=1)
    tokenizer: str | None = None
    key_env: str = Field(default="REFLECTUNE_STUDENT_KEY", pattern=r"^[A-Za-z_]\w{0,63}$")
    template: str | None = None
    convention: Literal["exact", "published"] = "exact"
    halves: Literal["both", "response"] = "both"
    max_length: int = Field(default=2048, ge=16)
    prompts: Path | None = None
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str | None = None
    batch_tokens: int | None = Field(default=None, ge=64)


class SelectSettings(Settings):
    """Which version of a row the student keeps, and which rows.

    Attributes:
        rule: `selective` is that of Selective Reflection-Tuning; `top-ifd` that of Cherry LLM and Superfiltering; the
            others are the baselines that an honest selection is compared with.
        take: How many rows to keep, as `500` or `5%`; by default every row that the rule lets through.
        versions: Which versions of a row compete, for every rule but `selective`.
        ifd_below_one: Whether the version that is kept must have an IFD below 1 (`selective`, `top-ifd`).
        rifd_below_one: Whether it must have an r-IFD below 1 (`selective`).
        keep_original: Whether a row stays, as it is after its first step, when its response was not replaced.
        seed: Seed of the rule `random`.
        embedder: The model of sentence embeddings, for `coherence` and `diverse`.
        to: The shape of the data that is written; by default the input's own columns.
        output: A further file that the data is written to.
        provenance: Whether each row that is written says where it comes from, in the column `reflectune`.
    """

    rule: Literal["selective", "top-ifd", "random", "longest", "perplexity", "ifd", "rifd", "coherence", "diverse"] = (
        "selective"
    )
    take: str | None = Field(default=None, pattern=r"^([1-9]\d*|\d{1,3}(\.\d+)?%)$")
    versions: Literal["all", "latest", "original", "Q", "A", "QA"] = "all"
    ifd_below_one: bool = True
    rifd_below_one: bool = True
    keep_original: bool = False
    seed: int = Field(default=0, ge=0, lt=2**31)
    embedder: str | None = None
    to: Shape | None = None
    output: Path | None = None
    provenance: bool = True

    @field_validator("take", mode="before")
    @classmethod
    def _as_text(cls, take: object) -> object:
        return str(take) if isinstance(take, int) and not isinstance(take, bool) else take


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

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a recipe file.

        Raises:
            SettingsError: It is missing, is no YAML mapping, or does not fit.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"There is no recipe {path}.", mend="Check the path.") from None
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise SettingsError(f"{path} is not YAML: {error}", mend="Mend the file.") from error
        if not isinstance(values, dict):
            raise SettingsError(f"{path} holds no settings.", mend="Write `key: value` lines.")
        return cls.made_of(values, source=str(path))

    def save(self, path: Path) -> None:
        """Write the recipe as YAML, leaving out what is not set."""
        values = self.model_dump(mode="json", exclude_none=True)
        part = path.with_suffix(".part")
        part.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
        part.replace(path)


def in_order(*stages: StageName) -> tuple[StageName, ...]:
    """Stages in the order in which they are done, each once."""
    return tuple(sorted(set(stages), key=get_args(StageName).index))


def shard_of(text: str) -> tuple[int, int]:
    """Which shard of how many `2/8` is."""
    index, _, count = text.partition("/")
    return int(index), int(count)


def overridden(values: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Settings with `key=value` assignments laid over them; dots lead into a stage, values are YAML.

    Raises:
        SettingsError: An assignment has no `=`, or its value is not YAML.
    """
    merged = dict(values)
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise SettingsError(f"--set {assignment} assigns nothing.", mend="Write --set key=value.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {assignment}: the value is not YAML.", mend="Quote it.") from error
        stage, dot, key = name.strip().rpartition(".")
        if dot:
            inner = merged.get(stage, {})
            merged[stage] = {**inner, key: value} if isinstance(inner, dict) else {key: value}
        else:
            merged[key] = value
    return merged


_STAGES: dict[str, type[Settings]] = {
    "recycle": RecycleSettings,
    "chooser": ScoreSettings,
    "score": ScoreSettings,
    "select": SelectSettings,
}


def _explained(error: ValidationError, source: str, model: type[Settings]) -> SettingsError:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    told = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" and path in _MENDS:
        return SettingsError(f"{source}: {told}.", mend=_MENDS[path])
    if first["type"] != "extra_forbidden":
        why = _PLAIN.get(path.rpartition(".")[2]) or told
        given = "" if first["type"] == "missing" else f", and it is {first['input']!r}"
        return SettingsError(f"{source}: {path} does not fit: {why}{given}.", mend="See the command's --help.")
    known = _STAGES.get(path.partition(".")[0] if "." in path else "", model).model_fields
    name = str(first["loc"][-1])
    near = difflib.get_close_matches(name, known, 1)
    hint = f"Did you mean {near[0]}?" if near else f"The settings are: {', '.join(known)}."
    return SettingsError(f"{source}: there is no setting {path}.", mend=hint)
