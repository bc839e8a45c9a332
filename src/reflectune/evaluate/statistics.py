"""What a data set is like, and how far another one, or the same after recycling, is from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reflectune.embedding import cosines, embed_written
from reflectune.evaluate.diversity import distinct_bigrams, exact_duplicates, mean_distance, near_duplicates
from reflectune.evaluate.figures import METRICS, Figures, Metric, Tokenizer, figures
from reflectune.evaluate.intervals import Difference, Summary, paired_difference, summarised, unpaired_difference
from reflectune.language import detect
from reflectune.records import Example, Reflection, Version, VersionScores

if TYPE_CHECKING:
    from reflectune.embedding import Embedder

Row = Example | tuple[str, Version]
"""An example as it was read, or a row's id with one of its versions. Ids pair rows; system prompts and earlier turns
count nothing."""
Progress = Callable[[str, int, int], None]
"""Is told what is being done, how far it is, and of how many."""

_MOSTLY_JOINED = 0.5


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a data set is like.

    Attributes:
        rows: How many rows there are.
        metrics: What each figure of the rows comes to; one that no row has is not among them.
        languages: How many instructions and responses are in which language; `unknown` where that cannot be told.
        distance: The mean cosine distance between the embeddings of two instructions, from 0 (all the same) to 2;
            `None` without embeddings.
        distinct_bigrams: The share of different ones among the pairs of neighbouring words of all instructions, inputs
            included. It falls as data grows, so compare sets of one size.
        exact_duplicates: The share of rows whose instruction and input are those of an earlier row but for case, white
            space and common punctuation.
        near_duplicates: The share of rows whose instruction with its input is nearly that of an earlier row, or equal,
            as `reflectune gates` has it; `None` where that was not looked for.
        embedder: What gave the embeddings; `None` without any.
        figures: The figures of every row.
    """

    rows: int
    metrics: dict[Metric, Summary]
    languages: dict[Reflection, dict[str, int]]
    distance: float | None
    distinct_bigrams: float | None
    exact_duplicates: float | None
    near_duplicates: float | None
    embedder: str | None
    figures: Figures = field(repr=False)

    def plain(self) -> dict[str, Any]:
        """For `--json`: everything but the figures of the rows; `None` stands for what could not be computed."""
        return {
            "rows": self.rows,
            "metrics": _plain(self.metrics),
            "languages": self.languages,
            "diversity": {"mean_cosine_distance": self.distance, "distinct_bigrams": self.distinct_bigrams},
            "duplicates": {"exact": self.exact_duplicates, "near": self.near_duplicates},
            "embedder": self.embedder,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two data sets, or one before and after.

    Attributes:
        before: The one.
        after: The other.
        pairs: How many rows are in both; 0 where the rows were not paired.
        differences: How far the means are apart, for each figure that both have.
    """

    before: Statistics
    after: Statistics
    pairs: int
    differences: dict[Metric, Difference]

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "before": self.before.plain(),
            "after": self.after.plain(),
            "pairs": self.pairs,
            "differences": _plain(self.differences),
        }


def stats(
    rows: Iterable[Row],
    *,
    embedder: Embedder | None = None,
    tokenizer: Tokenizer | None = None,
    scores: Mapping[str, VersionScores] | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """What a data set is like.

    Args:
        rows: Its rows: examples, or pairs of an id and a version, such as `(recycled.id, recycled.best)`.
        embedder: For coherence and the distance between instructions; left out without it.
        tokenizer: Gives the number of tokens of a text; token counts are left out without it.
        scores: What a student makes of the rows, by id: for perplexities, IFD and r-IFD.
        progress: Is told how far it is.

    Raises:
        MissingExtraError: The extra `stats` is not installed.
    """
    tell = progress or _silent
    pairs = [(row.id, row.version) if isinstance(row, Example) else row for row in rows]
    ids, versions = [name for name, _ in pairs], [version for _, version in pairs]
    near = near_duplicates(pairs, lambda done, total: tell("duplicates", done, total))
    coherence, distance = _embedded(versions, embedder, tell) if embedder else (None, None)
    tell("figures", 0, len(pairs))
    found = figures(ids, versions, coherence=coherence, tokenizer=tokenizer, scores=scores)
    summaries = {metric: summarised(found.present(metric)) for metric in METRICS}
    asked = [version.question for version in versions]
    return Statistics(
        rows=len(pairs),
        metrics={metric: summary for metric, summary in summaries.items() if summary is not None},
        languages={
            "instruction": _languages(asked),
            "response": _languages([version.response for version in versions]),
        },
        distance=distance,
        distinct_bigrams=distinct_bigrams(asked),
        exact_duplicates=exact_duplicates(asked),
        near_duplicates=near,
        embedder=embedder.name if embedder else None,
        figures=found,
    )


def compare(before: Statistics, after: Statistics, *, paired: bool | None = None) -> Comparison:
    """How far two data sets are apart.

    Args:
        before: The one.
        after: The other.
        paired: Whether rows are joined by their ids, so that a difference is the mean change of the rows that are in
            both; by default where more than half of the smaller one's rows are in the other. An id that stands in
            one of them twice is joined with nothing. For a selection beside all the data, where no row changed, say
            no: then the means are compared.

    Raises:
        MissingExtraError: The extra `stats` is not installed.
    """
    joined = _joined(before.figures.ids, after.figures.ids)
    if paired is None:
        paired = len(joined) > _MOSTLY_JOINED * min(before.rows, after.rows)
    differences: dict[Metric, Difference | None] = {}
    for metric in METRICS:
        if paired:
            old, new = before.figures.columns.get(metric, ()), after.figures.columns.get(metric, ())
            both = [(old[here], new[there]) for here, there in joined] if old and new else []
            complete = [(one, other) for one, other in both if one is not None and other is not None]
            differences[metric] = paired_difference([one for one, _ in complete], [other for _, other in complete])
        else:
            differences[metric] = unpaired_difference(before.figures.present(metric), after.figures.present(metric))
    kept = {metric: difference for metric, difference in differences.items() if difference is not None}
    return Comparison(before, after, len(joined) if paired else 0, kept)


def _joined(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """The places in both of the ids that each has once."""
    counts = Counter(before) | Counter(after)  # the higher count of the two
    there = {name: place for place, name in enumerate(after)}
    return [(place, there[name]) for place, name in enumerate(before) if name in there and counts[name] == 1]


def _embedded(
    versions: Sequence[Version], embedder: Embedder, tell: Progress
) -> tuple[list[float | None], float | None]:
    """The coherence of each row, and the mean distance between two instructions."""
    total = 2 * len(versions)
    asked = embed_written(
        [version.instruction for version in versions],
        embedder,
        lambda done, _: tell("embedding", done, total),
    )
    answered = embed_written(
        [version.response for version in versions],
        embedder,
        lambda done, _: tell("embedding", total // 2 + done, total),
    )
    return cosines(asked, answered), mean_distance(asked)


def _languages(texts: Iterable[str]) -> dict[str, int]:
    counts = Counter(detect(text) or "unknown" for text in texts if text.strip())
    return dict(counts.most_common())


def _plain(entries: Mapping[Metric, Summary] | Mapping[Metric, Difference]) -> dict[str, Any]:
    return {metric: entries[metric].plain() if metric in entries else None for metric in METRICS}


def _silent(*_: object) -> None:
    pass
