"""The page, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from reflectune.errors import MissingExtraError
from reflectune.evaluate.leaderboard import boards
from reflectune.evaluate.leaderboard.html import board_html
from reflectune.evaluate.scores import Evaluation
from reflectune.page.markup import cards, facts_table, folded, section, soft, table
from reflectune.page.text import shown, visible
from reflectune.verdict.charts import forest
from reflectune.verdict.comparisons import FEWEST_FOR_MODEL
from reflectune.verdict.conclusion import main_of
from reflectune.verdict.records import ALL, Comparison, Verdict
from reflectune.verdict.tables import (
    OVERVIEW,
    Cell,
    columns_of,
    comparison_rows,
    metric_rows,
    overview_rows,
    stage_rows,
    student_rows,
)
from reflectune.verdict.wording import Words, percent, worded

__all__ = ["REPORT", "body"]

REPORT = "data/report.html"
_STUDENT = ("name", "rows", "tokens", "epochs", "steps", "loss", "held_out", "answers", "length")
_STAGE = ("stage", "state", "requests", "sent", "received", "cost", "time")
_DATA = ("figure", "before", "after", "change", "interval")
_TEXTS_OF_STAGES = 2


def body(found: Verdict, say: Words, evaluations: Sequence[tuple[Path, Evaluation]], folder: Path, linked: bool) -> str:
    """The whole page but its frame.

    Args:
        found: What is told.
        say: The language.
        evaluations: The benchmarks, by the folders that hold them.
        folder: Where the page will lie, for links.
        linked: Whether the report on the data is there.
    """
    parts = [
        head(found, say),
        pictured(found, say),
        compared(found, say),
        students(found, say),
        benchmarks(evaluations, folder, say),
        data(found, say, linked=linked),
        cost(found, say),
        mistrust(found, say),
        repeat(found, say),
    ]
    return "\n".join(filter(None, parts))


def head(found: Verdict, say: Words) -> str:
    """The name, the paragraph, and the main figures."""
    title = say("title", name=found.name)
    told = f'<p class="lead">{shown(found.text[say.language])}</p>'
    main = main_of(found.comparisons)
    if main is None:
        return f"<h1>{shown(title)}</h1>\n{told}"
    pooled = main.pooled
    figures = [
        (say("card.conclusion"), say(f"said.{worded(found.conclusion.kind, pooled.lengths)}")),
        (say("card.rate"), percent(pooled.win_rate.value)),
        (say("picture.level"), percent(pooled.level.rate.value if pooled.level.rate else None)),
        (say("table.counts"), f"{pooled.wins:,} / {pooled.ties:,} / {pooled.losses:,}"),
        (say("table.prompts"), f"{pooled.items:,}"),
    ]
    return f"<h1>{shown(title)}</h1>\n{told}\n{cards(figures)}"


def pictured(found: Verdict, say: Words) -> str:
    """Every comparison as dots and intervals."""
    if not found.comparisons:
        return section("picture", say("heading.picture"), soft(say("picture.none")))
    try:
        drawn = forest(found.comparisons, say)
    except MissingExtraError as missing:
        return section("picture", say("heading.picture"), soft(say("picture.missing", command=missing.mend)))
    told = soft(say("picture.told", ours=say.named(found.comparisons[0].ours, "student")))
    return section("picture", say("heading.picture"), f'<figure class="forest">{drawn}</figure>', told)


def compared(found: Verdict, say: Words) -> str:
    """One table of all comparisons, and one for each."""
    if not found.comparisons:
        return ""
    overview = table([say(f"table.{name}") for name in OVERVIEW], _told(overview_rows(found.comparisons, say), say))
    each = "\n".join(_one(comparison, say) for comparison in found.comparisons)
    return section(
        "tables", say("heading.tables"), overview, soft(say("table.note", fewest=str(FEWEST_FOR_MODEL))), each
    )


def _one(comparison: Comparison, say: Words) -> str:
    names = [say("table.all") if one.dataset == ALL else visible(one.dataset) for one in columns_of(comparison)]
    rows = table([say("table.figure"), *names], _told(comparison_rows(comparison, say), say))
    title = say("table.title", ours=say.named(comparison.ours), other=say.named(comparison.other))
    judged = soft(say("table.judge", judge=comparison.judge))
    return f"<details><summary>{shown(title)}</summary>\n{judged}\n{rows}\n</details>"


def students(found: Verdict, say: Words) -> str:
    """Who was compared, and what training made of them."""
    if not found.students:
        return section("students", say("heading.students"), soft(say("students.none")))
    heads = [say(f"students.{name}") for name in _STUDENT]
    return section("students", say("heading.students"), table(heads, _told(student_rows(found.students), say)))


def benchmarks(evaluations: Sequence[tuple[Path, Evaluation]], folder: Path, say: Words) -> str:
    """Figures of benchmarks, as the leaderboard has them."""
    if not evaluations:
        return ""
    found = (board_html(board, folder, level=3) for board in boards(evaluations))
    return section("benchmarks", say("heading.benchmarks"), *found)


def data(found: Verdict, say: Words, *, linked: bool) -> str:
    """What became of the data, in short."""
    told = found.data
    counts = [
        (say(f"data.{name}"), f"{value:,}")
        for name in ("rows", "rewritten", "failed", "kept", "dropped")
        if (value := getattr(told, name)) is not None
    ]
    if counts:
        looked = say("data.not_looked_for") if told.contaminated is None else f"{told.contaminated:,}"
        counts.append((say("data.contaminated"), looked))
    heads = [say(f"data.{name}") for name in _DATA]
    rows = table(heads, _told(metric_rows(told.metrics, say), say)) if told.metrics else ""
    link = f'<p><a href="{REPORT}">{escape(say("data.link"))}</a></p>' if linked else ""
    lacking = "" if counts or rows else soft(say("data.none"))
    return section("data", say("heading.data"), facts_table(counts), rows, link, lacking)


def cost(found: Verdict, say: Words) -> str:
    """What each stage took; times alone differ between a journey and the same one broken off and resumed."""
    if not found.stages:
        return section("cost", say("heading.cost"), soft(say("cost.none")))
    rows = ([*map(shown, cells), f"<time>{escape(time)}</time>"] for *cells, time in stage_rows(found.stages, say))
    heads = [say(f"cost.{name}") for name in _STAGE]
    return section("cost", say("heading.cost"), table(heads, rows, texts=_TEXTS_OF_STAGES))


def mistrust(found: Verdict, say: Words) -> str:
    """What speaks against trusting all this."""
    told = [f"<li>{shown(caveat_text(caveat.name, caveat.values, say))}</li>" for caveat in found.caveats]
    listed = f"<ul>\n{chr(10).join(told)}\n</ul>" if told else soft(say("mistrust.none"))
    count = f"{len(found.left_over):,}"
    others = folded(say("mistrust.left_over", count=count), "\n".join(found.left_over)) if found.left_over else ""
    return section("mistrust", say("heading.mistrust"), listed, others)


def caveat_text(name: str, values: dict[str, str], say: Words) -> str:
    """A caveat in words."""
    spoken = dict(values)
    if "other" in values:
        spoken["other"] = say.named(values["other"], "student")
    if "arms" in values:
        spoken["arms"] = say.listed(say.named(arm) for arm in values["arms"].split(","))
    return say(f"caveat.{name}", **spoken)


def repeat(found: Verdict, say: Words) -> str:
    """Who took part, and how to do it again."""
    known = found.repeat
    unknown = say("repeat.unknown")
    rows = [
        (say("repeat.student"), known.student or unknown),
        (say("repeat.oracle"), known.oracle or unknown),
        (say("repeat.judge"), known.judge or unknown),
        (say("repeat.seeds"), ", ".join(map(str, known.seeds)) or unknown),
        (say("repeat.versions"), ", ".join(f"{name} {version}" for name, version in known.versions.items())),
    ]
    recipe = folded(say("repeat.recipe"), known.recipe) if known.recipe else ""
    command = soft(say("repeat.command")) if known.recipe else ""
    return section("repeat", say("heading.repeat"), facts_table(rows), command, recipe)


def _told(rows: Iterable[Sequence[Cell]], say: Words) -> list[list[str]]:
    return [[_cell(cell, say) for cell in row] for row in rows]


def _cell(cell: Cell, say: Words) -> str:
    if isinstance(cell, str):
        return shown(cell)
    return "-" if cell is None else f"<span>{percent(cell.value)}<br><small>{say.between(cell)}</small></span>"
