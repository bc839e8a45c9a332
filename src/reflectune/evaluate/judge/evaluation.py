"""From verdicts to the records that tables and pages are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from reflectune.evaluate.intervals import Difference, Summary
from reflectune.evaluate.judge.agreement import Agreement, agreement
from reflectune.evaluate.judge.figures import Tally, tally
from reflectune.evaluate.judge.pairs import Lost
from reflectune.evaluate.judge.verdicts import Verdict
from reflectune.evaluate.scores import Score

ALL = "all"
"""The name of all test sets together, and of the only one where it has none."""
_PUBLISHED = {"winning-score", "wins", "ties", "losses"}
_OTHER_PROCEDURE = "published rule, our prompts: the judge sees the input and answers in a typed value"
_ONE_ORDER = "people, each pair seen once, sides drawn, names hidden"
_MATCHED = "pairs whose A is longer and pairs whose B is weigh the same"


@dataclass(frozen=True, slots=True)
class Judged:
    """What one judge said of the answers of two models.

    Attributes:
        judge: The judge's name.
        verdicts: What it said.
        lost: What has no verdict, whoever's fault that is.
        published: Whether these are published reviews, and not answers to our own prompts.
        people: Whether a person said it.
        note: What must be known of all its figures.
    """

    judge: str
    verdicts: tuple[Verdict, ...]
    lost: tuple[Lost, ...]
    published: bool = False
    people: bool = False
    note: str = ""

    @property
    def label(self) -> str:
        """The judge's name with how it was asked."""
        rubrics = {verdict.rubric for verdict in self.verdicts}
        own = self.published or self.people or len(rubrics) != 1
        return self.judge if own else f"{self.judge} ({rubrics.pop()})"


@dataclass(frozen=True, slots=True)
class Line:
    """What one judge's verdicts on one test set come to.

    Attributes:
        dataset: The test set, or `all`.
        judged: Whose verdicts.
        tally: What they come to; `None` where there is none.
        failed: How many more questions there were.
    """

    dataset: str
    judged: Judged
    tally: Tally | None
    failed: int


def lines(judged: Judged) -> list[Line]:
    """What verdicts come to: a line for each test set in the order of the data, and one for all where there are more.

    Raises:
        MissingExtraError: scipy or numpy is not installed.
    """
    missing = Counter(lost.dataset for lost in judged.lost)
    sets = list(dict.fromkeys([*(verdict.dataset for verdict in judged.verdicts), *missing]))

    def line(dataset: str) -> Line:
        verdicts = [verdict for verdict in judged.verdicts if verdict.dataset == dataset]
        return Line(_shown(dataset, sets), judged, tally(verdicts), missing[dataset])

    together = [Line(ALL, judged, tally(judged.verdicts), len(judged.lost))] if len(sets) > 1 else []
    return [*map(line, sets), *together]


def agreements(one: Judged, other: Judged) -> dict[str, Agreement]:
    """How far two judges agree on the questions that both have judged, by test set and for all of them.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    there = {(verdict.dataset, verdict.id): verdict.outcome for verdict in other.verdicts}
    by_set: dict[str, list[tuple[str, str]]] = {}
    for verdict in one.verdicts:
        if (outcome := there.get((verdict.dataset, verdict.id))) is not None:
            by_set.setdefault(verdict.dataset, []).append((verdict.outcome, outcome))
    found = {_shown(name, by_set): _between(both) for name, both in by_set.items()}
    return found | ({ALL: _between([pair for both in by_set.values() for pair in both])} if len(by_set) > 1 else {})


def _between(both: Sequence[tuple[str, str]]) -> Agreement:
    return agreement([one for one, _ in both], [other for _, other in both])


def _shown(dataset: str, among: Collection[str]) -> str:
    """What a test set is called in tables: rows that name none are all there are, or the others."""
    return dataset or ("other" if len(among) > 1 else ALL)


def scores_of(line: Line, model: str, against: str, replies: str | None) -> Iterator[Score]:
    """The records of a line."""
    found = line.tally
    if found is None:
        return
    judged = line.judged
    common = {
        "model": model,
        "benchmark": line.dataset,
        "form": "pairwise",
        "failed": line.failed,
        "judge": judged.label,
        "against": against,
        "mean_length": found.lengths[0],
        "replies": replies,
    }
    official = judged.published and not line.failed

    def score(
        metric: str, value: float | None, items: int, *notes: str, of: Summary | Difference | None = None
    ) -> Iterator[Score]:
        if value is None:
            return
        ends = {"low": of.interval.low, "high": of.interval.high} if of is not None and of.interval else {}
        note = "; ".join(filter(None, [judged.note, *notes]))
        followed = {"official": official} if metric in _PUBLISHED and not judged.people else {}
        yield Score.model_validate(
            {**common, **ends, **followed, "metric": metric, "value": value, "items": items, "note": note}
        )

    count, matched, decided = found.count, found.matched, found.wins + found.losses
    other = "" if judged.published else _ONE_ORDER if judged.people else _OTHER_PROCEDURE
    yield from score("winning-score", found.winning_score.mean, count, other, of=found.winning_score)
    yield from score("win-rate", found.win_rate.mean, count, "a tie is half a win", of=found.win_rate)
    yield from score("length-matched-win-rate", matched.mean if matched else None, found.unequal, _MATCHED, of=matched)
    for metric, number in (("wins", found.wins), ("ties", found.ties), ("losses", found.losses)):
        yield from score(metric, number, count)
    yield from score("flip-rate", found.flipped.percent, found.flipped.of, "prefers A in one order and B in the other")
    yield from score("first-preferred", found.first.percent, found.first.of, "of looks that prefer one; 50 is unbiased")
    yield from score("longer-wins", found.longer.percent, found.longer.of, "of verdicts that are no tie")
    yield from score("sign-test-p", found.sign_test if decided else None, decided, "a probability, not a share")


def agreement_scores(found: dict[str, Agreement], judges: tuple[str, str], model: str, against: str) -> Iterator[Score]:
    """The records of how far two judges agree, who are named as figures name them."""
    for dataset, how_far in found.items():
        for metric, value in (("agreement", how_far.accuracy), ("kappa", how_far.kappa)):
            if value is not None:
                yield Score(
                    model=model,
                    benchmark=dataset,
                    form="pairwise",
                    metric=metric,
                    value=value,
                    items=how_far.items,
                    judge=" and ".join(judges),
                    against=against,
                    note="Cohen's kappa of win, tie and lose" if metric == "kappa" else "the same verdict",
                )
