"""The figures as rows of tables, for the page and for Markdown: rates, and texts that are not escaped yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reflectune.training.facts import duration
from reflectune.verdict.conclusion import said_of
from reflectune.verdict.records import Comparison, Figures, Metric, Ran, Rate, Student
from reflectune.verdict.wording import Words, percent

__all__ = [
    "OVERVIEW",
    "Cell",
    "columns_of",
    "comparison_rows",
    "metric_rows",
    "overview_rows",
    "stage_rows",
    "student_rows",
]

Cell = str | Rate | None
"""A text, or a rate with its interval; nothing where it cannot be said."""
OVERVIEW = ("against", "prompts", "counts", "rate", "level", "flips", "lengths", "says")
"""The columns of the table that tells of all comparisons."""
_RATIOS = frozenset({"coherence", "ifd_ppl", "rifd_ppl"})


def overview_rows(comparisons: Sequence[Comparison], say: Words) -> Iterator[tuple[Cell, ...]]:
    """A row for each comparison, in the columns of `OVERVIEW`."""
    judges = {one.judge for one in comparisons}
    for one in comparisons:
        found = one.pooled
        by = f" ({one.judge.partition('@')[0]})" if len(judges) > 1 else ""
        yield (
            f"{say.named(one.other)}{by}",
            f"{found.items:,}",
            _counts(found),
            found.win_rate,
            found.level.rate,
            percent(found.flipped),
            _lengths(found),
            say.said(said_of(found), found),
        )


def comparison_rows(comparison: Comparison, say: Words) -> Iterator[tuple[Cell, ...]]:
    """A row for each figure, with a cell for each test set and one for all of them."""
    columns = columns_of(comparison)
    for name, cell in _CELLS.items():
        yield (say(f"table.{name}"), *(cell(found, say) for found in columns))
    if len(comparison.by_seed) > 1:
        rates = comparison.by_seed
        told = say.listed(f"{seed}: {rate:.1f}%" for seed, rate in rates.items())
        spread = f"{max(rates.values()) - min(rates.values()):.1f}"
        yield (say("table.seeds"), *[""] * (len(columns) - 1), say("table.spread", list=told, spread=spread))


def columns_of(comparison: Comparison) -> tuple[Figures, ...]:
    """The test sets, and all of them where there are more."""
    return (*comparison.sets, comparison.pooled) if len(comparison.sets) > 1 else comparison.sets


def _counts(found: Figures) -> str:
    return f"{found.wins:,} / {found.ties:,} / {found.losses:,}"


def _lengths(found: Figures) -> str:
    return " / ".join(f"{length:,.0f}" for length in found.lengths)


def _could_show(found: Figures) -> str:
    if found.could_show is None:
        return "-"
    return f"≥ {found.could_show:.1f}%" if found.could_show < 100 else "> 100%"  # noqa: PLR2004 - percent


_CELLS: dict[str, Callable[[Figures, Words], Cell]] = {
    "prompts": lambda found, _: f"{found.items:,}",
    "counts": lambda found, _: _counts(found),
    "score": lambda found, _: f"{found.winning_score:.4f}",
    "rate": lambda found, _: found.win_rate,
    "level": lambda found, _: found.level.rate,
    "by": lambda found, say: say(f"table.by.{found.level.by}") if found.level.by else "-",
    "matched": lambda found, _: found.level.matched,
    "sign": lambda found, _: f"{found.sign_test:.2g}",
    "could_show": lambda found, _: _could_show(found),
    "flips": lambda found, _: percent(found.flipped),
    "first": lambda found, _: percent(found.first_preferred),
    "longer": lambda found, _: percent(found.longer_wins),
    "lengths": lambda found, _: _lengths(found),
    "none": lambda found, _: f"{found.failed:,}",
    "says": lambda found, say: say.said(said_of(found), found),
}


def student_rows(students: Sequence[Student]) -> Iterator[tuple[str, ...]]:
    """A row for each student; a dash stands for what is not known."""
    for one in students:
        answers = f"{one.answers:,}" + (f" + {one.unanswered:,} ∅" if one.unanswered else "")
        yield (
            one.name,
            _number(one.rows),
            _number(one.response_tokens),
            "-" if one.epochs is None else f"{one.epochs:g}",
            _number(one.steps),
            _loss(one.loss),
            _held_out(one),
            answers,
            "-" if one.answer_length is None else f"{one.answer_length:,.0f}",
        )


def _held_out(one: Student) -> str:
    losses = [_loss(loss) for loss in (one.held_out_before, one.held_out_after) if loss is not None]
    return " → ".join(losses) or "-"


def metric_rows(metrics: Sequence[Metric], say: Words) -> Iterator[tuple[str, ...]]:
    """A row for each figure of the data."""
    for one in metrics:
        write = "{:,.3f}".format if one.name in _RATIOS else "{:,.1f}".format
        change = one.change
        ends = "-" if change is None or change.low is None else f"{write(change.low)} … {write(change.high or 0)}"
        yield (
            say(f"metric.{one.name}"),
            *("-" if value is None else write(value) for value in (one.before, one.after)),
            "-" if change is None else f"{'+' if change.value > 0 else ''}{write(change.value)}",
            ends,
        )


def stage_rows(stages: Sequence[Ran], say: Words) -> Iterator[tuple[str, ...]]:
    """A row for each stage, and one for all; the last cell, the time, is for the caller to mark."""
    for one in stages:
        cost = "-" if one.requests is None else _cost(one.cost, say)
        asked = (_number(one.requests), _number(one.prompt_tokens), _number(one.completion_tokens))
        yield (one.name, say.named(one.state, "state"), *asked, cost, _time(one.seconds))
    asked_of = [one for one in stages if one.requests is not None]
    known = [one.cost for one in asked_of if one.cost is not None]
    total = sum(known) if len(known) == len(asked_of) else None
    sums = (
        sum(value or 0 for value in column)
        for column in zip(*((one.requests, one.prompt_tokens, one.completion_tokens) for one in asked_of), strict=True)
    )
    counts = tuple(f"{value:,}" for value in sums) or ("0", "0", "0")
    yield (say("cost.total"), "", *counts, _cost(total, say), _time(sum(one.seconds or 0.0 for one in stages)))


def _cost(cost: float | None, say: Words) -> str:
    return say("cost.unknown") if cost is None else f"${cost:,.2f}"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.3f}"
