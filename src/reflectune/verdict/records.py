"""What the verdict page says, as figures: the content of `verdict.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reflectune.evaluate.scores import Score
from reflectune.records import Record

__all__ = ["ALL", "Caveat", "Comparison", "Conclusion", "Data", "Figures", "Measured", "Metric", "Verdict"]

ALL = "all"
"""All test sets together."""

Standing = Literal["better", "worse", "not-shown", "too-few"]
"""better, worse: the interval lies on one side of 50%; not-shown: it does not; too-few: too few items to say."""
Kind = Literal[
    "nothing",
    "too-few",
    "better",
    "better-length-unknown",
    "better-than-original-only",
    "length",
    "worse",
    "worse-length-unknown",
    "length-worse",
    "no-difference-shown",
]
"""nothing: nothing is compared yet; better-length-unknown: better, and what length has to do with it cannot be said;
better-than-original-only: a simpler way to choose data is not beaten; length, length-worse: not so at equal length."""
Level = Literal["alpaca-eval", "matched"]
"""How length was controlled for: by the model of AlpacaEval-LC, or by weighing longer and shorter answers the same."""


class Rate(Record):
    """A figure with where it lies with a confidence of 95%.

    Attributes:
        value: The figure; shares are in percent.
        low: From here; `None` where that cannot be said.
        high: To here.
    """

    value: float
    low: float | None = None
    high: float | None = None


class Measured(Record):
    """A win rate at equal length, or why there is none.

    Attributes:
        by: How length was controlled for; `None` where it could not be.
        rate: The win rate in percent; `None` where it could not be.
        extrapolated: The share in percent of the pairs whose answers of ours are on the same side of the other's
            length, where hardly any is on the other side; else `None`.
        matched: The rate where longer and shorter answers of ours weigh the same, beside the model's; `None` where one
            of them is missing.
    """

    by: Level | None = None
    rate: Rate | None = None
    extrapolated: float | None = None
    matched: Rate | None = None


class Figures(Record):
    """What a judge's verdicts on one test set, or on all, come to, over all seeds.

    Attributes:
        dataset: The test set, or `all`.
        items: How many prompts have a verdict, each counted once however many seeds there are.
        verdicts: How many verdicts there are.
        failed: How many pairs have none.
        wins: Of ours.
        ties: Of neither.
        losses: Of ours.
        winning_score: (wins - losses) / N + 1, from 0 to 2.
        win_rate: In percent, a tie being half a win; the interval is a bootstrap over the prompts.
        level: The same at equal length.
        flipped: Of the pairs seen in both orders, the share whose preferred answer changes with the order.
        first_preferred: Of the looks that prefer an answer, the share that prefers the one shown first.
        longer_wins: Of verdicts that are no tie, the share that goes to the longer answer.
        sign_test: How likely prompts as unevenly won and lost as these are, if both students were equally good.
        lengths: The mean lengths of our answers and of the other's, in characters.
        standing: What the win rate says.
        standing_level: What the win rate at equal length says; `None` where there is none.
        could_show: The win rate above 50%, in percent, that so many prompts show with a probability of 80%; `None`
            where the verdicts do not tell.
    """

    dataset: str
    items: int
    verdicts: int
    failed: int
    wins: int
    ties: int
    losses: int
    winning_score: float
    win_rate: Rate
    level: Measured
    flipped: float | None
    first_preferred: float | None
    longer_wins: float | None
    sign_test: float
    lengths: tuple[float, float]
    standing: Standing
    standing_level: Standing | None
    could_show: float | None


class Comparison(Record):
    """Our student against another one, by one judge.

    Attributes:
        ours: What ours learnt from.
        other: What the other one learnt from.
        judge: Who judged.
        seeds: With which seeds the students were trained.
        sets: What the verdicts come to, test set by test set.
        pooled: On all of them.
        by_seed: The win rate of each seed, in percent.
    """

    ours: str
    other: str
    judge: str
    seeds: tuple[int, ...]
    sets: tuple[Figures, ...]
    pooled: Figures
    by_seed: dict[int, float]


class Conclusion(Record):
    """What all of it comes to.

    Attributes:
        kind: The conclusion.
        unbeaten: The baselines that our student is not shown to beat.
        beaten: Those that it is shown to beat.
        longer: Whether our answers are the longer ones, on average.
    """

    kind: Kind
    unbeaten: tuple[str, ...] = ()
    beaten: tuple[str, ...] = ()
    longer: bool = False


class Student(Record):
    """A student, or what one would learn from; what is not known is `None`.

    Attributes:
        name: What it is called.
        arm: What it learnt from.
        seed: Its seed.
        rows: Rows that it learnt from; of the data where it is not trained yet.
        response_tokens: Tokens of all responses of its data.
        mean_response: The mean length of those, in characters.
        epochs: How often it saw each row.
        steps: Optimiser steps.
        loss: The training loss at the end, in nats a token.
        held_out_before: The held-out loss before training.
        held_out_after: That after it.
        answers: How many prompts it answered.
        unanswered: How many it did not.
        cut_off: The answers that the limit on their tokens ended.
        answer_length: The mean length of an answer, in characters.
    """

    name: str
    arm: str
    seed: int | None = None
    rows: int | None = None
    response_tokens: int | None = None
    mean_response: float | None = None
    epochs: float | None = None
    steps: int | None = None
    loss: float | None = None
    held_out_before: float | None = None
    held_out_after: float | None = None
    answers: int = 0
    unanswered: int = 0
    cut_off: int | None = None
    answer_length: float | None = None


class Metric(Record):
    """A figure of the data before and after.

    Attributes:
        name: Which.
        before: Its mean before; `None` where there is none.
        after: After.
        change: How far they are apart.
    """

    name: str
    before: float | None
    after: float | None
    change: Rate | None


class Data(Record):
    """What became of the data.

    Attributes:
        rows: Rows that were read; `None` where it is not known.
        rewritten: Of those, how many were rewritten.
        failed: How many were not.
        kept: How many selection kept; `None` where nothing was selected.
        dropped: How many it dropped.
        against: Whether it was looked for the test sets.
        contaminated: How many rows resemble one of them; `None` where that was not looked for.
        metrics: Figures before and after.
    """

    rows: int | None = None
    rewritten: int | None = None
    failed: int | None = None
    kept: int | None = None
    dropped: int | None = None
    against: bool = False
    contaminated: int | None = None
    metrics: tuple[Metric, ...] = ()


class Ran(Record):
    """A stage, and what it took.

    Attributes:
        name: The stage.
        state: How far it is.
        requests: How many replies models gave; `None` where none was asked.
        prompt_tokens: Tokens sent.
        completion_tokens: Tokens received.
        cost: US dollars; `None` where it is unknown, or nobody was asked.
        seconds: How long it took.
    """

    name: str
    state: str
    requests: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None


class Repeat(Record):
    """Who took part, and what it takes to do it again.

    Attributes:
        student: The model that was trained; `None` where that is not known.
        oracle: Who rewrote.
        judge: Who judged.
        seeds: The seeds of training.
        versions: Versions of what made it, by name.
        recipe: The journey's recipe as YAML, without the folders of whoever ran it; empty where there is none.
    """

    student: str | None = None
    oracle: str | None = None
    judge: str | None = None
    seeds: tuple[int, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    recipe: str = ""


class Caveat(Record):
    """Something that speaks against trusting the conclusion.

    Attributes:
        name: Which rule found it.
        values: What it found.
    """

    name: str
    values: dict[str, str] = Field(default_factory=dict)


class Verdict(Record):
    """What a journey came to.

    Attributes:
        name: The journey's name.
        text: The whole in one paragraph, by language.
        conclusion: The conclusion.
        comparisons: Our student against each other one.
        students: The students.
        benchmarks: Figures of benchmarks.
        data: What became of the data.
        stages: What each stage took.
        caveats: What speaks against trusting it.
        missing: The parts that are not there, as names of stages or folders.
        unnamed: Folders of verdicts that do not say of whom they are.
        left_over: What lies in the folder of an earlier recipe, and is in no figure.
        repeat: How to do it again.
    """

    name: str
    text: dict[str, str] = Field(default_factory=dict)
    conclusion: Conclusion
    comparisons: tuple[Comparison, ...]
    students: tuple[Student, ...]
    benchmarks: tuple[Score, ...]
    data: Data
    stages: tuple[Ran, ...]
    caveats: tuple[Caveat, ...] = ()
    missing: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    repeat: Repeat
