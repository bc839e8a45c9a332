"""What a stage of a journey would ask, and about what that costs and takes, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from reflectune.cli.estimate import Estimate, estimate
from reflectune.cli.money import Range
from reflectune.cli.most import TOKENS_PER_BYTE, price_for
from reflectune.evaluate.judge import requests_per_pair
from reflectune.generation.naming import is_folder
from reflectune.generation.prompts import Asked as Question
from reflectune.generation.prompts import read_prompts
from reflectune.oracles.local import SMALL_MODEL
from reflectune.pipeline import Journey
from reflectune.pipeline.plan import Stage
from reflectune.prompts import Prompts
from reflectune.recipe import Model, Recipe
from reflectune.records import Sampling

_TOKENS_A_SECOND = 50.0
"""Of one reply of an endpoint."""
_SECONDS_A_REPLY = 1.0
"""Until its first token, and for the way there and back."""
_LOCAL_TOKENS_A_SECOND, _LOCAL_SECONDS_A_REPLY = 160.0, 0.45
"""Of the embedded model on 2 cores, over all its slots: bench/results/embedded.json and cherry_local.json."""
_TRAINED_TOKENS_A_SECOND, _SCORED_TEXTS_A_SECOND = 330.0, 5.0
"""Of the embedded model on 2 cores: bench/results/training_speed.json and scoring.json."""
_LOADING = 5.0
_VALUE, _TURN = Range(100.0, 180.0, 400.0), Range(2.0, 8.0, 40.0)
"""Tokens of a verdict as one JSON value, and of one turn of a dialogue."""
_NOTHING = Range(0.0, 0.0, 0.0)
_REPLY_SHARE = Range(0.2, 0.5, 1.0)
"""How long an answer is, of the longest that it may be."""
_OF_ROWS = dict.fromkeys(("recycle", "gates", "score", "select", "report", "arms", "train", "generate"), "rows")
_SIZES = {**_OF_ROWS, "stats": "pairs", "judge": "items"}
"""What a command calls that which it has done so many of, in the object that it prints; the others have no number."""
_PLACES = {"--run", "--output", "--name", "--name-a", "--name-b", "--seed", "--against", "--arms", "--tuned"}
_PASSING = {*_PLACES, "--budget", "--max-failed", "--prices", "--json", "--quiet"}
"""Flags that do not change how long a row takes."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a stage would take. What is not known is `None`.

    Attributes:
        requests: Requests to models.
        sent: Tokens sent.
        received: Tokens received.
        cost: US dollars.
        seconds: How long it takes.
        partial: Whether this is the known part of more.
    """

    requests: int | None = 0
    sent: Range | None = None
    received: Range | None = None
    cost: Range | None = _NOTHING
    seconds: float | None = None
    partial: bool = False

    @classmethod
    def total(cls, parts: Sequence[Forecast]) -> Forecast:
        """All of them together, as far as they are known."""
        cost = _NOTHING
        for part in parts:
            cost = cost.plus(part.cost) if part.cost else cost
        return cls(
            requests=sum(part.requests or 0 for part in parts),
            cost=cost,
            seconds=sum(part.seconds or 0.0 for part in parts),
            partial=any(None in {part.requests, part.cost, part.seconds} for part in parts),
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "requests": self.requests,
            "cost": None if self.cost is None else self.cost.plain(6),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "partial": self.partial,
        }


class Forecasts:
    """Forecasts for the stages of a journey.

    Args:
        journey: The journey; how long its finished stages took says most about the others of the same kind.
    """

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._recipe = journey.recipe

    def of(self, stage: Stage) -> Forecast:
        """What a stage would take.

        Raises:
            InputError: The data or a test set cannot be read.
        """
        makers = {"recycle": self._recycle, "generate": self._answer, "judge": self._judge}
        made = makers[stage.kind](stage) if stage.kind in makers else self._other(stage)
        measured = self._measured(stage)
        return made if measured is None else Forecast(made.requests, made.sent, made.received, made.cost, measured)

    def _measured(self, stage: Stage) -> float | None:
        """How long it takes, going by finished stages of the same kind that did so much in the same way.

        `None` where there is none, or nobody knows how much is to be done, or was.
        """
        size, way = self._size(stage), _way(stage.command)
        seconds = parts = 0.0
        for one in self._journey.state.stages.values():
            if one.kind != stage.kind or one.state != "done" or _way(one.command) != way:
                continue
            did = one.summary.get(_SIZES[stage.kind]) if stage.kind in _SIZES else 1
            if isinstance(did, int):
                seconds, parts = seconds + one.seconds, parts + did
        return size * seconds / parts if parts and size is not None else None

    def _size(self, stage: Stage) -> int | None:
        """How many rows or prompts a stage has to do; 1 of what is known as a whole only."""
        if stage.kind not in _SIZES:
            return 1
        if stage.kind in {"generate", "judge"}:
            return len(self._questions(self._prompts(stage)))
        return self._estimate.rows if self._recipe.traces is None else None

    def _prompts(self, stage: Stage) -> str:
        """The test set that is answered, or judged on."""
        name = stage.key.split("/")[1]
        return next(file for file in self._recipe.prompts if Path(file).name.split(".")[0] == name)

    @cached_property
    def _estimate(self) -> Estimate:
        return estimate(self._plain_recipe(self._recipe.oracle).model_copy(update={"recycle": self._recipe.recycle}))

    def _recycle(self, _: Stage) -> Forecast:
        found = self._estimate
        received = found.completion_tokens
        return Forecast(
            found.requests,
            found.prompt_tokens,
            received,
            found.cost,
            _seconds(self._recipe.oracle, found.requests, received),
        )

    def _answer(self, stage: Stage) -> Forecast:
        questions = self._questions(self._prompts(stage))
        default = SMALL_MODEL if self._recipe.student == "local" else Sampling()
        longest = self._recipe.generate.max_tokens or default.max_tokens
        received = Range(*(share * longest * len(questions) for share in _ends(_REPLY_SHARE)))
        seconds = None
        if self._recipe.student == "local":
            seconds = _LOADING + received.likely / _LOCAL_TOKENS_A_SECOND * 3  # transformers, row by row
        return Forecast(len(questions), None, received, seconds=seconds)

    def _judge(self, stage: Stage) -> Forecast:
        judge, questions = self._recipe.judge, self._questions(self._prompts(stage))
        dialogue = self._recipe.judging.is_dialogue(default=judge.name.split(":")[0] == "local")
        each = requests_per_pair(dialogue=dialogue)
        requests = each * len(questions)
        rubric = "judge_dialogue_system.txt" if dialogue else "judge_structured.txt"
        longest = self._recipe.generate.max_tokens or Sampling().max_tokens
        fixed = len(Prompts(self._recipe.judging.prompts).text("en", rubric).encode()) * requests
        fixed += sum(len(question.question.encode("utf-8", "replace")) for question in questions) * each
        answers = Range(*(2 * share * longest * requests for share in _ends(_REPLY_SHARE)))
        sent = TOKENS_PER_BYTE.times(fixed).plus(answers)
        received = (_TURN if dialogue else _VALUE).times(requests)
        price = price_for(self._plain_recipe(judge))
        cost = None
        if price is not None:
            cost = Range(*(price.cost(getattr(sent, end), getattr(received, end)) for end in ("low", "likely", "high")))
        return Forecast(requests, sent, received, cost, _seconds(judge, requests, received))

    def _other(self, stage: Stage) -> Forecast:
        if stage.kind == "benchmark" or (stage.kind == "traces" and stage.asks):
            return Forecast(requests=None, cost=None)
        return Forecast(seconds=self._computed(stage))

    def _computed(self, stage: Stage) -> float | None:
        """How long a stage computes that asks nobody: known of the embedded model only."""
        if stage.kind not in {"train", "score"}:
            return _LOADING
        if self._recipe.student != "local" or self._recipe.traces is not None:
            return None
        rows = self._estimate.rows
        if stage.kind == "score":
            return _LOADING + 6 * rows / _SCORED_TEXTS_A_SECOND
        epochs = self._recipe.train.epochs
        tokens = min(100, self._recipe.train.max_length) * rows * epochs
        return 2 * _LOADING + tokens / _TRAINED_TOKENS_A_SECOND

    def _questions(self, file: str) -> list[Question]:
        rows = read_prompts(file, self._recipe.prompts_limit)
        return [row for row in rows if isinstance(row, Question)]

    def _plain_recipe(self, model: Model) -> Recipe:
        recipe = self._recipe
        return Recipe(
            data=recipe.data,
            map=recipe.map,
            limit=recipe.limit,
            oracle=model.name,
            base_url=model.base_url,
            key_env=model.key_env,
            prices=recipe.prices,
        )


def _seconds(model: Model, requests: int, received: Range) -> float | None:
    """How long a model takes for so many requests; `None` of a model in this process whose speed nobody knows."""
    if model.name == "local":
        return _LOADING + requests * _LOCAL_SECONDS_A_REPLY + received.likely / _LOCAL_TOKENS_A_SECOND
    if model.name.split(":")[0] in {"local", "hf"} or is_folder(model.name):
        return None
    each = _SECONDS_A_REPLY + received.likely / max(requests, 1) / _TOKENS_A_SECOND
    waves = max(ceil(requests / model.max_concurrency) * each, requests / model.rpm * 60 if model.rpm else 0.0)
    return _LOADING + waves


def _ends(share: Range) -> tuple[float, float, float]:
    return share.low, share.likely, share.high


def _way(command: Sequence[str]) -> list[str]:
    """How a command does its work, whatever on: its flags but those that name places, money and how much is done."""
    passing = _PASSING | ({"--limit"} if command[0] in _SIZES else set())
    way: list[str] = []
    flag = None
    for word in command[1:]:
        flag = word if word.startswith("--") else flag
        if flag is not None and flag not in passing:
            way.append(word)
    return way
