"""The sections of a report that tell of the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from reflectune.evaluate import METRICS, Comparison, Statistics
from reflectune.evaluate.leaderboard import boards
from reflectune.evaluate.leaderboard.html import board_html
from reflectune.page.markup import cards, facts_table, folded, section, soft, table
from reflectune.page.text import shown
from reflectune.records import Reflection
from reflectune.report.before_after import Pictures
from reflectune.report.facts import Facts
from reflectune.report.survey import Critiques, Survey
from reflectune.report.wording import NAMES, WHOLE, languages, lines, said

__all__ = ["critiques", "evaluations", "failures", "gates", "head", "recipe", "selection", "statistics"]

_STUDENT = ("ifd_ppl", "rifd_ppl", "response_ppl_conditioned")
_DECIDED = {
    "accept": "accepted by hand",
    "edit": "edited by hand",
    "reject": "rejected by hand",
    "stale": "decided, stale",
}
_BAR, _TALL = 6, 22


def head(facts: Facts, found: Survey) -> str:
    """What the run was, and its main figures."""
    counts, spent = facts.counts, facts.spent
    tokens = [sum(getattr(part, name) for part in spent) for name in ("prompt_tokens", "completion_tokens")]
    pending = " It is not finished: what follows is what there is by now." if counts.pending else ""
    oracles = ", ".join(facts.written) or facts.recipe.oracle
    figures = [
        ("rows", f"{counts.rows:,}"),
        ("rewritten", f"{counts.done:,}"),
        ("failed", f"{counts.failed:,}"),
        ("pending", f"{counts.pending:,}"),
        *((_DECIDED[name], f"{count:,}") for name in _DECIDED if (count := found.decided.get(name, 0))),
        ("requests", f"{sum(part.requests for part in spent):,}"),
        ("tokens sent", f"{tokens[0]:,}"),
        ("tokens received", f"{tokens[1]:,}"),
        ("cost", "unknown" if facts.cost is None else f"${facts.cost:,.2f}"),
    ]
    told = f"{shown(facts.recipe.data)}, recycled by {shown(oracles)}.{pending}"
    return f"<h1>{shown(facts.name)}</h1>\n<p>{told}</p>\n{cards(figures)}"


def recipe(facts: Facts) -> str:
    """How the run was asked for."""
    asked = facts.recipe.recycle
    rows = [
        ("data", facts.recipe.data),
        *((name, str(value)) for name in ("limit", "shard") if (value := getattr(facts.recipe, name)) is not None),
        *(
            (f"oracle {place}" if len(facts.makers) > 1 else "oracle", f"{maker.oracle}, prompts {maker.prompts}")
            for place, maker in enumerate(facts.makers, start=1)
        ),
        ("reflections", asked.reflect),
        ("versions", asked.versions),
        ("asked", asked.ask or "as suits the oracle"),
        ("critique after", "yes" if asked.score_after else "no"),
        ("seed", "-" if asked.seed is None else str(asked.seed)),
        *((name, str(facts.noted[name])) for name in ("reflectune", "python") if facts.noted.get(name)),
    ]
    return section("recipe", "How it was made", facts_table(rows), folded("recipe.yaml", facts.recipe_text))


def statistics(found: Comparison | Statistics | None, drawn: Pictures | None, missing: str) -> str:
    """The figures of the rows before and after, and their distributions."""
    if found is None:
        return section("statistics", "Before and after", soft(missing or "There is no row to tell of yet."))
    if isinstance(found, Statistics):
        return section("statistics", "Before", soft("No row is rewritten yet."), _one(found), _pictures(drawn))
    return section("statistics", "Before and after", _both(found), soft(said(found)), _pictures(drawn))


def _both(found: Comparison) -> str:
    heads = ("mean", "before", "after", "difference", "95% interval", "median before", "median after")
    spoken = [
        (f"languages of the {half}s, {side}", languages(counts))
        for side, one in (("before", found.before), ("after", found.after))
        for half, counts in one.languages.items()
    ]
    return table(heads, _lines(found)) + facts_table(spoken)


def _one(found: Statistics) -> str:
    return table(("", "mean", "95% interval", "median", "rows"), _lines(found))


def _lines(found: Comparison | Statistics) -> list[list[str]]:
    names = {str(metric): name for metric, name in NAMES.items()} | WHOLE
    return [[names[line.name], *line.cells] for line in lines(found)]


def _pictures(drawn: Pictures | None) -> str:
    if drawn is None:
        return ""
    if drawn.missing:
        return f"<p class=soft>The extra plots draws the distributions here: <code>{escape(drawn.missing)}</code></p>"
    figures = "\n".join(
        f"<figure><h3>{escape(NAMES[metric])}</h3>{svg}</figure>" for metric, svg in drawn.drawn.items()
    )
    return f"<div class=charts>\n{figures}\n</div>"


def critiques(found: Critiques) -> str:
    """The scores that the oracle gave, criterion by criterion, with how often it gave which."""
    if not found.before and not found.after:
        return ""
    keys: list[tuple[Reflection, str]] = list(dict.fromkeys([*found.before, *found.after]))
    heads = ["criterion", "mean before", "1 to 10"]
    if found.after:
        heads += ["mean after", "1 to 10 ", "change"]
    rows = []
    for subject, criterion in keys:
        old, new = found.before.get((subject, criterion)), found.after.get((subject, criterion))
        row = [escape(f"{subject}: {criterion}"), _mean(old), _bars(old)]
        if found.after:
            change = f"{_value(new) - _value(old):+.2f}" if old and new else "-"
            row += [_mean(new), _bars(new), change]
        rows.append(row)
    asked = "" if found.after else "The result was not criticised; recycle with --score-after for scores after too."
    return section("critiques", "Critique scores", table(heads, rows), soft(asked) if asked else "")


def _value(counts: Sequence[int]) -> float:
    return sum(score * count for score, count in enumerate(counts)) / sum(counts)


def _mean(counts: Sequence[int] | None) -> str:
    return f"{_value(counts):.2f}" if counts else "-"


def _bars(counts: Sequence[int] | None) -> str:
    """How often each score from 1 to 10 was given, as bars of the page's own ink."""
    if not counts:
        return ""
    highest = max(counts)
    bars = "".join(
        f'<rect x="{(score - 1) * (_BAR + 1)}" y="{_TALL - tall:g}" width="{_BAR}" height="{tall:g}"'
        f' fill="#0072b2"><title>{score}: {count:,}</title></rect>'
        for score, count in enumerate(counts)
        if count and score and (tall := max(1.0, round(_TALL * count / highest, 1)))
    )
    told = ", ".join(f"{score}: {count:,}" for score, count in enumerate(counts) if count)
    wide = 10 * (_BAR + 1)
    return (
        f'<svg class=bars role="img" aria-label="{told}" width="{wide}" height="{_TALL}" viewBox="0 0 {wide} {_TALL}">'
        f'<line x1="0" x2="{wide}" y1="{_TALL}" y2="{_TALL}" stroke="#555555"/>{bars}</svg>'
    )


def selection(facts: Facts, found: Survey, compared: Comparison | Statistics | None) -> str:
    """What the student made of the rows, and what selection did."""
    parts = []
    if found.scored:
        maker = facts.noted.get("score")
        told = (
            ", ".join(str(maker[name]) for name in ("student", "template", "convention") if maker.get(name))
            if maker
            else ""
        )
        means = [
            (f"{NAMES[metric]}, before → after", f"{old.mean:.3f} → {new.mean:.3f}")
            for metric in METRICS
            if metric in _STUDENT and isinstance(compared, Comparison)
            if (old := compared.before.metrics.get(metric)) and (new := compared.after.metrics.get(metric))
        ]
        parts.append(facts_table([("rows scored", f"{found.scored:,}"), *([("by", told)] if told else []), *means]))
    if selected := facts.noted.get("select"):
        parts.append(_selected(selected))
    return section("student", "What the student makes of it", *parts)


def _selected(noted: Mapping[str, Any]) -> str:
    reasons = [
        [escape(f"{which}: {reason}"), f"{count:,}"]
        for which in ("kept", "dropped")
        for reason, count in dict(noted.get(f"{which}_by_reason") or {}).items()
    ]
    told = f"Selected by the rule {noted.get('rule')}: {noted.get('kept', 0):,} of {noted.get('rows', 0):,} rows kept."
    return f"<h3>Selection</h3>\n{soft(told)}\n{table(('reason', 'rows'), reasons)}"


def gates(facts: Facts) -> str:
    """What the quality gates marked."""
    if not facts.marked and not facts.dropped:
        return section("gates", "Quality gates", soft("No row is marked. What looks for them: reflectune gates RUN."))
    rows = [
        [escape(gate), f"{count:,}", "left out of the data" if gate in facts.dropped else "kept"]
        for gate, count in facts.marked.items()
    ]
    return section("gates", "Quality gates", table(("gate", "rows marked", "in the data"), rows))


def failures(facts: Facts) -> str:
    """How many rows failed, by reason, and a few of each."""
    if not facts.counts.failed:
        return section("failures", "Failures", soft("No row failed."))
    rows = [
        [escape(reason), f"{count:,}", f"{count / facts.counts.rows:.1%}"]
        for reason, count in sorted(facts.counts.reasons.items(), key=lambda entry: -entry[1])
    ]
    return section("failures", "Failures", table(("reason", "rows", "of all"), rows), *_some_failures(facts))


def _some_failures(facts: Facts) -> Iterator[str]:
    for reason, some in facts.failures.items():
        shown_rows = "\n".join(
            f"<article><h4>Row {shown(failure.id)}</h4>{soft(f'at {failure.stage}: {failure.detail}')}"
            + (folded(f"the raw reply or row, {len(failure.raw):,} characters", failure.raw) if failure.raw else "")
            + "</article>"
            for failure in some
        )
        told = f"{escape(reason)}: {len(some)} of {facts.counts.reasons.get(reason, 0):,}"
        yield f"<details><summary>{told}</summary>\n{shown_rows}\n</details>"


def evaluations(facts: Facts) -> str:
    """What models were evaluated on that belong to the run."""
    if not facts.evaluations:
        return ""
    found = (board_html(board, None, level=3) for board in boards(facts.evaluations))
    return section("evaluations", "Evaluations", *found)
