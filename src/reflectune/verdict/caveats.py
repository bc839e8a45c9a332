"""What speaks against trusting a verdict: one rule for each, on what the verdict says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reflectune.verdict.conclusion import BASELINES, main_of, standing
from reflectune.verdict.records import Caveat, Verdict
from reflectune.verdict.wording import short_name

__all__ = ["FEW", "RULES", "caveats_of"]

FEW = 100
"""Prompts of which half the interval of a win rate is about ten points wide."""
_FLIPS = 30.0
_LEANS = 20.0
"""Points by which the share of the first answer may be off 50%."""
_DROPPED = 0.5
_FAILED = 0.05
_CUT = 0.2
_LONGER = 1.2
_STEPS = 50
_EMBEDDED = "smollm2-135m"

Found = Iterator[dict[str, str]]
Rule = Callable[[Verdict], Found]
"""Yields the values of what it found; nothing where all is well."""


def caveats_of(found: Verdict) -> tuple[Caveat, ...]:
    """What every rule found, in their order."""
    return tuple(Caveat(name=name, values=values) for name, rule in RULES.items() for values in rule(found))


def _judge_is_oracle(found: Verdict) -> Found:
    if _same(found.repeat.judge, found.repeat.oracle):
        yield {"judge": short_name(found.repeat.judge)}


def _judge_is_student(found: Verdict) -> Found:
    if _same(found.repeat.judge, found.repeat.student):
        yield {"judge": short_name(found.repeat.judge)}


def _weak_judge(found: Verdict) -> Found:
    if found.repeat.judge is not None and _model(found.repeat.judge).startswith(_EMBEDDED):
        yield {"judge": short_name(found.repeat.judge)}


def _flips(found: Verdict) -> Found:
    for one in found.comparisons:
        if (share := one.pooled.flipped) is not None and share > _FLIPS:
            yield {"other": one.other, "share": f"{share:.0f}"}


def _leans(found: Verdict) -> Found:
    for one in found.comparisons:
        if (share := one.pooled.first_preferred) is not None and abs(share - 50) > _LEANS:
            yield {"other": one.other, "share": f"{share:.0f}"}


def _always_ties(found: Verdict) -> Found:
    for one in found.comparisons:
        if one.pooled.ties == one.pooled.verdicts:
            yield {"other": one.other}


def _few_items(found: Verdict) -> Found:
    counts = [one.pooled.items for one in found.comparisons]
    if counts and min(counts) < FEW:
        yield {"count": f"{min(counts):,}"}


def _one_seed(found: Verdict) -> Found:
    if found.comparisons and len(found.repeat.seeds) < 2:  # noqa: PLR2004 - a spread takes two
        yield {}


def _seeds_disagree(found: Verdict) -> Found:
    for one in found.comparisons:
        rates = one.by_seed.values()
        if min(rates) < 50 < max(rates):  # noqa: PLR2004 - percent
            yield {"other": one.other, "low": f"{min(rates):.1f}", "high": f"{max(rates):.1f}"}


def _no_verdict(found: Verdict) -> Found:
    for one in found.comparisons:
        if one.pooled.failed:
            yield {"other": one.other, "count": f"{one.pooled.failed:,}"}


def _no_answer(found: Verdict) -> Found:
    for student in found.students:
        if student.unanswered:
            yield {"student": student.name, "count": f"{student.unanswered:,}"}


def _cut_off(found: Verdict) -> Found:
    cut = [one for one in found.students if one.cut_off is not None and one.cut_off > _CUT * max(1, one.answers)]
    if cut:
        most = max(100 * (one.cut_off or 0) / max(1, one.answers) for one in cut)
        yield {"share": f"{most:.0f}"}


def _no_baseline(found: Verdict) -> Found:
    compared = {one.other for one in found.comparisons}
    if "original" in compared and (lacking := [name for name in BASELINES if name not in compared]):
        yield {"arms": ",".join(lacking)}


def _ways_disagree(found: Verdict) -> Found:
    for one in found.comparisons:
        pooled = one.pooled
        if pooled.level.rate is None or pooled.level.matched is None:
            continue
        if standing(pooled.level.rate, pooled.items) != standing(pooled.level.matched, pooled.items):
            yield {"other": one.other}


def _extrapolated(found: Verdict) -> Found:
    for one in found.comparisons:
        if (share := one.pooled.level.extrapolated) is not None:
            yield {"other": one.other, "share": f"{share:.0f}"}


def _no_level(found: Verdict) -> Found:
    main = main_of(found.comparisons)
    if main is not None and main.pooled.level.rate is None:
        yield {}


def _longer_wins(found: Verdict) -> Found:
    main = main_of(found.comparisons)
    if main and (share := main.pooled.longer_wins) is not None and share > 50 + _LEANS:
        yield {"share": f"{share:.0f}"}


def _longer_data(found: Verdict) -> Found:
    means = {one.arm: one.mean_response for one in found.students if one.mean_response}
    ours, before = means.get("recycled"), means.get("original")
    if ours and before and ours > _LONGER * before:
        yield {"times": f"{ours / before:.1f}"}


def _dropped(found: Verdict) -> Found:
    kept, dropped = found.data.kept, found.data.dropped
    if kept is not None and dropped is not None and dropped > _DROPPED * (kept + dropped):
        yield {"dropped": f"{dropped:,}", "rows": f"{kept + dropped:,}"}


def _not_rewritten(found: Verdict) -> Found:
    rows, failed = found.data.rows, found.data.failed
    if rows and failed and failed > _FAILED * rows:
        yield {"failed": f"{failed:,}", "rows": f"{rows:,}"}


def _not_looked_for(found: Verdict) -> Found:
    if found.comparisons and not found.data.against:
        yield {}


def _contaminated(found: Verdict) -> Found:
    if found.data.contaminated:
        yield {"count": f"{found.data.contaminated:,}"}


def _short_training(found: Verdict) -> Found:
    steps = [one.steps for one in found.students if one.steps is not None]
    if steps and max(steps) < _STEPS:
        yield {"steps": f"{max(steps):,}"}


def _worse_held_out(found: Verdict) -> Found:
    for student in found.students:
        before, after = student.held_out_before, student.held_out_after
        if before is not None and after is not None and after > before:
            yield {"student": student.name, "before": f"{before:.3f}", "after": f"{after:.3f}"}


def _unfinished(found: Verdict) -> Found:
    if found.missing:
        yield {"names": ", ".join(found.missing)}


def _judges_differ(found: Verdict) -> Found:
    main = main_of(found.comparisons)
    if main is not None and len({one.judge for one in found.comparisons}) > 1:
        yield {"judge": short_name(main.judge)}


def _unnamed(found: Verdict) -> Found:
    if found.unnamed:
        yield {"names": ", ".join(found.unnamed)}


RULES: dict[str, Rule] = {
    "unfinished": _unfinished,
    "unnamed": _unnamed,
    "judge-is-oracle": _judge_is_oracle,
    "judge-is-student": _judge_is_student,
    "weak-judge": _weak_judge,
    "always-ties": _always_ties,
    "flips": _flips,
    "leans": _leans,
    "longer-wins": _longer_wins,
    "few-items": _few_items,
    "one-seed": _one_seed,
    "seeds-disagree": _seeds_disagree,
    "no-verdict": _no_verdict,
    "no-answer": _no_answer,
    "cut-off": _cut_off,
    "no-baseline": _no_baseline,
    "no-level": _no_level,
    "ways-disagree": _ways_disagree,
    "extrapolated": _extrapolated,
    "longer-data": _longer_data,
    "dropped": _dropped,
    "not-rewritten": _not_rewritten,
    "not-looked-for": _not_looked_for,
    "contaminated": _contaminated,
    "short-training": _short_training,
    "worse-held-out": _worse_held_out,
    "judges-differ": _judges_differ,
}


def _same(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return False
    first, second = _model(one), _model(other)
    embedded = all(name.startswith(_EMBEDDED) for name in (first, second))
    return first == second or embedded


def _model(named: str) -> str:
    """A model's bare name in small letters: without its address, its owner, its file's ending and its fingerprint."""
    return short_name(named).casefold()
