"""The whole in one paragraph that a reader can quote."""

from __future__ import annotations

from collections.abc import Iterator

from reflectune.verdict.conclusion import FEWEST, main_of, said_of, standing
from reflectune.verdict.records import Comparison, Conclusion, Figures, Verdict
from reflectune.verdict.wording import Words, short_name, worded

__all__ = ["paragraph"]

_CERTAIN = 100.0


def paragraph(found: Verdict, say: Words) -> str:
    """What was compared, what came of it, and what that shows, in a language."""
    return say("join").join(_sentences(found, say))


def _sentences(found: Verdict, say: Words) -> Iterator[str]:
    main = main_of(found.comparisons)
    if main is None:
        yield say("text.nothing")
        return
    yield _trained(found, main, say)
    yield _judged(main, say)
    ours, other = say.named(main.ours, "student"), say.named(main.other, "student")
    rate = say.rate(main.pooled.win_rate)
    yield say("text.won", Ours=ours[:1].upper() + ours[1:], other=other, rate=rate)
    yield _level(main.pooled, say)
    yield from _others(found, main, say)
    yield say("text.conclusion", said=_concluded(found.conclusion, main, say))
    if found.conclusion.kind in {"no-difference-shown", "too-few"}:
        yield _could_show(main.pooled, say)


def _trained(found: Verdict, main: Comparison, say: Words) -> str:
    rows = {student.arm: student.rows for student in found.students if student.rows is not None}
    known = found.repeat
    if known.student is None or main.ours not in rows or (known.oracle is None and main.ours == "recycled"):
        ours, other = (say.named(arm, "student") for arm in (main.ours, main.other))
        return say("text.trained_unknown", ours=ours, other=other)
    seeds = say("text.seeds", count=str(len(main.seeds))) if len(main.seeds) > 1 else say("text.seed")
    values = {"student": short_name(known.student), "ours_rows": f"{rows[main.ours]:,}", "seeds": seeds}
    if main.ours == "reflective":
        return say("text.reflective", **values)
    values["oracle"] = short_name(known.oracle)
    if main.other not in rows or main.other == "base":
        return say("text.trained_one", **values)
    return say("text.trained", **values, other_rows=f"{rows[main.other]:,}")


def _judged(main: Comparison, say: Words) -> str:
    pooled = main.pooled
    orders = "text.both_orders" if pooled.flipped is not None else "text.one_order"
    return say(
        "text.judged",
        judge=short_name(main.judge),
        items=f"{pooled.items:,}",
        sets=say.listed(one.dataset for one in main.sets),
        orders=say(orders),
    )


def _level(pooled: Figures, say: Words) -> str:
    level = pooled.level
    if level.rate is None:
        return say("text.no_level")
    told = say("text.level", rate=say.rate(level.rate), by=say(f"text.by.{level.by}"))
    if level.matched is None or standing(level.rate, pooled.items) == standing(level.matched, pooled.items):
        return told
    return say("join").join([told, say("text.level_matched", rate=say.rate(level.matched))])


def _others(found: Verdict, main: Comparison, say: Words) -> Iterator[str]:
    others = [one for one in found.comparisons if one is not main and one.judge == main.judge]
    if not others:
        yield say("text.no_baselines")
        return
    told = (
        say(
            "text.other",
            other=say.named(one.other, "student"),
            rate=say.rate(one.pooled.win_rate),
            said=say.said(said_of(one.pooled), one.pooled),
        )
        for one in others
    )
    yield say("text.others", list=say("clauses").join(told))


def _concluded(conclusion: Conclusion, main: Comparison, say: Words) -> str:
    pooled = main.pooled
    name = worded(conclusion.kind, pooled.lengths)
    if name == "no-difference-shown" and pooled.standing_level in {"better", "worse"}:
        name = f"no-difference-level-{pooled.standing_level}"
    beaten = say.listed(say.named(arm, "student") for arm in conclusion.beaten)
    values = {
        "beaten": say("concluded.beaten", list=beaten) if beaten else "",
        "other": say.named(main.other, "student"),
        "list": say.listed(say.named(arm, "simply") for arm in conclusion.unbeaten),
        "items": f"{pooled.items:,}",
        "fewest": str(FEWEST),
    }
    return say(f"concluded.{name}", **values)


def _could_show(pooled: Figures, say: Words) -> str:
    if pooled.could_show is None:
        return say("text.could_show_ties")
    if pooled.could_show >= _CERTAIN:
        return say("text.could_show_none")
    return say("text.could_show", value=f"{pooled.could_show:.0f}")
